"""What a teacher's action on attempts says, decoded."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from kdgym.spaces import MixedBox

LEVELS = {"fraction": 5, "length": 4, "weight": 3}  # of the discrete actions' amounts


@dataclass(frozen=True)
class Decision:
    """One entry a student, [S]: amounts within [0, 1], or whole steps (``length``), and choices as indices."""

    fraction: Tensor
    which: Tensor
    kind: Tensor
    length: Tensor
    shaping: Tensor
    weight: Tensor

    @classmethod
    def of(cls, moves: MixedBox, action: Tensor, most: int) -> Decision:
        """An action [S, n] of `moves`; ``most`` steps of feedback are the longest."""
        parts = action.split([max(1, len(options)) for options in moves.choices.values()], dim=1)
        decision = {
            name: part.argmax(1) if options else (part.squeeze(1) + 1) / 2
            for (name, options), part in zip(moves.choices.items(), parts, strict=True)
        }
        decision["length"] = 1 + (decision["length"] * most).long().clamp_max(most - 1)
        return cls(**decision)
