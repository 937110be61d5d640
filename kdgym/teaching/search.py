"""Searching the numbers of a rule on training students, all candidates side by side on the same ones."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from kdgym.storage import write_atomically
from kdgym.teaching.base import Teacher

Floats = npt.NDArray[np.float64]
CANDIDATES, STUDENTS, ELITE = 16, 16, 4


def cross_entropy(
    env_id: str,
    act: Callable[[Any, dict[str, npt.NDArray[np.float32]], Floats], Any],
    mean: Floats,
    spread: Floats,
    steps: int,
    *,
    least: float,
    seed: int = 0,
    report: Callable[[int, str], None] = lambda done, text: None,
    settings: Mapping[str, Any] | None = None,
) -> tuple[Floats, int]:
    """The cross-entropy method (Rubinstein, 1999): 16 candidates a generation on the same 16 new students, the best 4 count.

    Args:
        env_id: the environment.
        act: (action space, observation, numbers [S, n] of the candidate each student is taught by) -> actions [S, ...].
        mean, spread: of the normal distribution that the first candidates are drawn from, [n].
        steps: environment steps to spend.
        least: added to the spread of the best, so that the search goes on.
        seed: of students and candidates.
        report: called with (steps done, a line about them).
        settings: of the environment.

    Returns:
        The last mean, [n], and the steps done.
    """
    envs: Any = gym.make_vec(env_id, num_envs=CANDIDATES * STUDENTS, autoreset=False, **(settings or {}))
    rng = np.random.default_rng(seed)
    done = generation = 0
    while done < steps:
        drawn = mean + spread * rng.normal(size=(CANDIDATES, len(mean)))
        numbers = drawn.repeat(STUDENTS, axis=0)
        seeds = np.tile(np.arange(STUDENTS) + 10_000 * seed + STUDENTS * generation, CANDIDATES)
        observation, _ = envs.reset(seed=[int(s) for s in seeds])
        gain, finished = np.zeros(len(numbers)), False
        while not finished:
            observation, reward, terminated, truncated, _ = envs.step(
                act(envs.single_action_space, observation, numbers)
            )
            gain, finished = gain + reward, bool((terminated | truncated).all())
            done += len(numbers)
        score = gain.reshape(CANDIDATES, STUDENTS).mean(1)
        best = drawn[np.argsort(-score)[:ELITE]]
        mean, spread = best.mean(0), best.std(0) + least
        generation += 1
        report(done, f"generation {generation}: mean return {score.mean():.3f}, best {score.max():.3f}")
    return mean, done


class Searched(Teacher):
    """A rule with numbers that `cross_entropy` finds on training students; ``NAME:DIR/FILE`` on the command line.

    Attributes:
        mean, spread, least: where the search starts; see `cross_entropy`.
        file: name of the JSON file that it writes.
        numbers: those of the rule, [n]; None until a file is loaded, where the rule has none of its own.
    """

    mean: ClassVar[Floats]
    spread: ClassVar[Floats]
    least: ClassVar[float]
    file: ClassVar[str]
    numbers: Any = None

    @staticmethod
    @abstractmethod
    def decide(action_space: Any, observation: dict[str, npt.NDArray[np.float32]], numbers: Floats) -> Any:
        """Actions of S students by the numbers of each, [S, n]."""

    @classmethod
    def kept(cls, mean: Floats) -> dict[str, Any]:
        """What the file holds of the numbers found, beside the steps that it took."""
        return {"numbers": mean.tolist()}

    def load(self, path: Path) -> None:
        """Use the numbers of a search."""
        self.numbers = np.array(json.loads(path.read_text())["numbers"])

    def act(self, observation: dict[str, npt.NDArray[np.float32]]) -> Any:
        """By the same numbers for every student."""
        if self.numbers is None:
            raise self._untrained(self.file)
        return self.decide(self.action_space, observation, np.tile(self.numbers, (len(observation["time"]), 1)))

    @classmethod
    def train(
        cls,
        env_id: str,
        steps: int,
        out: Path,
        seed: int = 0,
        report: Callable[[int, str], None] = lambda done, text: None,
        settings: Mapping[str, Any] | None = None,
    ) -> Path:
        """Search the numbers; returns the file they are in.

        Args:
            env_id: the environment.
            steps: environment steps to spend; a generation takes 16 candidates x 16 students x one episode.
            out: directory of the result.
            seed: of students and candidates.
            report: called with (steps done, a line about them).
            settings: of the environment.
        """
        mean, done = cross_entropy(
            env_id,
            cls.decide,
            cls.mean,
            cls.spread,
            steps,
            least=cls.least,
            seed=seed,
            report=report,
            settings=settings,
        )
        path = out / cls.file
        write_atomically(path, (json.dumps({**cls.kept(mean), "steps": done}, indent=2) + "\n").encode())
        return path
