"""How tests ask a teacher for its decisions: on observations written by hand, without an environment."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from kdgym.evaluation import agent_class, introduce
from kdgym.spaces import WordedBox

Observation = dict[str, np.ndarray]


def observed(**values: Any) -> Observation:
    """What is seen of two students, float32 [2, n]: of the first as told, with all time left; of another, the reverse.

    Decisions are asked for the first, so the other shows whether a teacher mistakes one student for another.
    """
    rows = {name: np.atleast_1d(np.asarray(value, dtype=np.float32)) for name, value in {"time": 1, **values}.items()}
    return {name: np.stack([row, row[::-1]]) for name, row in rows.items()}


def alike(observation: Observation, students: int) -> Observation:
    """So many students of whom the same is seen as of the first."""
    return {name: value[:1].repeat(students, axis=0) for name, value in observation.items()}


def teacher(
    name: str,
    space: Any,
    first: Any,
    metadata: dict[str, Any] | None = None,
    hidden: Observation | None = None,
    seed: int = 0,
) -> Any:
    """A teacher at the beginning of an episode, told what a teacher is told.

    Args:
        name: of the agent.
        space: of its actions.
        first: observation.
        metadata: what the environment says about itself.
        hidden: what only upper bounds get to see.
        seed: of its own draws.
    """
    agent: Any = agent_class(name)(None, space, seed=seed)
    introduce(agent, SimpleNamespace(metadata=metadata or {}, hidden=lambda: hidden), first)  # type: ignore[arg-type]
    return agent


def acts(agent: Any, space: WordedBox, observation: Observation) -> np.ndarray:
    """The action, [S, n], which the space takes."""
    action = np.asarray(agent.act(observation))
    assert all(space.contains(one.astype(np.float32)) for one in action)
    return action


def decisions(agent: Any, space: WordedBox, observation: Observation, skills: tuple[str, ...] = ()) -> dict[str, Any]:
    """What the first student's action decides, by name; see `WordedBox.decisions`."""
    action = acts(agent, space, observation)
    return {name: float(value[0]) for name, value in space.decisions(action, skills).items()}
