"""PPO that learned where practice starts: Stable-Baselines3's own policy for Dict observations, trained on many students."""

from kdgym.teaching.sb3 import SB3Teacher


class Agent(SB3Teacher):
    """The trained teacher; ``start_ppo:runs/starts/model.zip`` on the command line."""

    students = 32
    hyperparameters = {
        "n_steps": 12,  # an episode, so that a rollout ends with it
        "batch_size": 128,
        "n_epochs": 8,
        "gamma": 0.97,  # practice near the goal pays when ordinary starts succeed, steps later
        "gae_lambda": 0.95,
        "learning_rate": 2e-3,
        "target_kl": 0.1,
        "policy_kwargs": {"log_std_init": -0.7, "net_arch": [32]},
    }
