"""Parameter sharing with Stable-Baselines3: every teacher of every classroom is a row, and one policy plays them all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from kdgym.envs.classroom.bids import Bids, mixed
from kdgym.integrations.sb3 import PopulationVecEnv, as_vec_env


class TeachersVecEnv(PopulationVecEnv):
    """S classrooms with N teachers each as S * N rows, classroom by classroom; all students are one program.

    Rewards are ``(1 - mixing) * own gain + mixing * common gain``, ``mixing`` being the environment's. Which teacher a row is
    stands in its observation (``is_teacher_0``, ...).

    Args:
        classrooms: what ``gym.make_vec`` returns for an id of the Classroom family.

    Raises:
        TypeError: it is something else.
    """

    def __init__(self, classrooms: gym.vector.VectorEnv[Any, Any, Any]) -> None:
        super().__init__(as_vec_env(classrooms).population)
        bids = classrooms.single_action_space
        if not isinstance(bids, Bids):
            raise TypeError(f"TeachersVecEnv takes classrooms, whose actions are bids; these are {bids}.")
        self.bids, self.mixing = bids, float(self.population.unwrapped.settings["mixing"])
        VecEnv.__init__(self, classrooms.num_envs * bids.teachers, bids.seen_space(), bids.acted_space())
        self._monitor(self.num_envs)

    def reset(self) -> VecEnvObs:
        """Start an episode of every classroom, with the seeds of the last ``seed`` call if there was one."""
        if self._seeds[0] is not None:
            self._seeds = self._seeds[: self.population.num_envs]
        observation: Any = super().reset()
        return self.bids.rows(observation)

    def observe(self) -> VecEnvObs:
        """See `PopulationVecEnv.observe`."""
        return self.bids.rows(self.population.observe())

    def step_wait(self) -> VecEnvStepReturn:
        actions = self._actions.reshape(self.population.num_envs, -1)
        observation, _, terminated, truncated, info = self.population.step(actions)
        done = np.repeat(terminated | truncated, self.bids.teachers)
        rewards = mixed(_gains(info, self.bids.teachers), self.mixing).ravel()
        last: dict[int, Any] = {}
        for classroom in np.flatnonzero(terminated | truncated):
            seen = self.bids.rows({name: value[None] for name, value in info["final_obs"][classroom].items()})
            for teacher in range(self.bids.teachers):
                row = int(classroom) * self.bids.teachers + teacher
                last[row] = {name: value[teacher] for name, value in seen.items()}
        cut = np.repeat(truncated & ~terminated, self.bids.teachers)
        return self.bids.rows(observation), rewards.astype(np.float32), done, self._infos(rewards, last, cut)


def _gains(info: Mapping[str, Any], teachers: int) -> npt.NDArray[np.float64]:
    """Gains [S, N] of the step an info speaks of; those of classrooms that began anew stand in ``final_info``."""
    told = [part for part in (info, info.get("final_info", {})) if "gain/teacher_0" in part]
    return np.stack([sum(part[f"gain/teacher_{i}"] for part in told) for i in range(teachers)], axis=1)
