"""Students in Ray workers: the results of one process, also when workers are killed; SB3 on top."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import ray
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3 import PPO

import kdgym  # noqa: F401  # registers the environments
from kdgym.core import StudentSnapshot
from kdgym.integrations.ray import RayPopulation, WorkerLostError
from kdgym.integrations.sb3 import as_vec_env

ID = "kdgym/DataGen-Math-v0"
SMALL: dict[str, Any] = {"steps": 4, "budget": 128.0, "validation_items": 8}
HERE = Path(__file__).parent


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """A local cluster; a seat is something a worker can be made to reserve."""
    environment = {"env_vars": {"PYTHONPATH": str(HERE)}}  # where workers find the module `fragile`
    ray.init(
        address="local",
        num_cpus=2,
        resources={"seat": 2},
        include_dashboard=False,
        log_to_driver=False,
        runtime_env=environment,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def shared(cluster: None) -> Iterator[RayPopulation]:
    """Five students in two workers, for tests that begin with a reset."""
    envs = distributed(num_envs=5)
    yield envs
    envs.close()


def distributed(env_id: str = ID, num_envs: int = 4, workers: int = 2, **options: Any) -> RayPopulation:
    given = {"num_cpus": 0.1, "snapshot_every": 3, "max_restarts": 20, **SMALL, **options}
    return RayPopulation(env_id, num_envs, workers, **given)


def local(num_envs: int = 5, **settings: Any) -> Any:
    return gym.make_vec(ID, num_envs=num_envs, **{**SMALL, **settings})


def lesson(envs: Any, n: int, seed: int = 0) -> np.ndarray:
    shape = (n, envs.num_envs, *envs.single_action_space.shape)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def assert_same(a: Any, b: Any) -> None:
    """Bitwise, with types, shapes and keys."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (tuple, list)) or (isinstance(a, np.ndarray) and a.dtype == object):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, np.ndarray):
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    elif isinstance(a, StudentSnapshot):
        assert a.settings == b.settings
        assert all(torch.equal(x, y) for x, y in zip(a.rows, b.rows, strict=True))
    else:
        assert a == b


def assert_same_future(a: Any, b: Any, n: int = 9, seed: int = 1) -> None:
    for actions in lesson(a, n, seed):
        assert_same(a.step(actions), b.step(actions))
    assert_same(a.snapshot(), b.snapshot())


def kill(envs: RayPopulation, worker: int) -> None:
    os.kill(envs.pids()[worker], signal.SIGKILL)


# --- the same as one process -----------------------------------------------------------------------------------------


def test_it_looks_like_a_population(shared: RayPopulation) -> None:
    twin = local()
    assert shared.num_envs == 5
    assert shared.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    for name in ("single_observation_space", "single_action_space", "observation_space", "action_space", "settings"):
        assert getattr(shared, name) == getattr(twin, name), name
    assert_same(shared.reset(seed=3), twin.reset(seed=3))
    assert shared.observation_space.contains(shared.observe())


def test_episodes_are_those_of_one_process(shared: RayPopulation) -> None:
    twin = local()
    assert_same(shared.reset(seed=11), twin.reset(seed=11))
    assert_same_future(shared, twin)
    assert_same(shared.observe(), twin.observe())
    assert_same(shared.examine("validation"), twin.examine("validation"))
    assert_same(shared.ledger(), twin.ledger())
    assert_same(shared.reset(), twin.reset())
    assert_same_future(shared, twin, 2)
    assert_same(shared.reset(options={"restart": "continue"}), twin.reset(options={"restart": "continue"}))


def test_shards_are_populations_of_their_own(shared: RayPopulation) -> None:
    twins = {(0, 2): local(2), (2, 5): local(3)}
    observation, _ = shared.reset(seed=7)
    parts = {(a, b): twin.reset(seed=7 + a)[0] for (a, b), twin in twins.items()}
    for actions in lesson(shared, 6):
        for (a, b), part in parts.items():
            assert_same({key: value[a:b] for key, value in observation.items()}, part)
        observation, *_ = shared.step(actions)
        parts = {(a, b): twin.step(actions[a:b])[0] for (a, b), twin in twins.items()}


@pytest.mark.parametrize("chosen", [[0], [4], [1, 3]])
def test_reset_mask_and_episodes_that_end_at_different_times(shared: RayPopulation, chosen: list[int]) -> None:
    twin, mask = local(), np.isin(np.arange(5), chosen)
    assert_same(shared.reset(seed=1), twin.reset(seed=1))
    assert_same_future(shared, twin, 2)
    options = {"reset_mask": mask}
    assert_same(shared.reset(seed=[5, 6, 7, 8, 9], options=options), twin.reset(seed=[5, 6, 7, 8, 9], options=options))
    assert_same_future(shared, twin)


def test_without_autoreset_a_finished_student_has_to_be_reset() -> None:
    envs, twin = distributed(autoreset=False, num_envs=3), local(3, autoreset=False)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    with pytest.raises(RuntimeError, match="call reset first"):
        envs.step(lesson(envs, 1)[0])
    with pytest.raises(RuntimeError, match="before the first reset"):
        envs.snapshot()
    assert_same(envs.reset(seed=0), twin.reset(seed=0))
    assert_same_future(envs, twin, 4)
    finished = envs.snapshot()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="after the end of an episode"):
            envs.step(lesson(envs, 1)[0])
        envs.restore(finished)
    assert_same(envs.reset(), twin.reset())
    assert_same_future(envs, twin, 2)
    envs.close()


def test_seeds_that_are_not_given_are_drawn(shared: RayPopulation) -> None:
    twin, seeds = local(), [None, 3, None, 4, 5]
    first, _ = shared.reset(seed=seeds)
    again, _ = twin.reset(seed=seeds)
    given = [1, 3, 4]
    assert_same(
        {key: value[given] for key, value in first.items()}, {key: value[given] for key, value in again.items()}
    )
    assert not np.array_equal(first["loss"][0], first["loss"][2])


# --- snapshots -------------------------------------------------------------------------------------------------------


def test_snapshots_go_back_and_forth_between_one_process_and_many(shared: RayPopulation, tmp_path: Path) -> None:
    twin = local()
    twin.reset(seed=2)
    twin.step(lesson(twin, 1)[0])
    shared.restore(twin.snapshot())
    assert_same_future(shared, twin, 2)
    shared.snapshot().save(tmp_path / "students.safetensors")
    assert_same_future(shared, twin, 3)
    for envs in (shared, twin):
        envs.restore(StudentSnapshot.load(tmp_path / "students.safetensors"))
    assert_same_future(shared, twin)


def test_a_snapshot_that_does_not_fit_is_refused(shared: RayPopulation) -> None:
    shared.reset(seed=0)
    before = shared.snapshot()
    other, fewer = local(budget=96.0), local(4)
    for envs, complaint in ((other, "budget"), (fewer, "holds 4 students, and 5")):
        envs.reset(seed=0)
        with pytest.raises(ValueError, match=complaint):
            shared.restore(envs.snapshot())
    assert_same(shared.snapshot(), before)


# --- workers die -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_worker_killed_between_steps_is_replaced(shared: RayPopulation) -> None:
    twin = local()
    kill(shared, 0)
    assert_same(shared.reset(seed=5), twin.reset(seed=5))
    for i, actions in enumerate(lesson(shared, 9)):
        if i in (1, 5):
            kill(shared, i % 2)
        assert_same(shared.step(actions), twin.step(actions))
    kill(shared, 1)
    assert_same(shared.examine("test"), twin.examine("test"))
    kill(shared, 0)
    assert_same_future(shared, twin, 2)


@pytest.mark.slow
def test_a_worker_killed_from_outside_at_any_moment_is_replaced() -> None:
    envs, twin = (
        distributed(budget=8192.0),
        local(4, budget=8192.0),
    )  # long lessons: the kill comes in the middle of one
    envs.reset(seed=8)
    twin.reset(seed=8)
    victim = envs.pids()[1]
    for i, actions in enumerate(lesson(envs, 5)):
        if i == 2:
            killer = threading.Timer(0.05, os.kill, (victim, signal.SIGKILL))
            killer.start()
        assert_same(envs.step(actions), twin.step(actions))
    killer.join()
    assert envs.pids()[1] != victim
    envs.close()


def fragile(tmp_path: Path, **options: Any) -> tuple[RayPopulation, Callable[..., None]]:
    """A population that will have an accident, and a function that plans it."""
    path = tmp_path / "accident.json"

    def plan(step: int, what: str, once: bool = True) -> None:
        path.write_text(json.dumps({"seed": 3, "step": step, "what": what, "once": once, "driver": os.getpid()}))

    return distributed("fragile:Fragile-v0", accident=str(path), **options), plan


@pytest.mark.slow
@pytest.mark.parametrize("step", [0, 3])
def test_a_worker_killed_in_the_middle_of_a_lesson_is_replaced(tmp_path: Path, step: int) -> None:
    envs, plan = fragile(tmp_path)
    twin = local(4)
    plan(step, "kill")
    assert_same(envs.reset(seed=0), twin.reset(seed=0))
    before = envs.pids()
    assert_same_future(envs, twin, 6)
    assert not (tmp_path / "accident.json").exists()
    assert [a == b for a, b in zip(before, envs.pids(), strict=True)] == [True, False]
    envs.close()


@pytest.mark.slow
def test_a_worker_killed_while_it_catches_up_is_replaced(tmp_path: Path) -> None:
    envs, plan = fragile(tmp_path)
    twin = local(4)
    assert_same(envs.reset(seed=0), twin.reset(seed=0))
    for i, actions in enumerate(lesson(envs, 6)):
        if i == 2:
            kill(envs, 1)
            plan(1, "kill")  # the new worker falls over a lesson that the old one had behind it
        assert_same(envs.step(actions), twin.step(actions))
    assert not (tmp_path / "accident.json").exists()
    envs.close()


@pytest.mark.slow
def test_a_worker_that_dies_again_and_again_is_given_up(tmp_path: Path) -> None:
    envs, plan = fragile(tmp_path, max_restarts=1)
    plan(1, "kill", once=False)
    envs.reset(seed=0)
    envs.step(lesson(envs, 2)[0])
    with pytest.raises(WorkerLostError, match=r"Worker 1 \(students 2 to 3\) died 2 time.*raise max_restarts"):
        envs.step(lesson(envs, 2)[1])
    envs.close()


@pytest.mark.slow
@pytest.mark.parametrize(("what", "exception"), [("raise", FloatingPointError), ("interrupt", KeyboardInterrupt)])
def test_an_exception_in_one_shard_leaves_every_student_where_it_was(
    tmp_path: Path, what: str, exception: type[BaseException], request: pytest.FixtureRequest
) -> None:
    handler = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # jobs in the background begin with ctrl-C ignored
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, handler))
    envs, plan = fragile(tmp_path)
    twin = local(4)
    plan(2, what)
    assert_same(envs.reset(seed=0), twin.reset(seed=0))
    before = envs.pids()
    assert_same_future(envs, twin, 1)
    for i, actions in enumerate(lesson(envs, 3)):
        if i == 1:
            with pytest.raises(exception) as caught:
                envs.step(actions)
            assert type(caught.value) is exception
        assert_same(envs.step(actions), twin.step(actions))
    assert_same_future(envs, twin, 6)
    assert envs.pids() == before
    envs.close()


# --- refusals --------------------------------------------------------------------------------------------------------


def test_a_bad_action_moves_no_student(shared: RayPopulation) -> None:
    shared.reset(seed=4)
    good, before = lesson(shared, 1)[0], shared.snapshot()
    outside, infinite = good.copy(), good.copy()
    outside[4, 0], infinite[4, 0] = 1.5, np.inf
    for action, complaint in ((outside, "student 4 leaves"), (infinite, "not finite"), (good[:4], "shape")):
        with pytest.raises(ValueError, match=complaint):
            shared.step(action)
    with pytest.raises(ValueError, match="reset_mask"):
        shared.reset(options={"reset_mask": np.zeros(5, dtype=bool)})
    with pytest.raises(ValueError, match="no split 'exam'"):
        shared.examine("exam")  # type: ignore[arg-type]
    assert_same(shared.snapshot(), before)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"num_envs": 1}, "give every worker at least one"),
        ({"workers": 0}, "workers is 0"),
        ({"snapshot_every": 0}, "snapshot_every is 0"),
        ({"max_restarts": -1}, "max_restarts is -1"),
        ({"render_mode": "human"}, "rgb_array"),
        ({"device": "cuda"}, "Give num_gpus=1"),
        ({"stepz": 3}, "stepz"),
    ],
)
def test_arguments_are_checked(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        distributed(**options)


def test_workers_that_find_no_room_are_reported() -> None:
    with pytest.raises(TimeoutError, match="Use fewer workers"):
        distributed(start_timeout=0.1, num_cpus=1000)


@pytest.mark.slow
def test_close_gives_everything_back() -> None:
    seats = {"resources": {"seat": 2}}
    for _ in range(2):  # there are two seats, so the second population waits for those of the first
        envs = distributed(workers=1, actor_options=seats)
        envs.reset(seed=0)
        envs.close()
    envs.close()
    with pytest.raises(RuntimeError, match="was closed"):
        envs.reset(seed=0)


def test_pictures_come_from_all_workers() -> None:
    envs = distributed(num_envs=2, render_mode="rgb_array")
    envs.reset(seed=0)
    pictures = envs.render()
    assert pictures is not None
    assert [picture.ndim for picture in pictures] == [3, 3]
    envs.close()


def test_sb3_trains_on_it(shared: RayPopulation) -> None:
    shared.reset(seed=0)
    ours, theirs = (
        PPO("MultiInputPolicy", as_vec_env(envs), seed=0, n_steps=4, batch_size=10).learn(40)
        for envs in (shared, local())
    )
    for a, b in zip(ours.policy.parameters(), theirs.policy.parameters(), strict=True):
        assert torch.equal(a, b)
