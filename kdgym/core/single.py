"""One student: the population with S = 1, seen through Gymnasium's single-environment interface."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from kdgym.core.population import Array, Info, PopulationEnv
from kdgym.core.snapshot import StudentSnapshot
from kdgym.core.validation import as_array, is_whole
from kdgym.tasks.base import Split


def first_student(value: Any) -> Any:
    """Student 0's part of a vector info, as plain Python numbers."""
    if isinstance(value, dict):
        return {key: first_student(item) for key, item in value.items() if not key.startswith("_")}
    return value[0].item() if isinstance(value[0], np.generic) else value[0]


class SingleEnv(gym.Env[dict[str, Array], Array]):
    """View of a one-student population. A family names its population and adds nothing.

    Args:
        render_mode: ``None``, ``"rgb_array"`` or ``"human"``.
        settings: passed on to the population.
    """

    population: ClassVar[Callable[..., PopulationEnv]]
    metadata: dict[str, Any] = {
        "render_modes": PopulationEnv.metadata["render_modes"],
        "render_fps": PopulationEnv.metadata["render_fps"],
    }

    def __init__(self, render_mode: str | None = None, **settings: Any) -> None:
        self.students = self.population(num_envs=1, render_mode=render_mode, autoreset=False, **settings)
        self.metadata = {**self.metadata, **self.students.metadata}
        del self.metadata["autoreset_mode"]  # one student has none
        self.render_mode = render_mode
        self.observation_space = self.students.single_observation_space
        self.action_space = self.students.single_action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Array], Info]:
        """See `PopulationEnv.reset`."""
        observation, info = self.students.reset(seed=seed, options=options)
        super().reset(seed=int(seed) if is_whole(seed) else None)
        return self.students.row(observation, 0), first_student(info)

    def step(self, action: Any) -> tuple[dict[str, Array], float, bool, bool, Info]:
        """See `PopulationEnv.step`."""
        actions: Any = [action] if isinstance(action, str) else as_array(action)[None]
        observation, reward, terminated, truncated, info = self.students.step(actions)
        first = self.students.row(observation, 0)
        return first, float(reward[0]), bool(terminated[0]), bool(truncated[0]), first_student(info)

    def render(self) -> npt.NDArray[np.uint8] | None:
        """The lesson so far as a picture with ``render_mode="rgb_array"``."""
        return self.students.frame(0) if self.render_mode == "rgb_array" else None

    def snapshot(self) -> StudentSnapshot:
        """See `PopulationEnv.snapshot`."""
        return self.students.snapshot()

    def restore(self, snapshot: StudentSnapshot | str | Path) -> None:
        """See `PopulationEnv.restore`; also takes the path of a saved snapshot."""
        self.students.restore(snapshot if isinstance(snapshot, StudentSnapshot) else StudentSnapshot.load(snapshot))

    def branch(self, k: int) -> PopulationEnv:
        """See `PopulationEnv.branch`: a population of k copies of this student."""
        return self.students.branch(k)

    def examine(self, split: Split = "test") -> dict[str, Any]:
        """See `PopulationEnv.examine`."""
        return {key: value[0] for key, value in self.students.examine(split).items()}

    def ledger(self) -> dict[str, dict[str, float]]:
        """See `PopulationEnv.ledger`."""
        ledger: dict[str, dict[str, float]] = first_student(self.students.ledger())
        return ledger
