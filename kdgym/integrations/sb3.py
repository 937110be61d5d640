"""Stable-Baselines3 on a population: one adapter, no separate environments."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from sb3_contrib import ARS, TQC, TRPO, CrossQ, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn
from torch import Tensor
from torch.overrides import TorchFunctionMode

from kdgym.integrations import sb3_policies, sb3_recurrent
from kdgym.untrusted import printable

_ROOM = 2**24  # bytes that any zip may unpack to
_LONGEST_OPTIONS = 10**6  # characters of policy_kwargs, pickles included


class PopulationVecEnv(VecEnv):
    """A population as SB3's ``VecEnv``. Both reset finished episodes in the step that ends them, so the adapter is thin.

    It monitors: the info of a step that ends an episode holds ``episode``, its return ``r`` and length ``l`` in steps. SB3 logs
    ``rollout/ep_rew_mean`` from these.

    Args:
        population: what ``gym.make_vec`` returns for a kdgym id, or another vector environment that resets in the same step.
        flatten: show observations as one box, their parts in the order of their names.
    """

    def __init__(self, population: gym.vector.VectorEnv[Any, Any, Any], flatten: bool = False) -> None:
        self.population: Any = population  # its reset takes a seed a student, which the base class does not declare
        self._actions, self._flatten = np.zeros(0, dtype=np.float32), flatten
        self._monitor(population.num_envs)
        seen = population.single_observation_space
        seen = spaces.flatten_space(seen) if flatten else seen
        super().__init__(population.num_envs, seen, population.single_action_space)

    def _monitor(self, rows: int) -> None:
        """Begin to sum up the episodes of so many rows."""
        self._return, self._length = np.zeros(rows), np.zeros(rows, dtype=np.int64)

    def _shown(self, observation: Any) -> VecEnvObs:
        return cast(
            VecEnvObs, _flat(self.population.single_observation_space, observation) if self._flatten else observation
        )

    def reset(self) -> VecEnvObs:
        """Start an episode for every student, with the seeds of the last ``seed`` call if there was one."""
        seeds = None if self._seeds[0] is None else self._seeds
        observation, _ = self.population.reset(seed=seeds, options=self._options[0] or None)
        self.reset_infos = [{} for _ in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        self._monitor(self.num_envs)
        return self._shown(observation)

    def observe(self) -> VecEnvObs:
        """What the policy sees now: what the last reset or step returned."""
        return self._shown(self.population.observe())

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        observation, reward, terminated, truncated, info = self.population.step(self._actions)
        done = terminated | truncated
        last = {i: info["final_obs"][i] for i in np.flatnonzero(done)}
        if self._flatten:
            last = {i: spaces.flatten(self.population.single_observation_space, seen) for i, seen in last.items()}
        return self._shown(observation), reward, done, self._infos(reward, last, truncated & ~terminated)

    def _infos(self, reward: np.ndarray, last: dict[Any, Any], cut: np.ndarray) -> list[dict[str, Any]]:
        """One info a row; those whose episode has ended (row -> what was seen last) tell SB3 what it needs to know of it."""
        self._return += reward
        self._length += 1
        infos: list[dict[str, Any]] = [{} for _ in reward]
        for row, seen in last.items():
            episode = {"r": float(self._return[row]), "l": int(self._length[row])}
            infos[row] = {"terminal_observation": seen, "TimeLimit.truncated": bool(cut[row]), "episode": episode}
            self._return[row] = self._length[row] = 0
        return infos

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
        monitored = issubclass(wrapper_class, Monitor)
        return [monitored] * len(list(self._get_indices(indices)))


def as_vec_env(envs: gym.vector.VectorEnv[Any, Any, Any], flatten: bool = False) -> PopulationVecEnv:
    """SB3's ``VecEnv`` on ``gym.make_vec("kdgym/...", num_envs=S)``, or on students sharded over workers.

    Args:
        envs: the population.
        flatten: show observations as one box, for algorithms without a ``MultiInputPolicy`` (ARS, CrossQ).

    Raises:
        TypeError: ``envs`` is no vector environment that resets students in the step that ends their episodes.
    """
    mode = getattr(envs, "metadata", {}).get("autoreset_mode")
    if not isinstance(envs, gym.vector.VectorEnv) or mode is not gym.vector.AutoresetMode.SAME_STEP:
        raise TypeError(
            f"as_vec_env takes what gym.make_vec returns for a kdgym id, with autoreset; got {type(envs).__name__}. "
            "For one environment give gym.make(...) to SB3 as it is."
        )
    return PopulationVecEnv(envs, flatten)


def _flat(space: spaces.Space[Any], observation: Any) -> np.ndarray:
    """Observations [S, ...] of a Dict's parts side by side, [S, n], in the order in which Gymnasium flattens them."""
    assert isinstance(space, spaces.Dict)
    return np.concatenate([observation[name].reshape(len(observation[name]), -1) for name in space], axis=1)


class SB3Agent:
    """A trained SB3 policy as a kdgym teacher; acts deterministically.

    Args:
        model: the algorithm that trained it.
        flatten: the space of observations that it reads as one box, if it does.
    """

    def __init__(self, model: BaseAlgorithm, flatten: spaces.Space[Any] | None = None) -> None:
        self.model: Any = model
        self._flatten, self._memory = flatten, None

    def reset(self, observation: Any) -> None:
        """An episode begins: recurrent policies forget the last one."""
        self._memory = None

    def act(
        self, observation: dict[str, npt.NDArray[np.float32]], masks: npt.NDArray[np.bool_] | None = None
    ) -> npt.NDArray[Any]:
        """What to do now; ``masks`` [S, choices], for MaskablePPO only, are the choices that would have an effect."""
        allowed = {} if masks is None else {"action_masks": masks}
        seen = observation if self._flatten is None else _flat(self._flatten, observation)
        action, self._memory = self.model.predict(seen, state=self._memory, deterministic=True, **allowed)
        return np.asarray(action if masks is not None else np.clip(action, -1, 1))

    @classmethod
    def from_zip(cls, path: Path, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> SB3Agent:
        """Load the policy of SB3's zip. Nothing in it is run: spaces come from the environment, classes from the table below,
        weights through torch's restricted reader, which makes tensors only. Everything else in the zip is ignored.

        Raises:
            ValueError: the file is missing, is no SB3 zip, or was trained with a policy or for spaces that do not fit.
        """
        described, weights = _read(Path(path))
        algorithm = _algorithm(described)
        flatten = isinstance(observation_space, spaces.Dict) and algorithm in (CrossQ, ARS)  # they take no Dict
        seen = spaces.flatten_space(observation_space) if flatten else observation_space
        unused = {"buffer_size": 1} if algorithm in (SAC, TQC, CrossQ, TD3) else {}
        if algorithm in (SAC, TQC, CrossQ):
            unused["target_entropy"] = 0  # otherwise it asks an environment that is not there
        make: Any = algorithm
        options = _policy_options(path, described.get("policy_kwargs") or {})
        policy = _policy(described, algorithm, seen)
        try:
            model = make(policy, None, policy_kwargs=options, device="cpu", _init_setup_model=False, **unused)
            model.observation_space, model.action_space, model.n_envs = seen, action_space, 1
            _require_fit(model, weights)
            model._setup_model()
            model.policy.load_state_dict(weights)
        except Exception as error:  # which one, depends on what SB3 makes of policy_kwargs that suit no policy
            raise ValueError(f"{path} does not fit this environment's spaces. {_reason(error)}.") from error
        return cls(model, observation_space if flatten else None)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a zip says of its model, and its policy's weights.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_bomb(archive, path.stat().st_size)
            described, content = json.loads(archive.read("data")), archive.read("policy.pth")
        with zipfile.ZipFile(io.BytesIO(content)) as inner:
            _refuse_bomb(inner, len(content))
        weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        if not isinstance(described, dict) or not isinstance(weights, dict):
            raise ValueError("it describes no model")
        if not all(_is_plain(name, value, len(content)) for name, value in weights.items()):
            raise ValueError("its weights are not all plain tensors of finite numbers")
    except Exception as error:  # readers of zips and tensors raise about a dozen kinds, by where the damage is
        raise ValueError(f"{path} is not a model that Stable-Baselines3 saved ({_reason(error)}).") from error
    return described, weights


def _refuse_bomb(archive: zipfile.ZipFile, size: int) -> None:
    """SB3 and torch do not compress; an archive may be packed again, but not from nothing."""
    entries = archive.infolist()
    if sum(entry.file_size for entry in entries) > 4 * size + _ROOM or len({e.filename for e in entries}) < len(
        entries
    ):
        raise ValueError("it unpacks to much more than it is, or has two files of one name")


def _is_plain(name: Any, value: Any, most: int) -> bool:
    """Whether a weight is a tensor, and as large as its bytes in the file, at most as many."""
    return (
        isinstance(name, str)
        and type(value) is Tensor
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
        and value.numel() * value.element_size() <= most
        and bool(value.isfinite().all())
    )


def _require_fit(model: Any, weights: dict[str, Tensor]) -> None:
    """Refuse weights that are not those of the policy, before memory is taken for one of any size.

    Raises:
        ValueError: a tensor is missing, superfluous, or of another type or shape.
    """
    schedule = [] if isinstance(model, ARS) else [lambda _: 0.0]
    with torch.device("meta"), _Unmoved():
        policy = model.policy_class(model.observation_space, model.action_space, *schedule, **model.policy_kwargs)
    wanted = {name: (value.dtype, tuple(value.shape)) for name, value in policy.state_dict().items()}
    found = {name: (value.dtype, tuple(value.shape)) for name, value in weights.items()}
    for name in {**wanted, **found}:
        if wanted.get(name) != found.get(name):
            raise ValueError(f"{name} is {found.get(name)}, and {wanted.get(name)} is needed (type, shape).")


class _Unmoved(TorchFunctionMode):
    """Tensors stay on their device, as there is nothing to move from a device without memory."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func is Tensor.to else func(*args, **(kwargs or {}))


def _reason(error: Exception) -> str:
    """What an error says first, in one line; torch goes on with how to load a file all the same."""
    said = " ".join((str(error).strip() or type(error).__name__).split())
    return printable(said.partition(". ")[0], 200).rstrip(".")


def _policy_options(path: Path, options: Any) -> dict[str, Any]:
    """What a zip says of its policy, without what only training needs (A2C always names its optimiser).

    Raises:
        ValueError: something in it is neither a number nor a list, or it is very long.
    """
    if not isinstance(options, dict) or len(json.dumps(options)) > _LONGEST_OPTIONS:
        raise ValueError(
            f"{path} has policy_kwargs that are no settings of a policy; use a few plain numbers and lists."
        )
    needed = {name: value for name, value in options.items() if name[:1] != ":" and not name.startswith("optimizer_")}
    if ":serialized:" in options and any(isinstance(value, str) for value in needed.values()):
        raise ValueError(f"{path} has policy_kwargs that only pickle can read; use plain numbers, strings and lists.")
    return needed


def _policy(described: dict[str, Any], algorithm: type[BaseAlgorithm], observation_space: spaces.Space[Any]) -> Any:
    """The policy of the zip: kdgym's shared one, or SB3's own."""
    module = _module(described, "policy")
    if module == sb3_policies.__name__:
        return sb3_policies.MaskableSharedPolicy if algorithm is MaskablePPO else sb3_policies.SharedPolicy
    if module == sb3_recurrent.__name__:
        return sb3_recurrent.ItemPolicy
    if module.startswith(("stable_baselines3.", "sb3_contrib.")):
        kind = "MultiInput" if isinstance(observation_space, spaces.Dict) else "Mlp"
        return f"{kind}LstmPolicy" if algorithm is RecurrentPPO else f"{kind}Policy"
    raise ValueError(
        f"The zip's policy is from {printable(module)}, which is not known; use SB3's MultiInputPolicy or MlpPolicy, or "
        "kdgym's own."
    )


def _module(described: dict[str, Any], part: str) -> str:
    """The module of a part's class, as the zip names it."""
    named = described.get(f"{part}_class")
    return str(named.get("__module__")) if isinstance(named, dict) else ""


# By what a zip is recognised: a hyper-parameter, and a part of its policy's or buffer's module. The first row that fits counts.
_ALGORITHMS: tuple[tuple[str, str, type[BaseAlgorithm]], ...] = (
    ("clip_range", ".maskable.", MaskablePPO),
    ("clip_range", "recurrent", RecurrentPPO),
    ("clip_range", "", PPO),
    ("cg_damping", "", TRPO),
    ("gae_lambda", "", A2C),
    ("top_quantiles_to_drop_per_net", "", TQC),
    ("target_entropy", ".crossq.", CrossQ),
    ("target_entropy", "", SAC),
    ("policy_delay", "", TD3),  # and DDPG, which is a TD3
    ("n_delta", "", ARS),
)


def _algorithm(described: dict[str, Any]) -> type[BaseAlgorithm]:
    """The algorithm that saved a zip.

    Raises:
        ValueError: it is none of the table.
    """
    modules = " ".join(_module(described, part) for part in ("policy", "rollout_buffer"))
    for name, module, algorithm in _ALGORITHMS:
        if name in described and module in modules:
            return algorithm
    known = ", ".join(algorithm.__name__ for *_, algorithm in _ALGORITHMS)
    raise ValueError(f"The zip is not from one of the algorithms that can be loaded without pickle: {known} or DDPG.")
