"""RLlib on populations: the students of an env runner are taught side by side."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv

from kdgym.integrations.ray_worker import qualified

try:
    from ray.tune import register_env
except ImportError as error:
    raise ImportError("kdgym.integrations.rllib needs Ray: pip install 'kdgym[dist]'.") from error


def register_with_rllib(env_id: str) -> str:
    """Make an id known to RLlib, and return it for ``config.environment(id, env_config={...})``.

    ``env_config`` holds the environment's settings. With ``env_runners(gym_env_vectorize_mode="vector_entry_point")`` the
    students of an env runner are one population, taught side by side; with ``"sync"`` they are separate environments.
    """
    register_env(env_id, partial(_make_for_rllib, env_id))
    return env_id


def _make_for_rllib(env_id: str, context: Mapping[str, Any]) -> gym.Env[Any, Any] | VectorEnv[Any, Any, Any]:
    settings = dict(context)
    if "num_envs" in settings:
        return gym.make_vec(qualified(env_id), autoreset="NextStep", **settings)
    return gym.make(qualified(env_id), **settings)
