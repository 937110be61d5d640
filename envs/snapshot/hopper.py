"""Hopper, in Gymnasium's simulator: students are Stable-Baselines3's PPO, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from gymnasium.wrappers import TransformReward
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from kdgym import random
from kdgym.console import progress_bar
from kdgym.envs.snapshot.simulators import Keys
from kdgym.integrations.sb3_generators import generators, set_generators
from kdgym.storage import cache_directory, load_or_build
from kdgym.students.control.actor_critic import PPOConfig
from kdgym.students.control.rollouts import EpisodeStats, StartRule
from kdgym.tasks.snapshots import value_bands
from kdgym.wrappers.collecting import collect_snapshots, sb3_policy
from kdgym.wrappers.snapshot_reset import SnapshotReset
from kdgym.wrappers.states import find_adapter
from kdgym.wrappers.store import SnapshotStore, describe

_ID, _VERSION, _DISCOUNT = "Hopper-v5", 1, 0.99
_REWARD_SCALE = 1 / 400  # brings discounted returns to within [-1, 1]: a good hop earns about 3.5 a step
_FLOOR, _CEILING = 0.0, 3000.0  # returns that count as 0 and 1
# Of the demonstrator's training and episodes, and steps between two snapshots of an episode.
_DEMONSTRATOR_SEED, _EPISODES, _EVERY = 0x5EED, 10, 10


class HopperSimulators:
    """`kdgym.envs.snapshot.simulators.Simulators` of Hopper-v5.

    The demonstrator is SB3's PPO in eight simulators, trained when it is first needed and kept in the cache. A snapshot's value
    is its critic's. A start is one number, from which the simulator is seeded.

    Args:
        teacher_steps: environment steps of the demonstrator's training.
        clusters: bands of its values.
        config: of the students' PPO; SB3's Adam has no weight decay.
        hidden: width of the students' two layers.
        actors: simulators of a student.
        rollout: steps of an update in each.

    Raises:
        ImportError: MuJoCo is missing.
        ValueError: the demonstrator's values do not make so many clusters.
    """

    dtype = torch.float32
    version, noise_size, start_size, independent = _VERSION, 1, 1, True

    def __init__(
        self, teacher_steps: int, clusters: int, config: PPOConfig, hidden: int, actors: int, rollout: int
    ) -> None:
        self.store, self.steps = _demonstrator(teacher_steps)
        label = value_bands(self.store.value, clusters)
        if label.max() + 1 < clusters:
            raise ValueError(
                f"The demonstrator's values on {_ID} make {label.max() + 1} clusters at most; clusters is {clusters}."
            )
        self.size = torch.from_numpy(np.bincount(label))
        self.value = torch.tensor([self.store.value[label == k].mean() for k in range(clusters)])
        self._members = [np.flatnonzero(label == k) for k in range(clusters)]
        self._starts = [_Starts(self._members) for _ in range(actors)]
        self._envs = [SnapshotReset(_make(), self.store, draw, horizon=1) for draw in self._starts]
        self.limit, self.config = _limit(), config
        self.model = PPO(
            "MlpPolicy",
            DummyVecEnv([lambda env=env: env for env in self._envs]),  # type: ignore[misc]
            learning_rate=config.learning_rate,
            n_steps=rollout,
            batch_size=actors * rollout // config.minibatches,
            n_epochs=config.epochs,
            gamma=_DISCOUNT,
            gae_lambda=config.gae_lambda,
            clip_range=config.clip,
            ent_coef=config.entropy_coef,
            max_grad_norm=config.max_grad_norm,
            policy_kwargs={"net_arch": [hidden, hidden]},
            device="cpu",
            seed=0,
        )
        self.weights = len(parameters_to_vector(self.model.policy.parameters()))
        self.row = 3 * self.weights + 1  # weights, Adam's two moments, its number of updates
        actor = [self.model.policy.mlp_extractor.policy_net, self.model.policy.action_net]
        self.flops = 2.0 * sum(p.numel() for part in actor for p in part.parameters())

    def initialise(self, key: Tensor) -> Tensor:
        """See `Simulators.initialise`."""
        rows = torch.zeros(len(key), self.row)
        policy = self.model.policy
        for row, seed in zip(rows, _seeds(key), strict=True):
            with _own_random_streams(seed):
                fresh = type(policy)(**policy._get_constructor_parameters())
            row[: self.weights] = parameters_to_vector(fresh.parameters()).detach()
        return rows

    def start(self, noise: Tensor) -> Tensor:
        """See `Simulators.start`: the number itself."""
        return noise.double()

    def score(self, total: Tensor) -> Tensor:
        """Return over 3000."""
        return ((total - _FLOOR) / (_CEILING - _FLOOR)).clamp(0, 1)

    def practise(self, student: Tensor, rule: StartRule, updates: Tensor, begin: Tensor, keys: Keys) -> EpisodeStats:
        """See `Simulators.practise`."""
        stats = EpisodeStats.nothing(rule.share)
        for i, seed in enumerate(_seeds(random.fold(keys(0)[0], begin))):
            if updates[i] == 0:
                continue
            for draw, env in zip(self._starts, self._envs, strict=True):
                draw.share, env.horizon = rule.share[i].numpy(), min(int(rule.horizon[i]), self.limit)
            self._load(student[i])
            with _own_random_streams(seed):
                self.model.get_env().seed(seed)  # type: ignore[union-attr]
                counting = _Counting(self._starts, stats, i)
                size = self.model.n_steps * self.model.n_envs
                self.model.learn(int(updates[i]) * size, counting)
            self._save(student[i])
        return stats

    def gap(self, student: Tensor) -> Tensor:
        """See `Simulators.gap`; of all snapshots."""
        observation = torch.from_numpy(self.store.observation).float()
        gaps = []
        for row in student:
            self._load(row)
            with torch.no_grad():
                value = self.model.policy.predict_values(observation)[:, 0].double().numpy()
            gaps.append([float((self.store.value - value)[rows].mean()) for rows in self._members])
        return torch.tensor(gaps)

    def examine(self, student: Tensor, starts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Simulators.examine`; greedy students in fresh simulators."""
        outcome = [self._examine(row, numbers[:, 0]) for row, numbers in zip(student, starts, strict=True)]
        total, stood, steps = zip(*outcome, strict=True)
        return torch.stack(total), torch.stack(stood), torch.stack(steps)

    def _examine(self, row: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One student: returns float64 [E], whether it still stood at the end bool [E], steps int64 []."""
        self._load(row)
        envs = [gym.make(_ID) for _ in noise]
        observation = np.stack([env.reset(seed=int(u * 2**31))[0] for env, u in zip(envs, noise.tolist(), strict=True)])
        total, stood, steps = torch.zeros(len(envs), dtype=torch.float64), torch.zeros(len(envs), dtype=torch.bool), 0
        alive = list(range(len(envs)))
        while alive:
            action, _ = self.model.predict(observation[alive], deterministic=True)
            steps += len(alive)
            for i, chosen in zip(list(alive), action, strict=True):
                observation[i], reward, terminated, truncated, _ = envs[i].step(chosen)
                total[i] += float(reward)
                if terminated or truncated:
                    stood[i] = not terminated
                    alive.remove(i)
        return total, stood, torch.tensor(steps)

    def _load(self, row: Tensor) -> None:
        """Put a student into SB3's policy and optimiser."""
        policy, optimizer = self.model.policy, self.model.policy.optimizer
        weights, first, second, updates = row.split([self.weights, self.weights, self.weights, 1])
        vector_to_parameters(weights.clone(), policy.parameters())
        optimizer.state.clear()
        begin = 0
        for p in policy.parameters() if updates.item() else ():
            part = slice(begin, begin := begin + p.numel())
            moments = {"exp_avg": first[part].view_as(p).clone(), "exp_avg_sq": second[part].view_as(p).clone()}
            optimizer.state[p] = {"step": updates[0].clone(), **moments}

    def _save(self, row: Tensor) -> None:
        """Take a student out again, in place."""
        parameters = list(self.model.policy.parameters())
        state = self.model.policy.optimizer.state
        parts = [parameters_to_vector(parameters)]
        parts += [parameters_to_vector([state[p][name] for p in parameters]) for name in ("exp_avg", "exp_avg_sq")]
        row[:] = torch.cat([*parts, state[parameters[0]]["step"].reshape(1)]).detach()


class _Starts:
    """A sampler by shares of clusters, which remembers its last choice; the last share is that of ordinary starts."""

    def __init__(self, members: list[npt.NDArray[np.int64]]) -> None:
        self.members = members
        self.share: npt.NDArray[np.float64] = np.eye(1, len(members) + 1)[0]
        self.origin = len(members)

    def __call__(self, rng: np.random.Generator) -> int | None:
        self.origin = int(rng.choice(len(self.share), p=self.share / self.share.sum()))
        return None if self.origin == len(self.members) else int(rng.choice(self.members[self.origin]))


class _Counting(BaseCallback):
    """Enters a student's practice into statistics, in place."""

    def __init__(self, starts: list[_Starts], stats: EpisodeStats, student: int) -> None:
        super().__init__()
        self.starts, self.stats, self.student = starts, stats, student

    def _on_training_start(self) -> None:
        self.origin = [start.origin for start in self.starts]
        self.total, self.weight = np.zeros(len(self.starts)), np.ones(len(self.starts))

    def _on_rollout_start(self) -> None:
        self.origins: list[list[int]] = []

    def _on_step(self) -> bool:
        stats, me = self.stats, self.student
        self.origins.append(list(self.origin))
        self.total += self.weight * self.locals["rewards"]
        self.weight *= _DISCOUNT
        for i, done in enumerate(self.locals["dones"]):
            stats.steps[me, self.origin[i]] += 1
            if not done:
                continue
            stats.ended[me, self.origin[i]] += 1
            stats.total[me, self.origin[i]] += self.total[i]
            stats.succeeded[me, self.origin[i]] += bool(self.locals["infos"][i].get("TimeLimit.truncated"))
            self.origin[i], self.total[i], self.weight[i] = self.starts[i].origin, 0.0, 1.0
        return True

    def _on_rollout_end(self) -> None:
        error = torch.from_numpy(np.abs(self.model.rollout_buffer.advantages)).double()  # type: ignore[attr-defined]
        self.stats.error[self.student].index_add_(0, torch.tensor(self.origins).flatten(), error.flatten())


def _make() -> gym.Env[Any, Any]:
    """What students practise in."""
    return TransformReward(gym.make(_ID), lambda reward: _REWARD_SCALE * float(reward))


def _limit() -> int:
    limit = gym.spec(_ID).max_episode_steps
    assert limit is not None
    return limit


def _demonstrator(steps: int) -> tuple[SnapshotStore, int]:
    """The demonstrator's snapshots, and the environment steps that they took; made once, then read from the cache."""
    recipe = {"env": _ID, "teacher_steps": steps, "version": _VERSION}
    path = cache_directory() / "snapshots" / f"hopper-{steps}.{_VERSION}.safetensors"
    tensors = load_or_build(path, recipe, lambda: _train_and_collect(steps), "snapshots of Hopper")
    columns = {name: tensors[name].numpy() for name in ("state", "observation", "value", "episode", "step")}
    env = _make()
    return SnapshotStore(**columns, provenance=describe(env, find_adapter(env))), int(tensors["steps"])


def _train_and_collect(steps: int) -> dict[str, Tensor]:
    with _own_random_streams(_DEMONSTRATOR_SEED), progress_bar() as bar:
        task = bar.add_task(f"training a demonstrator on {_ID}", total=steps)
        demonstrator = PPO(  # in half the time that SB3's defaults take, in one simulator
            "MlpPolicy",
            DummyVecEnv([_make] * 8),
            learning_rate=1e-3,
            n_steps=256,
            batch_size=256,
            seed=_DEMONSTRATOR_SEED,
            device="cpu",
        )

        def shown(*_: object) -> bool:
            bar.update(task, completed=demonstrator.num_timesteps)
            return True  # go on

        demonstrator.learn(steps, shown)
        store = collect_snapshots(_make(), *sb3_policy(demonstrator), _EPISODES, _EVERY, seed=_DEMONSTRATOR_SEED)
    tensors = {
        name: torch.from_numpy(getattr(store, name)) for name in ("state", "observation", "value", "episode", "step")
    }
    return {**tensors, "steps": torch.tensor(store.provenance["environment_steps"])}


def _seeds(key: Tensor) -> list[int]:
    """Seeds that SB3 takes, one a key."""
    return [int(u * 2**31) for u in random.uniform(key, 1)[:, 0].tolist()]


@contextmanager
def _own_random_streams(seed: int) -> Iterator[None]:
    """SB3 draws from process-wide generators: seed them for one student, and put them back afterwards."""
    kept = generators()
    torch.manual_seed(seed)  # noqa: TID251  # lent, see below
    np.random.seed(seed)  # noqa: NPY002, TID251  # what SB3 shuffles with
    try:
        yield
    finally:
        set_generators(kept)
