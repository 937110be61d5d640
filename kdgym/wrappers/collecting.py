"""Snapshots from a demonstrator's episodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch

from kdgym.wrappers.states import AnyEnv, StateAdapter, find_adapter
from kdgym.wrappers.store import SnapshotStore, describe, flat_observation

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

Act = Callable[[Any], Any]
Value = Callable[[Any, Any], float]


def collect_snapshots(
    env: AnyEnv,
    act: Act,
    value: Value | None = None,
    episodes: int = 10,
    every: int = 10,
    seed: int = 0,
    adapter: StateAdapter | None = None,
    policy: str = "",
    progress: Callable[[], object] = lambda: None,
) -> SnapshotStore:
    """Let a demonstrator act, and take a snapshot at every reset and after every ``every`` steps.

    Args:
        env: what students will train in, with the same wrappers inside `SnapshotReset`.
        act: observation -> action.
        value: (observation, action) -> the demonstrator's estimate of the return to go.
        episodes: how many episodes; S3RL takes 10.
        every: steps between two snapshots; S3RL takes 10.
        seed: seed of the first episode's reset.
        adapter: see `SnapshotReset`.
        policy: who acted, for the store's provenance.
        progress: called after every episode.

    Raises:
        UnknownStateError: no adapter is known for this environment.
        ValueError: ``episodes`` or ``every`` are not positive.
    """
    if episodes < 1 or every < 1:
        raise ValueError(f"episodes is {episodes} and every is {every}; both are at least 1.")
    adapter = adapter or find_adapter(env)
    rows: list[tuple[Any, ...]] = []
    steps = 0
    for episode in range(episodes):
        observation, _ = env.reset(seed=seed if episode == 0 else None)
        step, done = 0, False
        while not done:
            action = act(observation)
            if step % every == 0:
                flat = flat_observation(env.observation_space, observation)
                left = np.nan if value is None else float(value(observation, action))
                rows.append((adapter.get(env.unwrapped), flat, left, episode, step))
            observation, _, terminated, truncated, _ = env.step(action)
            step, done = step + 1, terminated or truncated
        steps += step
        progress()
    state, observations, values, number, at = map(np.array, zip(*rows, strict=True))
    made = {"policy": policy, "seed": seed, "episodes": episodes, "every": every, "environment_steps": steps}
    versions = {"gymnasium": gym.__version__}
    provenance = {**describe(env, adapter), **made, **versions}
    return SnapshotStore(state, observations, values, number, at, provenance)


def sb3_policy(model: BaseAlgorithm, deterministic: bool = True) -> tuple[Act, Value]:
    """A trained SB3 model as a demonstrator: its policy and its value function.

    The value is V(s) for actor-critics such as PPO, Q1(s, a) for TD3 and SAC, the largest Q(s, .) for DQN.

    Raises:
        ValueError: the model has none of these.
    """
    from stable_baselines3.common.policies import ActorCriticPolicy, ContinuousCritic
    from stable_baselines3.dqn.policies import DQNPolicy

    policy: Any = model.policy
    critic = getattr(policy, "critic", None)
    known = isinstance(policy, ActorCriticPolicy | DQNPolicy) or isinstance(critic, ContinuousCritic)
    if not known or hasattr(policy, "lstm_actor"):
        raise ValueError(f"kdgym does not know the value function of {type(policy).__name__}; give value= yourself.")

    def act(observation: Any) -> Any:
        return model.predict(observation, deterministic=deterministic)[0]

    def value(observation: Any, action: Any) -> float:
        with torch.no_grad():
            tensor, _ = policy.obs_to_tensor(observation)
            if isinstance(policy, ActorCriticPolicy):
                return float(policy.predict_values(tensor))
            if isinstance(policy, DQNPolicy):
                return float(policy.q_net(tensor).max())
            scaled = policy.scale_action(np.asarray(action)[None])
            return float(critic.q1_forward(tensor, torch.as_tensor(scaled, device=model.device)))  # type: ignore[union-attr]

    return act, value
