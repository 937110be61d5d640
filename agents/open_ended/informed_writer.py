"""Upper bound: orders real items of the target skills, from the sound engine of each; no teacher is told either."""

import json
from typing import Any

from kdgym.teaching import Teacher


class Agent(Teacher):
    upper_bound = True  # the runner attaches the environment, which no teacher gets to see

    def act(self, observation: Any) -> list[str]:
        hidden, seen = self.envs.hidden(), [json.loads(text) for text in observation]
        sound = hidden.get("sound", [()] * len(seen))
        return [self._order(*one) for one in zip(seen, hidden["target"].astype(float), sound, strict=True)]

    def _order(self, seen: Any, target: Any, sound: Any) -> str:
        counts = self.rng.multinomial(seen["items"], target / target.sum())
        engine = [{"engine": seen["engines"][e]} for e in sound] or [{}] * len(counts)
        return json.dumps(
            [
                {"draw": int(count), "like": self._example(skill), **engine[skill]}
                for skill, count in enumerate(counts)
                if count
            ]
        )

    def _example(self, skill: int) -> Any:
        """A problem that reads as one of this skill's: some sums are of two, with and without a carry."""
        task, pool = self.envs.task, self.envs.task.pool("train")
        while True:
            problem = task.write_problem(int(pool.start[skill] + self.rng.integers(int(pool.count[skill]))))
            if task.read_problem(problem).skill == skill:
                return problem
