"""Best static allocation: looks once, at targets and prices, and never changes its mind. The bar for adaptivity.

Its three numbers were searched by the cross-entropy method (Rubinstein, 1999) on training students:
``kdgym train kdgym/DataGen-Math-v0 --agent constant --out runs/constant``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kdgym.teaching import Floats
from kdgym.teaching.search import Searched

# share ~ (target + spill) ** focus / price ** thrift
FOCUS, SPILL, THRIFT = 1.32, 0.005, 0.83


def allocation(observation: dict[str, Floats], focus: Any, spill: Any, thrift: Any) -> npt.NDArray[np.float64]:
    """Weights of all sources, [S, n]; the three numbers may be arrays [S, 1]."""
    target, price = observation["target"].astype(float), observation["price"].astype(float)
    wanted = (target + spill) ** focus
    return np.asarray(wanted.repeat(price.shape[-1] // wanted.shape[-1], axis=-1) / price**thrift)


class Agent(Searched):
    static = True
    mean, spread = np.array([1.0, -4.0, 0.5]), np.array([0.5, 1.5, 0.5])  # spill is searched as a logarithm
    least, file = 0.05, "constant.json"
    numbers = FOCUS, SPILL, THRIFT

    @staticmethod
    def decide(action_space: Any, observation: dict[str, Floats], numbers: npt.NDArray[np.float64]) -> Any:
        within = np.clip(numbers, [0, -12, -4], [8, 0, 8])
        return action_space.encode(allocation(observation, within[:, :1], np.exp(within[:, 1:2]), within[:, 2:]))

    @classmethod
    def kept(cls, mean: npt.NDArray[np.float64]) -> dict[str, Any]:
        return {"focus": float(mean[0]), "spill": float(np.exp(mean[1])), "thrift": float(mean[2])}

    def load(self, path: Path) -> None:
        found = json.loads(path.read_text())
        self.numbers = found["focus"], found["spill"], found["thrift"]

    def reset(self, observation: dict[str, Floats]) -> None:
        self.action = self.action_space.encode(allocation(observation, *self.numbers))

    def act(self, observation: dict[str, Floats]) -> Floats:
        return np.asarray(self.action)
