"""Train a Stable-Baselines3 teacher on a population, so that a killed run goes on where it was.

A checkpoint is one safetensors file, replaced atomically: SB3's own zip (as bytes), the state of the population, the states of
the two process-wide generators SB3 draws from, and a JSON header. A resumed run ends bitwise where an undisturbed one does.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.utils import safe_mean

from kdgym.core import PopulationEnv, StudentSnapshot
from kdgym.integrations.sb3 import PopulationVecEnv, as_vec_env
from kdgym.integrations.sb3_generators import generators, set_generators
from kdgym.storage import load_tensors, save_tensors, write_atomically

Report = Callable[[int, str], None]
Build = Callable[[PopulationVecEnv, int], BaseAlgorithm]


def saved(model: BaseAlgorithm) -> bytes:
    """SB3's zip of a model."""
    file = io.BytesIO()
    model.save(file)
    return file.getvalue()


class _Checkpoints(BaseCallback):
    """Saves at the start of every ``every``-th rollout, when all that training depends on is at rest."""

    def __init__(self, path: Path, identity: dict[str, Any], every: int, report: Report) -> None:
        super().__init__()
        self.path, self.identity, self.every, self.report = path, identity, every, report
        self.rollouts = 0

    def _on_rollout_start(self) -> None:
        if self.rollouts and self.rollouts % self.every == 0:
            self.save()
        self.rollouts += 1

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        mean = safe_mean([episode["r"] for episode in self.model.ep_info_buffer or ()])
        self.report(self.num_timesteps, f"mean return {mean:+.3f}")

    def save(self) -> None:
        envs: PopulationEnv = self.model.get_env().population  # type: ignore[union-attr]
        snapshot = envs.snapshot()
        tensors = {f"row{i}": row for i, row in enumerate(snapshot.rows)} | generators()
        tensors["episode_starts"] = torch.tensor(self.model._last_episode_starts)
        tensors["model"] = torch.frombuffer(bytearray(saved(self.model)), dtype=torch.uint8)
        header = {"identity": self.identity, "steps": self.num_timesteps, "settings": snapshot.settings}
        header |= {"rollouts": self.rollouts, "updates": getattr(self.model, "_n_updates", 0)}
        save_tensors(self.path, tensors, header)


def _resume(model: Any, vec_env: PopulationVecEnv, path: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """Put model, population and generators back where the checkpoint left them."""
    tensors, header = load_tensors(path)
    if header.get("identity") != identity:
        raise ValueError(
            f"{path} belongs to another run ({header.get('identity')}, and this is {identity}). Choose another --out, or "
            "delete it."
        )
    _, parameters, _ = load_from_zip_file(io.BytesIO(tensors["model"].numpy().tobytes()), load_data=False)
    model.set_parameters(parameters, exact_match=True)
    rows = [tensors[f"row{i}"] for i in range(sum(name.startswith("row") for name in tensors))]
    vec_env.population.restore(StudentSnapshot(header["settings"], rows))
    model.num_timesteps, model._n_updates = header["steps"], header["updates"]
    model._last_obs = vec_env.observe()
    model._last_episode_starts = tensors["episode_starts"].numpy()
    set_generators(tensors)
    return header


def train_on_policy(
    build: Build,
    env_id: str,
    steps: int,
    out: Path,
    *,
    seed: int,
    num_envs: int,
    report: Report,
    settings: Mapping[str, Any],
    hyperparameters: Mapping[str, Any] | None = None,
    checkpoint_every: int = 4,
    adapt: Callable[[Any], PopulationVecEnv] = as_vec_env,
) -> Path:
    """Train an on-policy SB3 algorithm; resumes from ``out`` if a run was interrupted there.

    Args:
        build: makes the algorithm from SB3's view of the population and a seed.
        env_id: the environment.
        steps: environment steps in all, over all students.
        out: directory of checkpoint, result and, where TensorBoard is installed, its log.
        seed: of policy and students.
        num_envs: students taught side by side.
        report: called after every rollout with the steps done and a line about them.
        settings: keyword arguments of the environment.
        hyperparameters: what ``build`` makes the algorithm with. A run with others does not go on from this one.
        checkpoint_every: rollouts between checkpoints.
        adapt: from the population to what SB3 trains on. Where that has several rows a student, each counts as a step.

    Returns:
        The path of SB3's zip of the trained model.

    Raises:
        ValueError: ``out`` holds a checkpoint of a run with other arguments.
    """
    out.mkdir(parents=True, exist_ok=True)
    identity = {"env_id": env_id, "seed": seed, "num_envs": num_envs, "settings": dict(settings)}
    identity["hyperparameters"] = dict(hyperparameters or {})
    envs: Any = gym.make_vec(env_id, num_envs=num_envs, **settings)
    vec_env = adapt(envs)
    model = build(vec_env, seed)
    vec_env.seed(1_000 * seed)
    model.set_logger(configure(str(out / "tensorboard"), ["tensorboard"] if find_spec("tensorboard") else []))
    checkpoint = out / "checkpoint.safetensors"
    callback = _Checkpoints(checkpoint, identity, checkpoint_every, report)
    if checkpoint.is_file():
        callback.rollouts = _resume(model, vec_env, checkpoint, identity)["rollouts"]
        report(model.num_timesteps, "resumed")
    if model.num_timesteps < steps:
        model.learn(steps - model.num_timesteps, callback=callback, reset_num_timesteps=False)
        callback.save()
    path = out / "model.zip"
    write_atomically(path, saved(model))
    return path
