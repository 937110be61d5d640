"""RLlib on populations: the students of an env runner are taught side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from kdgym.core.population import Array, Info
from kdgym.integrations.ray_worker import qualified

try:
    from ray.tune import register_env
except ImportError as error:
    raise ImportError("kdgym.integrations.rllib needs Ray: pip install 'kdgym[dist]'.") from error


class NextStepAutoreset(VectorWrapper):
    """A population as RLlib wants it: the step after an episode's last one resets, and its actions are ignored.

    Args:
        envs: a population made with ``autoreset=False``, whose students finish their episodes together.
    """

    def __init__(self, envs: VectorEnv[Any, Any, Any]) -> None:
        super().__init__(envs)
        self.metadata = {**envs.metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}
        self._done = np.zeros(envs.num_envs, dtype=bool)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, Info]:
        """See `kdgym.core.PopulationEnv.reset`."""
        envs: Any = self.env  # Gymnasium declares reset for one seed only
        observation, info = envs.reset(seed=seed, options=options)
        self._done[:] = False
        return observation, info

    def step(self, actions: Array) -> tuple[Any, Array, Array, Array, Info]:
        """Teach every student for one step, or start the next episodes with reward 0.

        Raises:
            RuntimeError: some students have finished their episode, and others have not.
        """
        if not self._done.any():
            observation, reward, terminated, truncated, info = self.env.step(actions)
            self._done = terminated | truncated
            return observation, reward, terminated, truncated, info
        if not self._done.all():
            raise RuntimeError(
                "Some students have finished their episode and others have not; a population cannot start the one while it "
                'teaches the other. Use env_runners(gym_env_vectorize_mode="sync"), where students are separate.'
            )
        observation, info = self.reset()
        nothing = np.zeros(self.num_envs, dtype=bool)
        return observation, np.zeros(self.num_envs), nothing, nothing.copy(), info


def register_with_rllib(env_id: str) -> str:
    """Make an id known to RLlib, and return it for ``config.environment(id, env_config={...})``.

    ``env_config`` holds the environment's settings. With ``env_runners(gym_env_vectorize_mode="vector_entry_point")`` the
    students of an env runner are one population, taught side by side; with ``"sync"`` they are separate environments.
    """
    register_env(env_id, partial(_make_for_rllib, env_id))
    return env_id


def _make_for_rllib(env_id: str, context: Mapping[str, Any]) -> gym.Env[Any, Any] | NextStepAutoreset:
    settings = dict(context)
    if "num_envs" in settings:
        return NextStepAutoreset(gym.make_vec(qualified(env_id), autoreset=False, **settings))
    return gym.make(qualified(env_id), **settings)
