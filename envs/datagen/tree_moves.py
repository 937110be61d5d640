"""Action spaces of the Skill-Tree level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import MultiDiscrete

from kdgym.spaces import Decisions, Floats, Parameter, PlainSpace, WordedBox, rounded


class TreeMoves(WordedBox):
    """``Box(-1, 1, (K * (1 + M),))``: for each of K skills whether to explore, and a change for each of its M subskills.

    Args:
        skills: K.
        subskills: M.
        largest: the change that 1 stands for, in the unit of the observation ``allocation``.
        seed: seed of ``sample``.
    """

    def __init__(self, skills: int, subskills: int, largest: float, seed: int | None = None) -> None:
        super().__init__(-1.0, 1.0, (skills * (1 + subskills),), np.float32, seed=seed)
        self.skills, self.subskills, self.largest = skills, subskills, largest

    def encode(self, explore: npt.ArrayLike, wanted: npt.ArrayLike, allocation: npt.ArrayLike) -> Floats:
        """The action that explores where told to and, elsewhere, goes as far towards ``wanted`` as one step can.

        Args:
            explore: bool [S, K].
            wanted: allocations [S, K * M] to be reached.
            allocation: those of the observation, [S, K * M].
        """
        shape = (-1, self.skills, self.subskills)
        change = (np.asarray(wanted, dtype=np.float64) - np.asarray(allocation)).reshape(shape) / self.largest
        first = np.where(np.asarray(explore, dtype=bool), 1.0, -1.0)[:, :, None]
        moves: Floats = np.concatenate([first, np.clip(change, -1, 1)], axis=2).reshape(len(first), -1)
        return moves.astype(np.float32)

    def decisions(self, actions: npt.ArrayLike, skills: Sequence[str]) -> Decisions:
        """Whether each skill is explored, 0 or 1, and else the mean change of its subskills, in [-1, 1]."""
        given = np.asarray(actions, dtype=np.float64)
        moves = given.reshape(*given.shape[:-1], self.skills, 1 + self.subskills)
        explores, change = moves[..., 0] > 0, moves[..., 1:].mean(-1)
        return {f"explore {skill}": explores[..., k].astype(np.float64) for k, skill in enumerate(skills)} | {
            f"change {skill}": np.where(explores, 0.0, change)[..., k] for k, skill in enumerate(skills)
        }

    def parameters(self, skills: Sequence[str]) -> tuple[Parameter, ...]:
        """Whether to explore, and changes of the subskills."""
        explores = (Parameter(f"explore {skill}", "flag") for skill in skills)
        changes = (Parameter(f"change {skill}", "number", -1, parts=self.subskills) for skill in skills)
        return (*explores, *changes)

    def _compose(self, values: Mapping[str, Any], skills: Sequence[str]) -> npt.NDArray[Any]:
        moves = np.zeros((self.skills, 1 + self.subskills), np.float32)
        for k, skill in enumerate(skills):
            moves[k, 0] = 2 * values.get(f"explore {skill}", 0) - 1
            moves[k, 1:] = values.get(f"change {skill}", 0)
        return moves.ravel()

    def _describe(self, action: npt.NDArray[np.float64], skills: Sequence[str]) -> dict[str, Any]:
        moves = action.reshape(self.skills, -1)
        explores = {f"explore {skill}": float(row[0] > 0) for skill, row in zip(skills, moves, strict=True)}
        return explores | {f"change {skill}": rounded(row[1:]) for skill, row in zip(skills, moves, strict=True)}


class TreeChoices(PlainSpace, MultiDiscrete):
    """``MultiDiscrete([5] * K)``: for each of K skills keep the allocations, explore, give more, give less, or stop.

    Args:
        skills: K.
        seed: seed of ``sample``.
    """

    KEEP, EXPLORE, MORE, LESS, STOP = range(5)

    def __init__(self, skills: int, seed: int | None = None) -> None:
        super().__init__([5] * skills, seed=seed)
        self.skills = skills

    def masks(self, opened: npt.ArrayLike, allocation: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which choices would have an effect, bool [S, 5 * K]; keeping is always possible.

        Args:
            opened: the observation ``open``, [S, K * M].
            allocation: the observation ``allocation``, [S, K * M].
        """
        is_open, spends = (np.asarray(x).reshape(len(np.asarray(x)), self.skills, -1) > 0 for x in (opened, allocation))
        some, busy = is_open.any(2), spends.any(2)
        masks = np.stack([np.ones_like(some), ~is_open.all(2), some, busy, busy], axis=2)
        return np.asarray(masks.reshape(len(masks), -1))
