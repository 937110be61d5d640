"""PPO that learned how closely to supervise: Stable-Baselines3's own policy for Dict observations, trained on many students."""

from kdgym.teaching.sb3 import SB3Teacher


class Agent(SB3Teacher):
    """The trained teacher; ``lane_ppo:runs/lanes/model.zip`` on the command line."""

    actions = "discrete"
    students = 64
    settings = {"actions": "discrete"}
    hyperparameters = {
        "n_steps": 24,  # an episode
        "batch_size": 512,
        "n_epochs": 6,
        "gamma": 0.97,  # a note pays off until the end
        "gae_lambda": 0.95,
        "learning_rate": 1e-3,
        "ent_coef": 0.01,
        "policy_kwargs": {"net_arch": [64, 64]},
    }
