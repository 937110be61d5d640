"""What a teacher is: one decision, and hooks for those that need more."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class Teacher:
    """A teacher of S students at once: observations are arrays [S, n], an action is an array [S, m] within the action space.

    Derive from it and write `act`. All else is a hook, and does nothing where it is left out. A method whose name is nearly
    that of a hook is taken for a misspelt one and refused.

    Args:
        observation_space, action_space: of one student.
        seed: of what the teacher draws from ``self.rng``.

    Attributes:
        upper_bound: sees or does more than a teacher may; the environment is attached.
        static: a constant: what it does is settled by what an episode begins with, and nothing the student does changes it.
        actions: the encoding of the actions it speaks, where an environment has several: ``"discrete"``.
        groups: of ids that it fits, of a teacher that another package names (`kdgym.registration.Entry.group`); literals.
        options: names of the keyword arguments that it takes from the command line.
        comment: comments on attempts in its own words, where environments have a ``commentator``.
        diagnose: after the last step of students with misconceptions, the probability [S, M], from 0 to 1, that each student
            began with each of them.
    """

    upper_bound: ClassVar[bool] = False
    static: ClassVar[bool] = False
    actions: ClassVar[str | None] = None
    groups: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[tuple[str, ...]] = ()
    comment: Callable[..., Any] | None = None
    diagnose: Callable[..., Any] | None = None

    def __init__(self, observation_space: Any, action_space: Any, seed: int = 0) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.rng = np.random.default_rng(seed)

    def __init_subclass__(cls) -> None:
        if "act" in vars(cls) and "static" not in vars(cls):
            cls.static = False  # a decision of its own may depend on anything, whatever that of its base did
        hooks = [name for name in vars(Teacher) if not name.startswith("_")]
        for name, value in vars(cls).items():
            near = get_close_matches(name, hooks, n=1, cutoff=0.75)
            if callable(value) and not name.startswith("_") and not hasattr(Teacher, name) and near:
                raise TypeError(
                    f"The teacher {cls.__module__} has a method {name}, which is no hook. Did you mean {near[0]}?"
                )

    def act(self, observation: dict[str, Floats]) -> Any:
        """What to do now."""
        raise NotImplementedError(f"The teacher {type(self).__module__} defines no act(observation).")

    def reset(self, observation: dict[str, Floats]) -> None:
        """An episode begins, and this is what is seen first."""

    def after_step(self, reward: npt.NDArray[np.float64], done: npt.NDArray[np.bool_]) -> None:
        """What came of the last actions: each student's reward, float64 [S], and whether its episode is over, bool [S].

        Called after every step, before the next `act`. A student whose episode was over before has the reward 0.
        """

    def study(self, metadata: dict[str, Any]) -> None:
        """What the environment says of itself, before the first episode: ``metadata["skills"]``, for example."""

    def attach(self, envs: Any) -> None:
        """The environment itself, for upper bounds."""
        self.envs = envs

    def load(self, path: Path) -> None:
        """Use what was learned and kept in a file.

        Raises:
            ValueError: this teacher keeps nothing.
        """
        raise ValueError(f"This teacher keeps nothing in files; {path} was given.")

    def spent(self) -> dict[str, Any]:
        """What the last decision itself cost, unit -> [S]; it is billed to the teacher."""
        return {}

    def remarks(self) -> dict[str, int]:
        """Counts that are reported with the score, of this teacher since it was made.

        ``questions`` asked of a language model and how many ``failed`` decide whether a score is marked and a leaderboard takes
        it; see `kdgym.evaluation.failed_share`.
        """
        return {}

    def _untrained(self, file: str) -> ValueError:
        name = type(self).__module__.rpartition(".")[2]
        return ValueError(
            f"The {name} agent has to be trained first: kdgym train ID --agent {name} --out DIR, then {name}:DIR/{file}."
        )


class Fixed(Teacher):
    """Always the same action: ``rule``, as ``action_space.encode`` takes it."""

    static = True
    rule: ClassVar[dict[str, Any]] = {}

    def act(self, observation: dict[str, Floats]) -> Any:
        """The rule, for every student."""
        return np.asarray(self.action_space.encode(len(observation["time"]), **self.rule))
