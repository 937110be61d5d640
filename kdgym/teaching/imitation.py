"""Train a recurrent teacher to do by what it sees what an upper bound does by what is hidden: privileged imitation.

The learner teaches, the upper bound says at every step what it would do, and the learner is fitted to all that was ever said
(DAgger: Ross, Gordon and Bagnell, AISTATS 2011, algorithm 3.1; by a privileged expert: Chen et al., "Learning by cheating",
CoRL 2019). Where the bound's action is hidden, cross entropy makes the learner's shares its probability, given what was
seen so far.

Hidden facts are those of training students. What comes out, an SB3 zip, sees no more than any teacher.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from sb3_contrib import RecurrentPPO
from torch import Tensor
from torch.nn import functional as F

from kdgym.catalogue import AGENTS
from kdgym.integrations.sb3 import as_vec_env
from kdgym.integrations.sb3_recurrent import ItemPolicy
from kdgym.registration import find
from kdgym.settings import Settings
from kdgym.spaces import RATIO
from kdgym.storage import load_tensors, save_tensors, write_atomically
from kdgym.teaching.base import Teacher
from kdgym.teaching.sb3_training import Report, saved

CURVE_SEED = 900_000  # of the students of the learning curve, whom nothing is trained on


class Imitation(Settings):
    """What may be chosen for one training run.

    Attributes:
        labels: the upper bound that is imitated; the environment's first if left out.
        students: taught side by side in a round.
        updates: steps of Adam after each round.
        last_updates: steps of Adam after the last round, ever smaller ones.
        batch: episodes of an update.
        learning_rate: of Adam.
        width: of every layer, and of an item's memory.
        sharpness: what the learner's scores of shares and choices are multiplied by when it acts. They are probabilities at 1,
            and at more it tries rather one item than a mixture.
        recall: whether the learner's last action is one of its inputs.
        noise: standard deviation of what is added to scores of shares and choices while the learner teaches: all of it for a
            third of the students, half of it for a third, nothing for the others.
        every: rounds between points of the learning curve.
        watched: students of the learning curve.
    """

    noun = "hyper-parameter"
    labels: str = ""
    students: int = Field(128, ge=1)
    updates: int = Field(60, ge=1)
    last_updates: int = Field(600, ge=0)
    batch: int = Field(32, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    width: int = Field(32, ge=1)
    sharpness: float = Field(1.0, gt=0)
    recall: bool = False
    noise: float = Field(1.0, ge=0)
    every: int = Field(4, ge=1)
    watched: int = Field(64, ge=1)


def expert(name: str, envs: Any) -> Teacher:
    """The upper bound of that name, attached to an environment.

    Raises:
        ValueError: there is no upper bound of that name.
    """
    kind: Any = None
    if name in AGENTS:
        kind = getattr(importlib.import_module(AGENTS[name].module), AGENTS[name].kind)
    if not getattr(kind, "upper_bound", False):
        raise ValueError(f"labels={name!r} is no upper bound; give one that kdgym list ID names.")
    made: Teacher = kind(envs.single_observation_space, envs.single_action_space, seed=0)
    made.attach(envs)
    made.study(envs.metadata)
    return made


def population(env_id: str, students: int, **settings: Any) -> Any:
    """Students of the training pool, unless the settings say otherwise."""
    return gym.make_vec(env_id, num_envs=students, **settings)


class Apprenticeship:
    """One training run: the students, the learner, and all that was seen, wanted and counted so far, [T, episodes, ...].

    Args:
        env_id: the environment.
        settings: of it.
        hyper: see `Imitation`.
        seed: of the learner and the students.
    """

    def __init__(self, env_id: str, settings: Mapping[str, Any], hyper: Imitation, seed: int) -> None:
        self.hyper, self.seed, self.round = hyper, seed, 0
        self.envs = population(env_id, hyper.students, autoreset=False, **settings)
        self.watched = population(env_id, hyper.watched, autoreset=False, **settings)
        self.expert = expert(hyper.labels or find(env_id).upper_bounds[0], self.envs)
        options = {"items": list(self.envs.items)} | hyper.model_dump(include={"width", "sharpness", "recall"})
        self.model = RecurrentPPO(
            ItemPolicy,
            as_vec_env(population(env_id, 1, **settings)),
            seed=seed,
            n_steps=self.envs.steps,
            policy_kwargs=options,
            device=self.envs.device,
        )
        self.policy: Any = self.model.policy
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=hyper.learning_rate)
        self.data: dict[str, Tensor] = {}
        self.curve: list[dict[str, float]] = []

    @property
    def steps(self) -> int:
        """Environment steps so far, over all students."""
        return self.round * self.hyper.students * int(self.envs.steps)

    def play(self, envs: Any, seeds: npt.NDArray[np.int64], labelled: bool) -> dict[str, Tensor]:
        """One episode of every student under the learner: what was ``seen``, and if ``labelled`` what was ``wanted`` and
        ``acted``, and whether it ``counts``, the episode not being over: [T, S, ...] each; and the ``gain`` [S].
        """
        rng = np.random.default_rng([self.seed, self.round])
        observation, _ = envs.reset(seed=[int(seed) for seed in seeds])
        if labelled:
            self.expert.rng = np.random.default_rng([self.seed, self.round, 1])  # so that a resumed run draws the same
            self.expert.reset(observation)
        state, done, gain = None, np.zeros(len(seeds), dtype=bool), np.zeros(len(seeds))
        found: dict[str, list[Tensor]] = {"seen": [], "wanted": [], "acted": [], "counts": []}
        while not done.all():
            action, state = self.policy.predict(observation, state, deterministic=True)
            if labelled:
                found["seen"].append(self._flat(observation))
                found["wanted"].append(torch.as_tensor(np.array(self.expert.act(observation), np.float32)))
                found["counts"].append(torch.from_numpy(~done))
                action = np.clip(action + self._noise(rng, len(seeds)), -1, 1).astype(np.float32)
                found["acted"].append(torch.from_numpy(action))
                if self.hyper.recall:
                    state[1][0, :, : action.shape[1]] = action
            observation, reward, terminated, truncated, _ = envs.step(action)
            gain, done = gain + np.where(done, 0, reward), terminated | truncated
        return {"gain": torch.from_numpy(gain)} | {name: torch.stack(rows) for name, rows in found.items() if rows}

    def _flat(self, observation: Mapping[str, npt.NDArray[np.float32]]) -> Tensor:
        parts = [observation[name] for name in self.policy.observation_space.spaces]
        return torch.from_numpy(np.concatenate(parts, axis=1).astype(np.float32))

    def _noise(self, rng: np.random.Generator, students: int) -> npt.NDArray[np.float64]:
        scored = np.concatenate([np.full(b.size, b.kind != "numbers") for b in self.policy.layout.blocks])
        size = self.hyper.noise / RATIO * (np.arange(students) % 3)[:, None] / 2
        return np.asarray(rng.normal(size=(students, len(scored))) * size * scored)

    def learn(self) -> float:
        """One round: teach new students, add what was seen and wanted, and fit the learner; the mean loss of the updates."""
        first = 1_000_000 * (self.seed + 1) + self.round * self.hyper.students
        new = self.play(self.envs, first + np.arange(self.hyper.students), labelled=True)
        del new["gain"]
        if not self.data:
            self.policy.lstm_actor.standardise(new["seen"].to(self.policy.device))
        self.data = {name: torch.cat([self.data[name], new[name]], dim=1) if self.data else new[name] for name in new}
        order = torch.Generator().manual_seed(2**20 * self.seed + self.round)
        losses = [self._update(order) for _ in range(self.hyper.updates)]
        self.round += 1
        return float(np.mean(losses))

    def finish(self) -> None:
        """Fit the learner to all that was said, by ever smaller steps."""
        order = torch.Generator().manual_seed(2**20 * self.seed + 2**19 + self.round)
        for left in range(self.hyper.last_updates, 0, -1):
            self.optimizer.param_groups[0]["lr"] = self.hyper.learning_rate * left / self.hyper.last_updates
            self._update(order)

    def _update(self, order: torch.Generator) -> float:
        chosen = torch.randint(self.data["seen"].shape[1], (self.hyper.batch,), generator=order)
        loss = self.loss(
            *(self.data[name][:, chosen].to(self.policy.device) for name in ("seen", "acted", "wanted", "counts"))
        )
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), 1.0)
        self.optimizer.step()
        return float(loss.detach())

    def loss(self, seen: Tensor, acted: Tensor, wanted: Tensor, counts: Tensor) -> Tensor:
        """How far the learner's actions are from those wanted, [T, B, ...] each: cross entropy of shares and choices, squared
        differences of numbers.
        """
        entries, total = self.policy.entries(seen, acted), torch.zeros(seen.shape[:2], device=seen.device)
        sizes = [block.size for block in self.policy.layout.blocks]
        parts = zip(self.policy.layout.blocks, entries.split(sizes, -1), wanted.split(sizes, -1), strict=True)
        for block, own, label in parts:
            if block.kind == "numbers":
                total = total + F.mse_loss(own, label, reduction="none").sum(-1)
            else:
                total = total - (
                    torch.softmax(RATIO * label, -1) * torch.log_softmax(RATIO / self.hyper.sharpness * own, -1)
                ).sum(-1)
        return (total * counts).sum() / counts.sum()

    def save(self, path: Path, identity: Mapping[str, Any]) -> None:
        """Write all that the run depends on."""
        moments = self.optimizer.state_dict()["state"]
        tensors = {f"data.{name}": value for name, value in self.data.items()}
        tensors |= {f"policy.{name}": value for name, value in self.policy.state_dict().items()}
        tensors |= {f"adam.{number}.{name}": value for number, of in moments.items() for name, value in of.items()}
        save_tensors(path, tensors, {"identity": identity, "round": self.round, "curve": self.curve})

    def resume(self, path: Path, identity: Mapping[str, Any]) -> None:
        """Go on where `save` was called.

        Raises:
            ValueError: the file is of another run.
        """
        tensors, header = load_tensors(path)
        if header.get("identity") != json.loads(json.dumps(identity)):
            raise ValueError(
                f"{path} belongs to another run ({header.get('identity')}). Choose another --out, or delete it."
            )
        part: dict[str, dict[str, Tensor]] = {"data": {}, "policy": {}, "adam": {}}
        for name, value in tensors.items():
            kind, _, rest = name.partition(".")
            part[kind][rest] = value
        self.round, self.curve, self.data = header["round"], header["curve"], part["data"]
        self.policy.load_state_dict(part["policy"])
        state = self.optimizer.state_dict()
        for name, value in part["adam"].items():
            number, _, what = name.partition(".")
            state["state"].setdefault(int(number), {})[what] = value
        self.optimizer.load_state_dict(state)


def imitate(
    env_id: str,
    steps: int,
    out: Path,
    seed: int = 0,
    report: Report = lambda done, text: None,
    settings: Mapping[str, Any] | None = None,
    hyper: Mapping[str, Any] | None = None,
) -> Path:
    """Train by imitation of an upper bound; resumes from ``out`` if a run was interrupted there.

    Args:
        env_id: the environment.
        steps: environment steps in all, over all students; whole rounds are done.
        out: directory of checkpoint, result, and ``curve.json``: steps, loss, and return of students nobody trained on.
        seed: of learner and students.
        report: called after every round with the steps done and a line about them.
        settings: of the environment.
        hyper: see `Imitation`.

    Returns:
        The path of SB3's zip of a RecurrentPPO, which ``RecurrentPPO.load`` goes on from.

    Raises:
        ValueError: a hyper-parameter is refused, or ``out`` holds a checkpoint of a run with other arguments.
    """
    chosen = Imitation.parse(dict(hyper or {}))
    run = Apprenticeship(env_id, settings or {}, chosen, seed)
    identity = {"env_id": env_id, "seed": seed, "settings": dict(settings or {}), "hyper": chosen.model_dump()}
    checkpoint = out / "checkpoint.safetensors"
    if checkpoint.is_file():
        run.resume(checkpoint, identity)
        report(run.steps, "resumed")
    while run.steps < steps:
        loss = run.learn()
        line = f"loss {loss:.3f}"
        if run.round % chosen.every == 0 or run.steps >= steps:
            gain = float(run.play(run.watched, CURVE_SEED + np.arange(chosen.watched), labelled=False)["gain"].mean())
            run.curve.append({"steps": run.steps, "loss": loss, "return": gain})
            write_atomically(out / "curve.json", (json.dumps(run.curve, indent=1) + "\n").encode())
            line += f", return of others {gain:+.3f}"
        run.save(checkpoint, identity)
        report(run.steps, line)
    run.finish()
    path = out / "model.zip"
    run.model.num_timesteps = run.steps
    write_atomically(path, saved(run.model))
    return path
