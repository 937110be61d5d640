"""PPO on the tree's discrete choices, with those masked out that would have no effect (Huang and Ontañón, "A closer look at
invalid action masking in policy gradient algorithms", FLAIRS 2022), by sb3-contrib."""

from typing import Any

from sb3_contrib import MaskablePPO

from kdgym.agents.datagen import ppo
from kdgym.integrations.sb3_policies import MaskableSharedPolicy
from kdgym.teaching import Floats
from kdgym.teaching.sb3 import SB3Teacher


class Agent(SB3Teacher):
    """The trained teacher; ``maskable_ppo:runs/maskable/model.zip`` on the command line."""

    actions = "discrete"  # the runner makes the environment so
    algorithm, network = MaskablePPO, MaskableSharedPolicy
    students = 64
    settings = {"reward": "log_loss", "actions": "discrete"}
    # Nothing was searched for the tree; a categorical policy has no spread to begin with.
    hyperparameters = {name: value for name, value in ppo.Agent.hyperparameters.items() if name != "policy_kwargs"}

    def act(self, observation: dict[str, Floats]) -> Any:
        masks = self.action_space.masks(observation["open"], observation["allocation"])
        return self.policy().act(observation, masks)
