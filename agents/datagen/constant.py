"""Best static allocation: looks once, at targets and prices, and never changes its mind. The bar for adaptivity.

Its three numbers were searched by the cross-entropy method (Rubinstein, 1999) on training students:
``kdgym train kdgym/DataGen-Math-v0 --agent constant --out runs/constant``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kdgym.teaching import Floats, Teacher
from kdgym.teaching.search import cross_entropy

# share ~ (target + spill) ** focus / price ** thrift
FOCUS, SPILL, THRIFT = 1.32, 0.005, 0.83


def allocation(observation: dict[str, Floats], focus: Any, spill: Any, thrift: Any) -> npt.NDArray[np.float64]:
    """Weights of all sources, [S, n]; the three numbers may be arrays [S, 1]."""
    target, price = observation["target"].astype(float), observation["price"].astype(float)
    wanted = (target + spill) ** focus
    return np.asarray(wanted.repeat(price.shape[-1] // wanted.shape[-1], axis=-1) / price**thrift)


class Agent(Teacher):
    def __init__(self, observation_space: Any, action_space: Any, seed: int = 0) -> None:
        super().__init__(observation_space, action_space, seed)
        self.numbers = (FOCUS, SPILL, THRIFT)

    def load(self, path: Path) -> None:
        """Use the numbers of a search."""
        found = json.loads(path.read_text())
        self.numbers = (found["focus"], found["spill"], found["thrift"])

    def reset(self, observation: dict[str, Floats]) -> None:
        self.action = self.action_space.encode(allocation(observation, *self.numbers))

    def act(self, observation: dict[str, Floats]) -> Floats:
        return np.asarray(self.action)


def train(
    env_id: str,
    steps: int,
    out: Path,
    seed: int = 0,
    report: Callable[[int, str], None] = lambda done, text: None,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Search the three numbers on training students; returns the file they are in.

    Args:
        env_id: the environment.
        steps: environment steps to spend; a generation takes 16 candidates x 16 students x one episode.
        out: directory of the result.
        seed: of students and candidates.
        report: called with (steps done, a line about them).
        settings: of the environment.
    """

    def act(action_space: Any, observation: dict[str, Floats], drawn: npt.NDArray[np.float64]) -> Any:
        numbers = np.clip(drawn, [0, -12, -4], [8, 0, 8])
        return action_space.encode(allocation(observation, numbers[:, :1], np.exp(numbers[:, 1:2]), numbers[:, 2:]))

    first, spread = np.array([1.0, -4.0, 0.5]), np.array([0.5, 1.5, 0.5])  # spill is searched as a logarithm
    mean, done = cross_entropy(
        env_id, act, first, spread, steps, least=0.05, seed=seed, report=report, settings=settings
    )
    out.mkdir(parents=True, exist_ok=True)
    found = {"focus": float(mean[0]), "spill": float(np.exp(mean[1])), "thrift": float(mean[2]), "steps": done}
    path = out / "constant.json"
    path.write_text(json.dumps(found, indent=2) + "\n")
    return path
