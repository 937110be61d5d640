"""A teacher of this package that is trained."""

from kdgym.teaching.sb3 import SB3Teacher


class DrillPPO(SB3Teacher):
    """PPO: it learned how to split practice (Schulman et al., 2017)."""

    students = 4
    hyperparameters = {"n_steps": 6, "batch_size": 24, "n_epochs": 2}
