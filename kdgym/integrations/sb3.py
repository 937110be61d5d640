"""Stable-Baselines3 on a population: one adapter, no separate environments."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from kdgym.integrations import sb3_policies


class PopulationVecEnv(VecEnv):
    """A population as SB3's ``VecEnv``. Both reset finished episodes in the step that ends them, so the adapter is thin.

    Args:
        population: what ``gym.make_vec`` returns for a kdgym id, or another vector environment that resets in the same step.
    """

    def __init__(self, population: gym.vector.VectorEnv[Any, Any, Any]) -> None:
        self.population: Any = population  # its reset takes a seed a student, which the base class does not declare
        self._actions = np.zeros(0, dtype=np.float32)
        super().__init__(population.num_envs, population.single_observation_space, population.single_action_space)

    def reset(self) -> VecEnvObs:
        """Start an episode for every student, with the seeds of the last ``seed`` call if there was one."""
        seeds = None if self._seeds[0] is None else self._seeds
        observation, _ = self.population.reset(seed=seeds, options=self._options[0] or None)
        self.reset_infos = [{} for _ in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return cast(VecEnvObs, observation)

    def observe(self) -> VecEnvObs:
        """What the policy sees now: what the last reset or step returned."""
        return cast(VecEnvObs, self.population.observe())

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        observation, reward, terminated, truncated, info = self.population.step(self._actions)
        done = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(done):
            infos[i]["terminal_observation"] = info["final_obs"][i]
            infos[i]["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
        return observation, reward, done, infos

    def close(self) -> None:
        self.population.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        pictures = self.population.render()
        return [None] * self.num_envs if pictures is None else list(pictures)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        return [getattr(self.population, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        if len(list(self._get_indices(indices))) != self.num_envs:
            raise ValueError("The students of a population share their attributes; leave indices out.")
        setattr(self.population, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        if len(list(self._get_indices(indices))) != self.num_envs:
            raise ValueError("A method of a population speaks for all its students; leave indices out.")
        result = getattr(self.population, method_name)(*args, **kwargs)
        return list(result) if method_name == "action_masks" else [result] * self.num_envs  # masks come one a student

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        return [False] * len(list(self._get_indices(indices)))


def as_vec_env(envs: gym.vector.VectorEnv[Any, Any, Any]) -> PopulationVecEnv:
    """SB3's ``VecEnv`` on ``gym.make_vec("kdgym/...", num_envs=S)``, or on students sharded over workers.

    Raises:
        TypeError: ``envs`` is no vector environment that resets students in the step that ends their episodes.
    """
    mode = getattr(envs, "metadata", {}).get("autoreset_mode")
    if not isinstance(envs, gym.vector.VectorEnv) or mode is not gym.vector.AutoresetMode.SAME_STEP:
        raise TypeError(
            f"as_vec_env takes what gym.make_vec returns for a kdgym id, with autoreset; got {type(envs).__name__}. "
            "For one environment give gym.make(...) to SB3 as it is."
        )
    return PopulationVecEnv(envs)


class SB3Agent:
    """A trained SB3 policy as a kdgym teacher; acts deterministically."""

    def __init__(self, model: BaseAlgorithm) -> None:
        self.model: Any = model

    def act(
        self, observation: dict[str, npt.NDArray[np.float32]], masks: npt.NDArray[np.bool_] | None = None
    ) -> npt.NDArray[Any]:
        """What to do now; ``masks`` [S, choices], for MaskablePPO only, are the choices that would have an effect."""
        allowed = {} if masks is None else {"action_masks": masks}
        action, _ = self.model.predict(observation, deterministic=True, **allowed)
        return np.asarray(action if masks is not None else np.clip(action, -1, 1))

    @classmethod
    def from_zip(cls, path: Path, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> SB3Agent:
        """Load SB3's zip without unpickling anything: spaces come from the environment, classes from the table below.

        Raises:
            ValueError: the file is missing, is no SB3 zip, or was trained with a policy or for spaces that do not fit.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                described = json.loads(archive.read("data"))
            _, parameters, _ = load_from_zip_file(path, load_data=False)
        except (OSError, zipfile.BadZipFile, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is not a model that Stable-Baselines3 saved ({error}).") from error
        algorithm, policy = _classes(described, observation_space)
        options = described.get("policy_kwargs", {})
        if ":serialized:" in options:
            raise ValueError(
                f"{path} has policy_kwargs that only pickle can read; use plain numbers, strings and lists."
            )
        unused: dict[type, dict[str, Any]] = {
            SAC: {"buffer_size": 1, "target_entropy": 0.0},  # otherwise it asks an environment that is not there
            TD3: {"buffer_size": 1},
        }
        make: Any = algorithm
        model = make(
            policy, None, policy_kwargs=options, device="cpu", _init_setup_model=False, **unused.get(algorithm, {})
        )
        model.observation_space, model.action_space, model.n_envs = observation_space, action_space, 1
        try:
            model._setup_model()
            model.set_parameters(parameters, exact_match=True)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"{path} does not fit this environment's spaces: {error}") from error
        return cls(model)


def _classes(described: dict[str, Any], observation_space: spaces.Space[Any]) -> tuple[type[BaseAlgorithm], Any]:
    """The algorithm that has these hyper-parameters, and its policy: kdgym's shared one, or SB3's own."""
    algorithm = _algorithm(described)
    module = str(described.get("policy_class", {}).get("__module__"))
    if module == sb3_policies.__name__:
        return algorithm, sb3_policies.MaskableSharedPolicy if algorithm is MaskablePPO else sb3_policies.SharedPolicy
    if module.startswith(("stable_baselines3.", "sb3_contrib.")):
        return algorithm, "MultiInputPolicy" if isinstance(observation_space, spaces.Dict) else "MlpPolicy"
    raise ValueError(
        f"The zip's policy is from {module}, which is not known; use SB3's MultiInputPolicy or MlpPolicy, or kdgym's own."
    )


def _algorithm(described: dict[str, Any]) -> type[BaseAlgorithm]:
    if "clip_range" in described:
        buffer = described.get("rollout_buffer_class") or {}  # the one thing in which a MaskablePPO's zip is another
        return MaskablePPO if "maskable" in str(buffer.get("__module__")) else PPO
    if "target_entropy" in described:
        return SAC
    if "policy_delay" in described:
        return TD3
    raise ValueError("The zip is not from PPO, MaskablePPO, SAC or TD3; those can be loaded without pickle.")
