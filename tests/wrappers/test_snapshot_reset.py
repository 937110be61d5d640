"""Episodes that start on a teacher's trajectories."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3 import PPO, SAC, TD3

from kdgym.wrappers import (
    SnapshotMismatchError,
    SnapshotReset,
    SnapshotStore,
    UnknownStateError,
    ValueClusters,
    collect_snapshots,
    register_adapter,
    s3rl,
)

pytestmark = pytest.mark.slow

CLASSIC = ("CartPole-v1", "Acrobot-v1", "Pendulum-v1", "MountainCar-v0", "MountainCarContinuous-v0")
MUJOCO = ("Hopper-v5", "HalfCheetah-v5", "Ant-v5", "Humanoid-v5", "InvertedPendulum-v5")


def collected(id: str, episodes: int = 2, every: int = 3) -> SnapshotStore:
    """Snapshots of a random teacher, whose value of a state is its first number."""
    env = gym.make(id)
    env.action_space.seed(0)
    return collect_snapshots(
        env, lambda _: env.action_space.sample(), lambda seen, _: float(seen[0]), episodes, every, seed=3
    )


@pytest.fixture(scope="module")
def store() -> SnapshotStore:
    return collected("CartPole-v1", episodes=5)


def choices(*indices: int | None) -> Any:
    """A sampler that picks these rows, one after the other."""
    order: Iterator[int | None] = iter(indices)
    return lambda rng: next(order)


@pytest.mark.parametrize("id", CLASSIC + MUJOCO)
def test_a_restored_environment_goes_on_bitwise(id: str) -> None:
    """The teacher's own trajectory, and one that starts at its second snapshot and takes the same actions."""
    store = collected(id)
    original, restored = gym.make(id), SnapshotReset(gym.make(id), store, choices(1))
    original.action_space.seed(0)
    seen, _ = original.reset(seed=3)
    for _ in range(3):
        seen, *_ = original.step(original.action_space.sample())
    start, info = restored.reset(seed=11)
    np.testing.assert_array_equal(start, seen)
    assert info["snapshot"] == 1
    for _ in range(50):
        action = original.action_space.sample()
        expected, got = original.step(action), restored.step(action)
        np.testing.assert_array_equal(got[0], expected[0])
        assert got[1:3] == expected[1:3]
        if expected[2] or expected[3]:
            break


def test_the_horizon_truncates_and_does_not_terminate() -> None:
    env = SnapshotReset(gym.make("Pendulum-v1"), collected("Pendulum-v1"), horizon=5)
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[2:4] for _ in range(5)]
    assert ends == [(False, False)] * 4 + [(False, True)]


def test_the_time_limit_begins_anew_at_a_snapshot() -> None:
    env = SnapshotReset(gym.make("Pendulum-v1"), collected("Pendulum-v1"), choices(-1 + 40))
    env.reset(seed=0)
    ends = [env.step(env.action_space.sample())[3] for _ in range(200)]
    assert ends == [False] * 199 + [True]


def test_ordinary_starts_are_untouched(store: SnapshotStore) -> None:
    plain, wrapped = gym.make("CartPole-v1"), SnapshotReset(gym.make("CartPole-v1"), store, choices(None), horizon=2)
    expected, _ = plain.reset(seed=5)
    got, info = wrapped.reset(seed=5)
    np.testing.assert_array_equal(got, expected)
    assert info["snapshot"] == -1
    assert [wrapped.step(0)[3] for _ in range(3)] == [False] * 3, "the horizon is for episodes from snapshots"


def test_the_guided_phase_ends_with_a_truncation() -> None:
    env = SnapshotReset(gym.make("Pendulum-v1"), collected("Pendulum-v1"), until_step=7)
    _, info = env.reset(seed=0)
    assert info["snapshot"] >= 0
    ends = [env.step(env.action_space.sample())[3] for _ in range(7)]
    assert ends == [False] * 6 + [True]
    for _ in range(3):
        _, info = env.reset()
        assert info["snapshot"] == -1


def test_equal_seeds_start_alike_and_unequal_ones_do_not(store: SnapshotStore) -> None:
    def starts(seed: int) -> list[int]:
        env = SnapshotReset(gym.make("CartPole-v1"), store)
        first = env.reset(seed=seed)[1]["snapshot"]
        return [first] + [env.reset()[1]["snapshot"] for _ in range(20)]

    assert starts(1) == starts(1)
    assert starts(1) != starts(2)


@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version")
def test_gymnasiums_checker_passes() -> None:
    check_env(
        SnapshotReset(gym.make("MountainCar-v0"), collected("MountainCar-v0"), horizon=20), skip_render_check=True
    )


def test_vector_environments_take_it_as_a_wrapper(store: SnapshotStore) -> None:
    envs = gym.make_vec(
        "CartPole-v1", 4, vectorization_mode="sync", wrappers=[lambda env: s3rl(env, store, horizon=10)]
    )
    _, info = envs.reset(seed=0)
    assert (info["snapshot"] >= 0).all()
    for _ in range(30):
        _, _, terminated, truncated, _ = envs.step(envs.action_space.sample())
    assert terminated.shape == truncated.shape == (4,)


def test_loops_in_cleanrls_style_store_true_transitions() -> None:
    """What goes into a replay buffer, with ``final_obs`` where an episode ended, is what the dynamics do; no end is a goal."""
    store, judge = collected("Pendulum-v1"), gym.make("Pendulum-v1").unwrapped
    judge.reset(seed=0)

    def thunk() -> gym.Env[Any, Any]:
        return gym.wrappers.RecordEpisodeStatistics(s3rl(gym.make("Pendulum-v1"), store, horizon=7, until_step=25))

    envs = gym.vector.SyncVectorEnv([thunk] * 2, autoreset_mode=gym.vector.AutoresetMode.SAME_STEP)
    envs.action_space.seed(0)
    seen, _ = envs.reset(seed=0)
    cuts = []
    for step in range(1, 40):
        actions = envs.action_space.sample()
        following, _, terminated, truncated, info = envs.step(actions)
        after = following.copy()
        for i in np.flatnonzero(truncated):
            after[i] = info["final_obs"][i]
            cuts.append((step, info["final_info"]["episode"]["l"][i]))
        for i in range(2):
            judge.state = np.array([np.arctan2(seen[i, 1], seen[i, 0]), seen[i, 2]])  # type: ignore[attr-defined]
            np.testing.assert_allclose(after[i], judge.step(actions[i])[0], atol=1e-5)
        assert not terminated.any()
        seen = following
    assert cuts == [(step, length) for step, length in ((7, 7), (14, 7), (21, 7), (25, 4)) for _ in range(2)]


@pytest.mark.parametrize("algorithm", [SAC, TD3])
def test_sb3_learns_off_policy_unchanged_and_bootstraps(algorithm: type[SAC | TD3]) -> None:
    pendulum = s3rl(gym.make("Pendulum-v1"), collected("Pendulum-v1"), horizon=20, until_step=50)
    model = algorithm("MlpPolicy", pendulum, learning_starts=50, batch_size=16, device="cpu").learn(70)
    buffer = model.replay_buffer
    assert buffer is not None and model._n_updates > 0
    ended = np.flatnonzero(buffer.dones[:70, 0])
    assert ended.tolist() == [19, 39, 49], "two cut at the horizon, one at the end of the guided phase"
    assert buffer.timeouts[ended, 0].all(), "so SB3 bootstraps there"  # type: ignore[attr-defined]


def test_sb3_learns_on_policy_unchanged(store: SnapshotStore) -> None:
    guided = s3rl(gym.make("CartPole-v1"), store, horizon=20, until_step=150)
    model = PPO("MlpPolicy", guided, n_steps=128, batch_size=64, n_epochs=1, device="cpu").learn(256)
    assert model.num_timesteps == 256


class Counter(gym.Env[Any, Any]):
    """An environment that kdgym has never heard of."""

    observation_space = gym.spaces.Box(0, 100, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)
    count = 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.count = 0.0
        return np.array([self.count]), {}

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.count += 1
        return np.array([self.count]), 1.0, self.count == 20, False, {}


class CounterAdapter:
    name = "counter"

    def get(self, env: Any) -> Any:
        return np.array([env.count])

    def set(self, env: Any, state: Any) -> None:
        env.count = float(state[0])


class Broken(CounterAdapter):
    """An adapter that cannot put the state back."""

    def set(self, env: Any, state: Any) -> None:
        raise RuntimeError("no power")


class Deaf(CounterAdapter):
    """An adapter that forgets to put the state back."""

    def set(self, env: Any, state: Any) -> None:
        pass


def test_users_bring_their_own_adapter() -> None:
    with pytest.raises(UnknownStateError, match=r"Counter.*register_adapter"):
        collect_snapshots(Counter(), lambda _: 0)
    taken = collect_snapshots(Counter(), lambda _: 0, episodes=1, every=4, adapter=CounterAdapter())
    assert taken.state[:, 0].tolist() == [0, 4, 8, 12, 16]
    start, _ = SnapshotReset(Counter(), taken, choices(3), adapter=CounterAdapter()).reset()
    assert start == [12]
    with pytest.raises(SnapshotMismatchError, match=r"Counter could not be put.*taken with Counter: Broken.*no power"):
        SnapshotReset(Counter(), taken, choices(3), adapter=Broken()).reset()
    with pytest.raises(SnapshotMismatchError, match=r"Counter does not stand in snapshot 3, taken with Counter.*Deaf"):
        SnapshotReset(Counter(), taken, choices(3), adapter=Deaf()).reset()
    with pytest.raises(ValueError, match="chose snapshot 5, but the store has 0 to 4"):
        SnapshotReset(Counter(), taken, choices(5), adapter=CounterAdapter()).reset()

    class Registered(Counter):
        pass

    register_adapter(Registered, CounterAdapter())
    assert len(collect_snapshots(Registered(), lambda _: 0, episodes=1, every=4)) == 5


@pytest.mark.parametrize(
    ("id", "arguments", "said"),
    [
        ("CartPole-v0", {}, "env_id 'CartPole-v1', but this environment has 'CartPole-v0'"),
        ("Acrobot-v1", {}, "env_id 'CartPole-v1'.*'Acrobot-v1'"),
        ("CartPole-v1", {"sutton_barto_reward": True}, "arguments"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*out of date:DeprecationWarning")
def test_snapshots_of_another_environment_are_refused(
    store: SnapshotStore, id: str, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(SnapshotMismatchError, match=said):
        SnapshotReset(gym.make(id, **arguments), store)


def test_snapshots_of_another_observation_space_are_refused(store: SnapshotStore) -> None:
    space = gym.spaces.Box(-1, 1, (2,))
    with pytest.raises(SnapshotMismatchError, match="observation_space"):
        SnapshotReset(gym.wrappers.TransformObservation(gym.make("CartPole-v1"), lambda seen: seen[:2], space), store)


def test_states_of_another_length_are_refused_by_both_lengths(store: SnapshotStore) -> None:
    longer = dataclasses.replace(store, state=np.pad(store.state, ((0, 0), (0, 2))))
    with pytest.raises(SnapshotMismatchError, match="states of 7 numbers, but those of CartPoleEnv have 5"):
        SnapshotReset(gym.make("CartPole-v1"), longer).reset(seed=0)


@pytest.mark.parametrize("name", ["horizon", "until_step"])
def test_limits_are_positive(store: SnapshotStore, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0"):
        SnapshotReset(gym.make("CartPole-v1"), store, **{name: 0})  # type: ignore[arg-type]


def test_s3rl_prefers_rare_values(store: SnapshotStore) -> None:
    """Each band of values is as likely as the others, however few snapshots it has."""
    sampler = s3rl(gym.make("CartPole-v1"), store).sampler
    assert isinstance(sampler, ValueClusters)
    rng = np.random.default_rng(0)
    drawn = np.bincount([sampler.label[sampler(rng)] for _ in range(6000)], minlength=6)
    assert sampler.clusters == 6
    assert np.abs(drawn - 1000).max() < 4.5 * np.sqrt(6000 * 1 / 6 * 5 / 6)
    assert np.ptp(np.bincount(sampler.label)) > 1, "the bands must differ in size for this to mean anything"
