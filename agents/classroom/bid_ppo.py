"""PPO for the teachers of a classroom: independent learners that share one policy, by Stable-Baselines3.

``kdgym train kdgym/Classroom-Math-v0 --agent bid_ppo --out DIR`` trains selfish ones; ``python -m kdgym.studies.anarchy``
trains one policy for every degree of common interest. A step is a step of one teacher.
"""

from pathlib import Path
from typing import Any

from kdgym.agents.datagen import ppo
from kdgym.integrations.sb3 import SB3Agent
from kdgym.integrations.sb3_policies import SharedPolicy
from kdgym.teaching import Floats
from kdgym.teaching.sb3 import SB3Teacher
from kdgym.teaching.sb3_classroom import TeachersVecEnv


class Agent(SB3Teacher):
    """The trained teachers; ``bid_ppo:runs/bid-ppo/model.zip`` on the command line."""

    network = SharedPolicy
    students = 64
    settings = {"reward": "log_loss", "mixing": 0.0}
    adapt = TeachersVecEnv
    hyperparameters = {**ppo.Agent.hyperparameters, "batch_size": 768}

    def load(self, path: Path) -> None:
        """Use the policy in SB3's zip, which is one teacher's."""
        bids = self.action_space
        self.trained = SB3Agent.from_zip(path, bids.seen_space(), bids.acted_space())

    def act(self, observation: dict[str, Floats]) -> Any:
        return self.policy().act(self.action_space.rows(observation)).reshape(len(observation["time"]), -1)
