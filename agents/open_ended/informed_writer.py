"""Upper bound: orders real items of the target skills, which no teacher is told."""

import json
from typing import Any

from kdgym.teaching import Teacher


class Agent(Teacher):
    upper_bound = True  # the runner attaches the environment, which no teacher gets to see

    def act(self, observation: Any) -> list[str]:
        targets = self.envs.hidden()["target"].astype(float)
        return [
            self._order(json.loads(text)["items"], target) for text, target in zip(observation, targets, strict=True)
        ]

    def _order(self, n: int, target: Any) -> str:
        counts = self.rng.multinomial(n, target / target.sum())
        return json.dumps(
            [{"draw": int(count), "like": self._example(skill)} for skill, count in enumerate(counts) if count]
        )

    def _example(self, skill: int) -> Any:
        """A problem that reads as one of this skill's: some sums are of two, with and without a carry."""
        task, pool = self.envs.task, self.envs.task.pool("train")
        while True:
            problem = task.write_problem(int(pool.start[skill] + self.rng.integers(int(pool.count[skill]))))
            if task.read_problem(problem).skill == skill:
                return problem
