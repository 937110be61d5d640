"""Snapshot environments: what starts, horizons and the end of the guided phase do, and what they cost."""

from __future__ import annotations

import functools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kdgym  # noqa: F401  # registers the environments
from kdgym.evaluation import evaluate
from kdgym.testing import check

pytestmark = pytest.mark.slow

ID = "kdgym/Snapshot-MountainCar-v0"
SMALL: dict[str, Any] = {"steps": 6, "updates": 2, "validation_starts": 4, "test_starts": 8}
HOPPER = {
    "teacher_steps": 2048,
    "clusters": 3,
    "actors": 2,
    "rollout": 32,
    "minibatches": 2,
    "validation_starts": 2,
    "test_starts": 2,
}


def make(students: int = 2, id: str = ID, **settings: Any) -> Any:
    return gym.make_vec(id, num_envs=students, **{**SMALL, **settings})


def encoded(envs: Any, weights: Any = (1, 1, 1, 1, 1, 1), **rest: Any) -> Any:
    return envs.single_action_space.encode(np.tile(np.array(weights, float), (envs.num_envs, 1)), **rest)


@pytest.mark.thorough
def test_hopper_keeps_the_contract() -> None:
    """The others do with their usual settings: ``tests/test_registration.py``."""
    check("kdgym/Snapshot-Hopper-v0", **{**SMALL, **HOPPER})


def test_practice_starts_where_the_teacher_says() -> None:
    envs = make()
    envs.reset(seed=0)
    seen, *_ = envs.step(encoded(envs, weights=(0, 0, 0, 1, 0, 0)))
    others = np.delete(seen["visits"], 3, axis=1)
    assert (seen["visits"][:, 3] > 0.95).all() and (others < 0.05).all()
    mixed, *_ = envs.step(encoded(envs, ordinary=0.5))
    practised = mixed["visits"].sum(1) * 2 - seen["visits"].sum(1)
    assert ((practised > 0.1) & (practised < 0.9)).all()


def test_near_the_goal_success_is_certain_and_the_horizon_decides_further_off() -> None:
    envs = make(1)
    envs.reset(seed=0)
    near, *_ = envs.step(encoded(envs, weights=(0, 0, 0, 0, 0, 1)))
    assert near["success"][0, 5] > 0.8 and near["return"][0, 5] > 0.5
    envs.reset(seed=0)
    far, *_ = envs.step(encoded(envs, weights=(1, 0, 0, 0, 0, 0), horizon=5))
    assert far["success"][0, 0] == 0


def test_the_end_of_the_guided_phase_is_for_good() -> None:
    envs = make()
    first, _ = envs.reset(seed=0)
    assert (first["guided"] == 1).all()
    envs.step(encoded(envs))
    ended, *_ = envs.step(encoded(envs, end=[True, False]))
    after, *_ = envs.step(encoded(envs))
    assert ended["guided"][:, 0].tolist() == after["guided"][:, 0].tolist() == [0, 1]
    assert after["visits"].sum(1)[0] == pytest.approx(1 / 3, abs=0.01) and after["visits"].sum(1)[1] == pytest.approx(1)


def test_collection_is_paid_once_by_those_who_guide() -> None:
    envs = make()
    envs.reset(seed=0)
    guides = encoded(envs, ordinary=[0.0, 1.0])
    bills = [envs.step(guides)[4] for _ in range(2)]
    steps = envs.simulators.steps
    assert steps > 500
    assert [bill["cost/teacher/items"].tolist() for bill in bills] == [[steps, 0], [0, 0]]
    practice = 2 * 8 * 64
    assert bills[0]["cost/data_engine/items"].tolist() == [practice, practice]
    assert bills[0]["cost/student_training/items"].tolist() == [4 * practice] * 2
    assert (bills[0]["cost/student_inference/items"] > practice).all()


def test_who_has_spent_the_budget_practises_no_more() -> None:
    practice = 2 * 8 * 64
    envs = make(budget=2.0 * practice)
    envs.reset(seed=0)
    guides = encoded(envs, ordinary=[0.0, 1.0])
    for _ in range(3):
        seen, _, _, _, info = envs.step(guides)
    total = envs.ledger()
    spent = total["data_engine"]["money"] + total["teacher"]["money"]
    assert (spent <= 2 * practice).all() and total["data_engine"]["items"][1] == 2 * practice
    assert total["data_engine"]["items"][0] < 2 * practice
    assert (info["cost/data_engine/items"] == 0).all() and seen["budget"][1, 0] == 0


CORNERS = st.sampled_from([-1.0, 1.0, 0.0, 0.9, float(np.nextafter(np.float32(0.9), np.float32(1))), -0.999])


@pytest.mark.parametrize(
    "task",
    ["CartPole", "MountainCar", "Acrobot", "Pendulum", "PointMaze", pytest.param("Hopper", marks=pytest.mark.thorough)],
)
@settings(max_examples=15)
@given(data=st.data())
def test_no_action_spends_more_than_the_budget(task: str, data: st.DataObject) -> None:
    """Whatever is bought, and whenever: the ledger, the state and the observed budget agree that it is within the budget."""
    id, collection, update = f"kdgym/Snapshot-{task}-v0", steps_of(task), 2 * 32
    small = {**SMALL, **HOPPER, "steps": 3, "updates": 1, "epochs": 1}
    near = [collection, update, collection + update, 3 * update, collection + 2 * update]
    budget = data.draw(st.sampled_from(near), "near") + data.draw(st.sampled_from([-1, -0.5, -1e-10, 0, 0.5, 1]), "off")
    envs = gym.make_vec(id, num_envs=2, budget=budget, autoreset=False, **small)
    envs.reset(seed=0)
    width = envs.single_action_space.shape[0]
    actions = st.lists(CORNERS | st.floats(-1, 1, width=32), min_size=2 * width, max_size=2 * width)
    for _ in range(small["steps"]):
        seen, *_ = envs.step(np.array(data.draw(actions, "actions"), np.float32).reshape(2, width))
    total = envs.ledger()
    spent = total["data_engine"]["money"] + total["teacher"]["money"]
    assert (spent <= budget).all()
    np.testing.assert_allclose(seen["budget"][:, 0], 1 - spent / budget, atol=1e-6)
    assert np.isin(total["teacher"]["money"], [0, collection]).all()


@functools.cache
def steps_of(task: str) -> int:
    envs: Any = make(1, f"kdgym/Snapshot-{task}-v0", **HOPPER)
    return int(envs.simulators.steps)


def test_who_cannot_pay_for_trajectories_practises_from_ordinary_starts() -> None:
    envs = make(1, budget=2.0 * 2 * 8 * 64)
    assert envs.simulators.steps > 2 * 8 * 64 / 2
    envs.reset(seed=0)
    first, *_ = envs.step(encoded(envs, ordinary=1.0))
    guided, _, _, _, info = envs.step(encoded(envs, ordinary=0.0))
    assert info["cost/teacher/money"] == 0
    assert guided["visits"].sum() == 0
    assert first["budget"][0, 0] == 0.5 and guided["budget"][0, 0] == 0


def test_rewards_sum_to_the_growth_of_the_score_and_the_examination_leaves_no_trace() -> None:
    envs, other = make(), make()
    first, _ = envs.reset(seed=3)
    other.reset(seed=3)
    total = np.zeros(2)
    for _ in range(3):
        report = other.examine()
        assert (
            report["right"].shape == report["asked"].shape == (2, 1)
            and ((report["score"] >= 0) & (report["score"] <= 1)).all()
        )
        seen, reward, *_ = envs.step(encoded(envs))
        twin, *_ = other.step(encoded(other))
        total += reward
        assert all(np.array_equal(seen[key], twin[key]) for key in seen)
    np.testing.assert_allclose(total, (seen["score"] - first["score"])[:, 0], atol=1e-6)


def test_the_gap_closes_while_the_critic_learns() -> None:
    envs = make(4)
    first, _ = envs.reset(seed=0)
    np.testing.assert_allclose(first["gap"], [[c["value"] for c in envs.metadata["clusters"]]] * 4, atol=0.05)
    for _ in range(4):
        seen, *_ = envs.step(encoded(envs, weights=(0, 0, 0, 0, 1, 2)))
    assert np.abs(seen["gap"][:, 5]).mean() < 0.5 * np.abs(first["gap"][:, 5]).mean()


@pytest.mark.thorough
def test_ordinary_starts_do_not_solve_the_maze_and_snapshots_do() -> None:
    scores = {}
    for name in ("ordinary_resets", "s3rl_long"):
        result = evaluate("kdgym/Snapshot-PointMaze-v0", name, episodes=8)
        scores[name] = result.after.mean()
    assert scores["ordinary_resets"] < 0.05 and scores["s3rl_long"] > 0.2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "Tennis"}, "Tennis.*CartPole"),
        ({"clusters": 1}, "clusters"),
        ({"horizon": 3}, "Known settings"),
        ({"device": "nonsense"}, "Try 'cpu'"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_there_is_no_gpu_for_hopper(meta: None) -> None:
    with pytest.raises(ValueError, match="Hopper's students learn on the cpu"):
        make(task="Hopper", device="meta")


@pytest.mark.parametrize(
    ("decision", "message"),
    [({"ordinary": 1.5}, "1.5.*0 to 1"), ({"horizon": 3}, "3 steps; 5 to 200"), ({"weights": [0] * 6}, "not all zero")],
)
def test_impossible_decisions_are_refused(decision: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encoded(make(), **decision)


def test_students_of_sb3_learn_and_are_kept_whole_between_steps() -> None:
    settings = {**SMALL, **HOPPER, "steps": 2, "updates": 2}
    envs = gym.make_vec("kdgym/Snapshot-Hopper-v0", num_envs=2, **settings)  # type: ignore[arg-type]
    envs.reset(seed=0)
    simulators: Any = envs.unwrapped.simulators  # type: ignore[attr-defined]
    alone = envs.unwrapped.state["student"][1].clone()  # type: ignore[attr-defined]
    envs.step(encoded(envs, weights=(1, 1, 1), ordinary=1.0))
    together = envs.unwrapped.state["student"].clone()  # type: ignore[attr-defined]
    updates = 2 * 10 * 2  # two rollouts, ten epochs, two minibatches
    assert together[:, -1].tolist() == [updates, updates]
    assert alone[-1] == 0 and (together[1] != alone).float().mean() > 0.5
    simulators._load(together[1])
    again = together[1].clone()
    simulators._save(again)
    assert (again == together[1]).all()


@pytest.mark.thorough
def test_students_of_sb3_learn_the_same_in_any_company() -> None:
    settings, rows = {**SMALL, **HOPPER, "steps": 2}, []
    for seeds in ([3, 5], [5]):
        envs: Any = gym.make_vec("kdgym/Snapshot-Hopper-v0", num_envs=len(seeds), **settings)
        envs.reset(seed=seeds)
        for _ in range(2):
            envs.step(encoded(envs, weights=(1, 1, 1), ordinary=0.5, horizon=20))
        assert envs.unwrapped.independent
        rows.append(envs.unwrapped.state["student"][-1])
    assert (rows[0] == rows[1]).all()


def test_hopper_takes_snapshots_and_horizons() -> None:
    envs = gym.make_vec("kdgym/Snapshot-Hopper-v0", num_envs=1, **{**SMALL, **HOPPER, "rollout": 128})
    envs.reset(seed=0)
    seen, *_ = envs.step(encoded(envs, weights=(0, 1, 0), horizon=5))
    assert seen["visits"][0].tolist() == pytest.approx([0, 1, 0], abs=0.05)
    tally = envs.unwrapped.state  # type: ignore[attr-defined]
    assert tally["practised"][0, 1] == pytest.approx(2 * 2 * 128, abs=5)
    assert seen["error"][0, 1] > 0
    assert abs(seen["return"][0, 1]) <= 1
