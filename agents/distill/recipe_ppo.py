"""PPO that learned whom to trust: Stable-Baselines3's own policy for Dict observations, trained on many students."""

from kdgym.teaching.sb3 import SB3Teacher


class Agent(SB3Teacher):
    """The trained teacher; ``recipe_ppo:runs/recipe/model.zip`` on the command line."""

    students = 64
    settings = {
        "validation_items": 1000
    }  # rewards of training students with little noise, and less to see of it in episodes
    hyperparameters = {
        "n_steps": 12,  # two episodes, so that a rollout ends with one
        "batch_size": 128,
        "n_epochs": 8,
        "gamma": 0.9,
        "gae_lambda": 0.95,
        "learning_rate": 1e-3,
        "target_kl": 0.1,
        "policy_kwargs": {"log_std_init": -1.0, "net_arch": [64]},
    }
