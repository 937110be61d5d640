"""What happened in the lanes of the Orchestrate family, task by task, and what memories are worth elsewhere."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from kdgym.catalogue import require_fit
from kdgym.evaluation import encoding


def open_world(env_id: str, agent: str, students: int, **settings: Any) -> Any:
    """A population of the Orchestrate family, unseen students unless ``settings`` say otherwise.

    Raises:
        ValueError: the environment, or the agent, is of another family.
    """
    require_fit(env_id, agent)
    given = {"pool": "evaluation", **encoding(agent), **settings}
    envs: Any = gym.make_vec(env_id, num_envs=students, autoreset=False, **given)
    if envs.settings["family"] != "Orchestrate":
        raise ValueError(f"{env_id} has no lanes and no notes; ids with them begin with kdgym/Orchestrate-.")
    return envs
