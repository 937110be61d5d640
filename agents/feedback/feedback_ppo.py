"""PPO that learned when to say what: Stable-Baselines3's own policy for Dict observations, trained on many students."""

from kdgym.teaching.sb3 import SB3Teacher


class Agent(SB3Teacher):
    """The trained teacher; ``feedback_ppo:runs/ppo/model.zip`` on the command line."""

    students = 32
    # Half as many updates a step as in the environment it is made for: the same decisions, at half the cost.
    settings = {"reward": "log_loss", "updates": 4, "budget": 16_000.0, "validation_items": 16}
    hyperparameters = {
        "n_steps": 8,  # an episode, so that a rollout ends with it
        "batch_size": 128,
        "n_epochs": 8,
        "gamma": 0.5,  # what a lesson teaches shows in the next examination
        "gae_lambda": 0.9,
        "learning_rate": 2e-3,
        "clip_range": 0.3,
        "target_kl": 0.1,
        "policy_kwargs": {"log_std_init": -0.5, "net_arch": [32]},
    }
