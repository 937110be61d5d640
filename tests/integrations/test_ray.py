"""Students over Ray workers: bitwise the population in one process, also when workers are killed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import ray
from gymnasium.vector import AutoresetMode
from stable_baselines3 import PPO

import kdgym  # noqa: F401  # registers the environments
from kdgym.integrations.ray import RayPopulation, WorkerDiedError
from kdgym.integrations.sb3 import as_vec_env

ID = "kdgym/DataGen-Math-v0"
SMALL: dict[str, Any] = {"steps": 6, "budget": 6 * 48.0, "validation_items": 4, "engine": "torch"}
STUDENTS = 5


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def sharded() -> Iterator[RayPopulation]:
    envs = RayPopulation(ID, STUDENTS, workers=2, **SMALL)
    yield envs
    envs.close()


def whole(**changes: Any) -> Any:
    return gym.make_vec(ID, num_envs=STUDENTS, **{**SMALL, **changes})


def actions(steps: int, seed: int = 0) -> np.ndarray:
    shape = (steps, STUDENTS, *whole().single_action_space.shape)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def assert_same(a: Any, b: Any) -> None:
    """Bitwise, with the same keys, shapes and types."""
    if isinstance(a, dict):
        assert set(a) == set(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (tuple, list)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, np.ndarray) and a.dtype == object:
        assert_same(list(a), list(b))
    else:
        assert np.asarray(a).dtype == np.asarray(b).dtype
        assert np.array_equal(a, b)


def pids(envs: RayPopulation) -> list[int]:
    return ray.get([shard.worker.pid.remote() for shard in envs._shards])


# --- the same population -----------------------------------------------------------------------------------------


def test_shards_are_bitwise_the_population_in_one_process(sharded: RayPopulation) -> None:
    envs = whole()
    assert sharded.observation_space == envs.observation_space
    assert sharded.action_space == envs.action_space
    assert sharded.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert_same(sharded.reset(seed=7), envs.reset(seed=7))
    for action in actions(8):  # past the end of the episode
        assert_same(sharded.step(action), envs.step(action))
    assert_same(sharded.examine(), envs.examine())
    assert_same(sharded.ledger(), envs.ledger())
    assert_same(sharded.reset(), envs.reset())


def test_some_students_start_anew(sharded: RayPopulation) -> None:
    envs = whole()
    for one in (envs, sharded):
        one.reset(seed=0)
        one.step(actions(1)[0])
    options = {"reset_mask": np.array([True, False, False, False, False])}  # none of the second shard
    assert_same(sharded.reset(seed=50, options=options), envs.reset(seed=50, options=options))
    assert_same(sharded.step(actions(1)[0]), envs.step(actions(1)[0]))


def test_unseeded_episodes_can_be_repeated_by_the_drivers_seed(sharded: RayPopulation) -> None:
    first, _ = sharded.reset()
    other = RayPopulation(ID, STUDENTS, workers=1, **SMALL)
    second, _ = other.reset()
    other.close()
    assert not np.array_equal(first["target"], second["target"])


def test_snapshots_travel_between_one_process_and_many(sharded: RayPopulation) -> None:
    envs = whole()
    envs.reset(seed=3)
    envs.step(actions(1)[0])
    sharded.restore(envs.snapshot())
    assert_same(sharded.step(actions(1)[0]), envs.step(actions(1)[0]))
    envs.restore(sharded.snapshot())
    assert_same(sharded.observe(), envs.observe())


def test_stable_baselines_trains_on_it(sharded: RayPopulation) -> None:
    model = PPO("MultiInputPolicy", as_vec_env(sharded), n_steps=6, batch_size=10, n_epochs=1)
    model.learn(60)
    assert model.num_timesteps == 60


@pytest.mark.slow
def test_rllib_trains_on_it() -> None:
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.connectors.env_to_module import FlattenObservations

    config = (
        PPOConfig()
        .environment(f"kdgym:{ID}", env_config=SMALL)
        .env_runners(
            num_env_runners=1,
            num_envs_per_env_runner=2,
            rollout_fragment_length=6,
            env_to_module_connector=lambda env, spaces, device: FlattenObservations(),
        )
        .training(train_batch_size_per_learner=12, minibatch_size=12, num_epochs=1)
    )
    algorithm = config.build_algo()
    try:
        result = algorithm.train()
    finally:
        algorithm.stop()
    assert result["env_runners"]["num_env_steps_sampled_lifetime"] >= 12


# --- death -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 3])
def test_a_worker_killed_between_steps_is_replaced_and_nobody_notices(every: int) -> None:
    envs, sharded = whole(), RayPopulation(ID, STUDENTS, workers=2, snapshot_every=every, **SMALL)
    assert_same(sharded.reset(seed=7), envs.reset(seed=7))
    for i, action in enumerate(actions(8)):
        if i in (0, 2, 6):
            os.kill(pids(sharded)[i % 2], signal.SIGKILL)
        assert_same(sharded.step(action), envs.step(action))
    sharded.close()


def test_a_worker_killed_in_the_middle_of_a_step_is_replaced(tmp_path: Path) -> None:
    large = {**SMALL, "budget": 6 * 4000.0}
    envs, sharded = whole(**large), RayPopulation(ID, STUDENTS, workers=2, **large)
    assert_same(sharded.reset(seed=7), envs.reset(seed=7))
    first, second = actions(2)
    assert_same(sharded.step(first), envs.step(first))
    victim = pids(sharded)[1]
    before, results = _cpu_ticks(victim), []
    step = threading.Thread(target=lambda: results.append(sharded.step(second)))
    step.start()
    while _cpu_ticks(victim) < before + 5:  # it has worked for 50 ms on this step
        time.sleep(0.001)
    assert not results
    os.kill(victim, signal.SIGKILL)
    step.join()
    assert victim not in pids(sharded)
    assert_same(results[0], envs.step(second))
    sharded.close()


def _cpu_ticks(pid: int) -> int:
    """Hundredths of a second that a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_worker_may_not_die_for_ever() -> None:
    sharded = RayPopulation(ID, STUDENTS, workers=2, max_restarts=1, **SMALL)
    sharded.reset(seed=0)
    os.kill(pids(sharded)[1], signal.SIGKILL)
    sharded.step(actions(1)[0])
    os.kill(pids(sharded)[1], signal.SIGKILL)
    with pytest.raises(WorkerDiedError, match="students 2 to 4 died, and no restart is left"):
        sharded.step(actions(1)[0])
    sharded.close()


# --- bad input ---------------------------------------------------------------------------------------------------


def test_a_bad_action_teaches_nobody(sharded: RayPopulation) -> None:
    sharded.reset(seed=0)
    before, bad = sharded.observe(), actions(1)[0]
    bad[4, 0] = np.nan
    with pytest.raises(ValueError, match="student 4 is not finite"):
        sharded.step(bad)
    assert_same(sharded.observe(), before)


def test_the_environments_own_errors_arrive(sharded: RayPopulation) -> None:
    with pytest.raises(RuntimeError, match="before reset"):
        sharded.step(actions(1)[0])
    with pytest.raises(ValueError, match="restart"):
        sharded.reset(seed=0, options={"restart": "sideways"})
    with pytest.raises(ValueError, match="no split 'secret'"):
        sharded.examine("secret")  # type: ignore[arg-type]
    sharded.reset(seed=0)
    other = whole(steps=7)
    other.reset(seed=0)
    with pytest.raises(ValueError, match="steps"):
        sharded.restore(other.snapshot())


def test_the_end_of_an_episode_holds_everybody() -> None:
    sharded = RayPopulation(ID, STUDENTS, workers=2, autoreset=False, **SMALL)
    sharded.reset(seed=0)
    for action in actions(6):
        sharded.step(action)
    with pytest.raises(RuntimeError, match="after the end of an episode"):
        sharded.step(actions(1)[0])
    sharded.close()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"workers": 6}, "6 workers"), ({"workers": 0}, "0 workers"), ({"snapshot_every": 0}, "snapshot_every is 0")],
)
def test_numbers_that_cannot_be_are_refused(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RayPopulation(ID, STUDENTS, **{"workers": 2, **wrong}, **SMALL)
