"""Upper bound: writes right items of the target skills, which no teacher is told."""

import json
from typing import Any

import numpy as np


class Agent:
    upper_bound = True  # the runner attaches the environment, which no teacher gets to see

    def __init__(self, observation_space: Any, action_space: Any, seed: int = 0) -> None:
        self.action_space = action_space
        self.rng = np.random.default_rng(seed)

    def attach(self, envs: Any) -> None:
        self.envs = envs

    def act(self, observation: Any) -> list[str]:
        targets = self.envs.hidden()["target"]
        return [
            self._write(json.loads(text)["items"], target) for text, target in zip(observation, targets, strict=True)
        ]

    def _write(self, n: int, target: Any) -> str:
        task, pool = self.envs.task, self.envs.task.pool("train")
        skill = self.rng.choice(len(target), n, p=target.astype(float) / target.astype(float).sum())
        problems = pool.start.numpy()[skill] + self.rng.integers(0, pool.count.numpy()[skill])
        return json.dumps(
            [
                {"problem": task.write_problem(int(i)), "answer": task.answer_text(int(task.solution[i]))}
                for i in problems
            ]
        )
