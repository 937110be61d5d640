"""Upper bound: plays the whole practice under each of several rules on copies of the student, and follows the best one.

The copies share the student's randomness, so the practice then goes as it went for the copy.
"""

from typing import Any

import numpy as np

from kdgym.agents.snapshot import ordinary_resets, reverse_curriculum, s3rl, s3rl_long
from kdgym.teaching import Floats, Teacher

RULES = (ordinary_resets, s3rl, s3rl_long, reverse_curriculum)


class Agent(Teacher):
    upper_bound = True  # the runner attaches the environment, which no teacher gets to see

    def __init__(self, observation_space: Any, action_space: Any, seed: int = 0) -> None:
        super().__init__(observation_space, action_space, seed)
        self.rules = [rule.Agent(observation_space, action_space, seed) for rule in RULES]

    def study(self, metadata: dict[str, Any]) -> None:
        for rule in self.rules:
            rule.study(metadata)

    def reset(self, observation: dict[str, Floats]) -> None:
        ends = []
        for rule in self.rules:
            copies, latest, done = self.envs.branch(1), observation, np.zeros(1, dtype=bool)
            while not done.all():
                latest, _, done, *_ = copies.step(rule.act(latest))
            ends.append(latest["score"][:, 0])
        self.best = np.argmax(ends, axis=0)

    def act(self, observation: dict[str, Floats]) -> Floats:
        moves = np.stack([rule.act(observation) for rule in self.rules])
        return np.asarray(moves[self.best, np.arange(len(self.best))])
