"""The action space of a pupil and its tutor together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kdgym.spaces import Block, Decisions, Floats, MixedBox, Parameter, WordedBox, rounded


class TutoringMoves(WordedBox):
    """``Box(-1, 1, (K + n,))``: about which share of a group of each of K skills a pupil asks, then what its tutor does.

    Args:
        skills: K.
        choices: of the tutor, n entries in all; see `MixedBox`.
        seed: seed of ``sample``.
    """

    def __init__(self, skills: int, choices: Mapping[str, Sequence[str]], seed: int | None = None) -> None:
        self.skills, self.answers = skills, MixedBox(choices)
        self.choices = self.answers.choices
        super().__init__(-1.0, 1.0, (skills + self.answers.shape[0],), np.float32, seed=seed)

    @property
    def blocks(self) -> tuple[Block, ...]:
        return (Block("numbers", self.skills), *self.answers.blocks)

    def encode(self, students: int, ask: npt.ArrayLike, **decisions: Any) -> Floats:
        """The action [S, K + n].

        Args:
            students: S.
            ask: shares in [0, 1], one for all, [S, 1] or [S, K].
            decisions: of the tutor, see `MixedBox.encode`.

        Raises:
            ValueError: a share or a decision is out of range.
        """
        share = np.broadcast_to(np.asarray(ask, dtype=np.float64), (students, self.skills))
        if not ((share >= 0) & (share <= 1)).all():
            raise ValueError(
                f"The pupil asks about shares from {share.min():.4g} to {share.max():.4g}; 0 to 1 is allowed."
            )
        return np.concatenate([2 * share - 1, self.answers.encode(students, **decisions)], axis=1).astype(np.float32)

    def decisions(self, actions: npt.ArrayLike, skills: Sequence[str]) -> Decisions:
        """Shares of groups that the pupil asks about, by skill, in [0, 1], then the tutor's decisions."""
        asked, answered = np.split(np.asarray(actions, dtype=np.float64), [self.skills], axis=-1)
        asks = {f"ask about {skill}": (asked[..., k] + 1) / 2 for k, skill in enumerate(skills)}
        return asks | self.answers.decisions(answered)

    def parameters(self, skills: Sequence[str]) -> tuple[Parameter, ...]:
        """What the pupil asks about, then the tutor's decisions."""
        return (*(Parameter(f"ask about {skill}", "number") for skill in skills), *self.answers.parameters())

    def _compose(self, values: Mapping[str, Any], skills: Sequence[str]) -> npt.NDArray[Any]:
        asks = {f"ask about {skill}": values.get(f"ask about {skill}", 0.0) for skill in skills}
        answers = {name: value for name, value in values.items() if name not in asks}
        return np.concatenate([2 * np.array(list(asks.values())) - 1, self.answers.compose(answers, skills)])

    def _describe(self, action: npt.NDArray[np.float64], skills: Sequence[str]) -> dict[str, Any]:
        asks = rounded((action[: self.skills] + 1) / 2)
        by_skill = {f"ask about {skill}": ask for skill, ask in zip(skills, asks, strict=True)}
        return by_skill | self.answers._describe(action[self.skills :], skills)
