"""PPO that learned which source to trust: Stable-Baselines3's own policy for Dict observations, trained on many students."""

from kdgym.agents.distill import recipe_ppo
from kdgym.teaching.sb3 import SB3Teacher


class Agent(SB3Teacher):
    """The trained teacher; ``label_ppo:runs/label/model.zip`` on the command line."""

    students = 64
    hyperparameters = {**recipe_ppo.Agent.hyperparameters, "policy_kwargs": {"log_std_init": -2.0, "net_arch": [64]}}
