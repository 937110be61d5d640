"""PPO on the tree's discrete choices, with those masked out that would have no effect (Huang and Ontañón, "A closer look at
invalid action masking in policy gradient algorithms", FLAIRS 2022), by sb3-contrib."""

from typing import Any

from sb3_contrib import MaskablePPO

from kdgym.integrations.sb3_policies import MaskableSharedPolicy
from kdgym.teaching import Floats
from kdgym.teaching.sb3 import SB3Teacher


class Agent(SB3Teacher):
    """The trained teacher; ``maskable_ppo:runs/maskable/model.zip`` on the command line."""

    actions = "discrete"  # the runner makes the environment so
    algorithm, network = MaskablePPO, MaskableSharedPolicy
    students = 64
    settings = {"reward": "log_loss", "actions": "discrete"}
    # As agents/datagen/ppo.py, where the reasons are; nothing was searched for the tree.
    hyperparameters = {
        "n_steps": 12,
        "batch_size": 256,
        "n_epochs": 8,
        "gamma": 0.5,
        "gae_lambda": 0.9,
        "learning_rate": 2e-3,
        "clip_range": 0.4,
        "target_kl": 0.1,
    }

    def act(self, observation: dict[str, Floats]) -> Any:
        masks = self.action_space.masks(observation["open"], observation["allocation"])
        return self.policy().act(observation, masks)


train = Agent.train
