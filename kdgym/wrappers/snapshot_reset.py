"""Start episodes from states on a demonstrator's trajectories: SnapshotRL, as a wrapper around any environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from kdgym.wrappers.samplers import Sampler, UniformSampler, ValueClusters
from kdgym.wrappers.states import AnyEnv, StateAdapter, find_adapter
from kdgym.wrappers.store import SnapshotMismatchError, SnapshotStore, unflat_observation


def check_lengths(**lengths: int | None) -> None:
    """Refuse lengths below one step; None is no limit.

    Raises:
        ValueError: which, and what it is.
    """
    for name, value in lengths.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}; give a number of steps from 1 up, or None for no limit.")


class SnapshotReset(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Episodes start from snapshots until ``until_step``, and ordinarily from then on.

    After Zhao et al., *Snapshot Reinforcement Learning* (AutoRL workshop at ICML 2024): the student's algorithm stays as it is,
    only its environment changes. Simulator states are restored, environments are never copied. Time limits begin anew at a
    snapshot. Every reset says in ``info["snapshot"]`` which one it was; -1 is an ordinary start. Samplers draw from the
    environment's own generator, so ``reset(seed=...)`` seeds them. Wrappers that remember things, such as frame stacks and
    normalisers, belong around this one; transformations of observations without memory may be inside.

    Args:
        env: the environment; its observations must be those that the store was collected with.
        store: the snapshots.
        sampler: picks the row of the next start, or None for an ordinary one; uniform over all if left out.
        horizon: steps after which an episode from a snapshot is truncated (not terminated: the value of the state bootstraps).
        until_step: environment steps, counted by this wrapper, after which starts are ordinary; a running episode
            that began at a snapshot is truncated there. None: never.
        adapter: how to read and write states; found by the environment's class if left out.

    Raises:
        UnknownStateError: no adapter is known for this environment.
        SnapshotMismatchError: the snapshots belong to another environment, version, or space.
        ValueError: horizon or until_step are not positive.
    """

    def __init__(
        self,
        env: AnyEnv,
        store: SnapshotStore,
        sampler: Sampler | None = None,
        horizon: int | None = None,
        until_step: int | None = None,
        adapter: StateAdapter | None = None,
    ) -> None:
        arguments = {
            "store": store,
            "sampler": sampler,
            "horizon": horizon,
            "until_step": until_step,
            "adapter": adapter,
        }
        gym.utils.RecordConstructorArgs.__init__(self, _disable_deepcopy=True, **arguments)
        gym.Wrapper.__init__(self, env)
        check_lengths(horizon=horizon, until_step=until_step)
        self.adapter = adapter or find_adapter(env)
        store.require(env, self.adapter)
        self.store, self.sampler = store, sampler or UniformSampler(store)
        self.horizon, self.until_step = horizon, until_step
        self._steps = 0
        self._since_snapshot: int | None = None  # None: the episode began with an ordinary start

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start at a snapshot, or ordinarily.

        Raises:
            SnapshotMismatchError: the environment does not take the state.
        """
        observation, info = self.env.reset(seed=seed, options=options)
        self._since_snapshot = None
        guided = self.until_step is None or self._steps < self.until_step
        index = self.sampler(self.np_random) if guided else None
        if index is None:
            return observation, {**info, "snapshot": -1}
        self._restore(int(index))
        self._since_snapshot = 0
        flat = self.store.observation[index].copy()  # callers keep what they get
        return unflat_observation(self.observation_space, flat), {"snapshot": int(index)}

    def _restore(self, index: int) -> None:
        if not 0 <= index < len(self.store):
            raise ValueError(f"The sampler chose snapshot {index}, but the store has 0 to {len(self.store) - 1}.")
        state, inner = self.store.state[index], self.env.unwrapped
        size = len(self.adapter.get(inner))
        if size != len(state):
            raise SnapshotMismatchError(
                f"The snapshots hold states of {len(state)} numbers, but those of {type(inner).__name__} have {size}."
            )
        taken = f"snapshot {index}, taken with {self.store.provenance.get('env_id')}"
        try:
            self.adapter.set(inner, state)
        except Exception as error:
            raise SnapshotMismatchError(
                f"{type(inner).__name__} could not be put into {taken}: {type(self.adapter).__name__} raised {error!r}."
            ) from error
        if not np.array_equal(self.adapter.get(inner), state, equal_nan=True):
            raise SnapshotMismatchError(
                f"{type(inner).__name__} does not stand in {taken}, after it was restored; the snapshot is not a state of this "
                f"environment, or its adapter, {type(self.adapter).__name__}, is at fault."
            )

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One step; truncated at ``horizon`` and at ``until_step``."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._steps += 1
        if self._since_snapshot is not None:
            self._since_snapshot += 1
            truncated = truncated or self._since_snapshot == self.horizon or self._steps == self.until_step
        return observation, reward, terminated, truncated, info


def s3rl(
    env: AnyEnv,
    store: SnapshotStore,
    clusters: int = 6,
    horizon: int = 100,
    until_step: int = 100_000,
    classify: bool = True,
    truncate: bool = True,
) -> SnapshotReset:
    """The published rule, S3RL: status classification (SC) and student trajectory truncation (STT).

    Args:
        env, store: see `SnapshotReset`.
        clusters: bands of the demonstrator's value, each equally likely: 6 for TD3 and PPO, 4 for SAC.
        horizon: steps before an episode from a snapshot is truncated.
        until_step: length of the guided phase, in environment steps.
        classify: False switches SC off: all snapshots are equally likely.
        truncate: False switches STT off: only the environment's own time limit counts.
    """
    sampler = ValueClusters(store, clusters) if classify else UniformSampler(store)
    return SnapshotReset(env, store, sampler, horizon if truncate else None, until_step)
