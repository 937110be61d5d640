"""Classroom: time goes by bids and purses, gains add up, and PettingZoo's own tests pass."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pettingzoo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import api_test, max_cycles_test, parallel_api_test, parallel_seed_test, seed_test
from pettingzoo.test.render_test import collect_render_results

from kdgym.envs.classroom import classroom
from kdgym.envs.classroom.bids import Bids, gini, mixed
from kdgym.envs.classroom.classroom import Classroom, env, parallel_env
from kdgym.envs.datagen.skill_list import SkillList

pytestmark = pytest.mark.filterwarnings("error")
SMALL: dict[str, Any] = {"budget": 3 * 96.0, "validation_items": 8}


def make(num_envs: int = 2, **changes: Any) -> Classroom:
    return Classroom(num_envs, autoreset=False, **{"steps": 3, **SMALL, **changes})


def even(envs: Classroom, credits: Any = 1.0) -> np.ndarray:
    bids = envs.bids
    shape = envs.num_envs, bids.teachers
    action: np.ndarray = bids.encode(np.broadcast_to(credits, shape), np.ones((*shape, bids.width)))
    return action


# --- PettingZoo ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"num_teachers": 2, "mixing": 1.0}, {"num_teachers": 14, "sources": 2}])
def test_pettingzoos_tests_pass(changes: dict[str, Any]) -> None:
    small = {**SMALL, **changes, "max_cycles": 3}
    parallel_api_test(parallel_env(**small), num_cycles=10)
    parallel_seed_test(partial(parallel_env, **small), num_cycles=5)
    api_test(env(**small), num_cycles=5)
    seed_test(partial(env, **small), num_cycles=5)


def test_episodes_are_as_long_as_asked() -> None:
    max_cycles_test(SimpleNamespace(parallel_env=partial(parallel_env, **SMALL), env=partial(env, **SMALL)))


@pytest.mark.slow
def test_pictures_show_the_timetable() -> None:
    pictures = collect_render_results(env(render_mode="rgb_array", max_cycles=3, **SMALL))
    assert all(picture.shape[2] == 3 and picture.dtype == np.uint8 for picture in pictures)
    assert not np.array_equal(pictures[0], pictures[-1])


def test_people_see_who_got_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    envs = make(1, render_mode="human")
    envs.reset(seed=0)
    envs.step(even(envs, [4.0, 0.0, 0.0]))
    shown = capsys.readouterr().out
    assert "teacher_0 (add_no_carry … sub)" in shown
    assert "100%" in shown.split("teacher_0")[1].split("\n")[0]


def test_both_registries_know_the_id() -> None:
    assert pettingzoo.make("parallel", "kdgym/Classroom-Math-v0", num_teachers=2).possible_agents == [
        "teacher_0",
        "teacher_1",
    ]
    assert isinstance(gym.make("kdgym/Classroom-Math-v1").action_space, Bids)


@pytest.mark.parametrize("interface", ["parallel", "aec"])
def test_in_the_second_version_skills_have_four_sources(interface: str) -> None:
    first, second = (pettingzoo.make(interface, f"kdgym/Classroom-Math-v{version}") for version in (0, 1))
    (before,), (now,) = ({env.action_space(agent).shape[0] for agent in env.possible_agents} for env in (first, second))
    assert now - 1 == 4 * (before - 1)


def test_separate_teachers_are_the_population_of_one() -> None:
    whole, parts = make(1, mixing=0.25), parallel_env(max_cycles=3, mixing=0.25, **SMALL)
    whole.reset(seed=4)
    seen, _ = parts.reset(seed=4)
    rng = np.random.default_rng(0)
    while parts.agents:
        actions = {
            agent: rng.uniform(-1, 1, parts.action_space(agent).shape).astype(np.float32) for agent in parts.agents
        }
        observation, reward, _, _, info = whole.step(np.concatenate(list(actions.values()))[None])
        seen, rewards, *_ = parts.step(actions)
        gains = np.array([info[f"gain/{agent}"][0] for agent in actions])
        assert list(rewards.values()) == pytest.approx((0.75 * gains + 0.25 * gains.mean()).tolist(), abs=1e-12)
        assert gains.mean() == pytest.approx(reward[0], abs=1e-6)
        for row, agent in zip(whole.bids.flat(observation)[0], actions, strict=True):
            assert np.array_equal(seen[agent], row)
            assert parts.observation_space(agent).contains(row)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda actions: actions.pop("teacher_1"), "every teacher acts"),
        (lambda actions: actions.update(teacher_9=actions["teacher_0"]), "every teacher acts"),
        (lambda actions: actions.update(teacher_1=np.full(6, np.nan, np.float32)), "teacher_1: .* not finite"),
        (lambda actions: actions.update(teacher_2=np.zeros(3, np.float32)), "teacher_2: .* shape"),
        (lambda actions: actions.update(teacher_0=np.full(6, 2, np.float32)), "teacher_0: .* leaves the action space"),
    ],
)
def test_bad_actions_name_the_teacher_and_change_nothing(change: Any, message: str) -> None:
    parts = parallel_env(max_cycles=3, **SMALL)
    parts.reset(seed=0)
    before = parts.snapshot().rows
    actions = {agent: np.zeros(parts.action_space(agent).shape, np.float32) for agent in parts.agents}
    change(actions)
    with pytest.raises(ValueError, match=message):
        parts.step(actions)
    assert all(bool((a == b).all()) for a, b in zip(before, parts.snapshot().rows, strict=True))


def test_a_limit_truncates_for_every_teacher() -> None:
    parts = parallel_env(max_cycles=3, max_episode_steps=2, **SMALL)
    parts.reset(seed=0)
    for cut in (False, True):
        actions = {agent: parts.action_space(agent).sample() for agent in parts.agents}
        _, _, ended, truncated, infos = parts.step(actions)
        assert set(truncated.values()) == {cut} and not any(ended.values())
        assert all(np.isscalar(value) for info in infos.values() for value in info.values())
    assert not parts.agents


def test_snapshots_continue_bitwise() -> None:
    parts = parallel_env(max_cycles=3, **SMALL)
    with pytest.raises(RuntimeError, match="call reset first"):
        parts.step({})
    parts.reset(seed=1)
    actions = {agent: parts.action_space(agent).sample() for agent in parts.agents}
    parts.step(actions)
    snapshot = parts.snapshot()
    first = parts.step(actions)
    parts.restore(snapshot)
    again = parts.step(actions)
    assert all(np.array_equal(first[0][agent], again[0][agent]) for agent in actions)
    assert first[1] == again[1]


# --- bids and time ---------------------------------------------------------------------------------------------------


def test_time_goes_in_proportion_to_bids() -> None:
    envs = make()
    envs.reset(seed=0)
    observation, *_ = envs.step(even(envs, [2.0, 1.0, 1.0]))
    assert observation["share"] == pytest.approx(np.array([[0.5, 0.25, 0.25]] * 2), abs=1e-6)
    spent = envs.state["spending_history"][:, 0].numpy()
    by_teacher = np.stack([spent[:, list(subject)].sum(1) for subject in envs.bids.subjects], axis=1)
    assert by_teacher / spent.sum(1, keepdims=True) == pytest.approx(observation["share"], abs=0.1)  # items are whole


def test_no_purse_is_overdrawn() -> None:
    envs = make(steps=3)
    envs.reset(seed=0)
    shares = [envs.step(even(envs, [4.0, 1.0, 1.0]))[0] for _ in range(3)]
    assert shares[0]["purse"][:, 0].tolist() == [0.0, 0.0]  # three credits for three steps, all of them spent at once
    assert shares[1]["bid"][:, 0].tolist() == [0.0, 0.0]
    assert shares[2]["purse"] == pytest.approx(np.zeros((2, 3)), abs=1e-6)


def test_where_nobody_bids_all_get_the_same_time() -> None:
    silent, evenly = make(), make()
    silent.reset(seed=0)
    evenly.reset(seed=0)
    nothing, *_ = silent.step(even(silent, 0.0))
    same, *_ = evenly.step(even(evenly, 1.0))
    assert np.array_equal(nothing["loss"], same["loss"])
    assert nothing["purse"].min() == 1.0
    assert nothing["share"] == pytest.approx(np.full((2, 3), 1 / 3), abs=1e-6)


def test_a_class_of_one_teacher_is_datagen() -> None:
    ours, datagen = make(num_teachers=1), SkillList(2, autoreset=False, sources=1, steps=3, **SMALL)
    plan = np.random.default_rng(0).uniform(-1, 1, (2, 14)).astype(np.float32)
    ours.reset(seed=3)
    datagen.reset(seed=3)
    for _ in range(3):
        mine, *_ = ours.step(np.concatenate([np.zeros((2, 1), np.float32), plan], axis=1))
        theirs, *_ = datagen.step(plan)
        for name in ("accuracy", "loss", "change", "price", "source_loss", "budget"):
            assert np.array_equal(mine[name], theirs[name]), name


def test_goals_belong_to_subjects_that_count_alike() -> None:
    envs = make(
        64, subjects=[("mul", "add"), tuple(s.name for s in make(1).task.skills if s.name not in ("mul", "add"))]
    )
    observation, _ = envs.reset(seed=0)
    sums = envs.bids.seen(observation)["target"].sum(2)
    assert sums == pytest.approx(np.ones((64, 2)), abs=1e-6)
    assert ((observation["target"] > 0).sum(1) <= 4).all()


def test_teachers_see_others_in_summary_only() -> None:
    """Whatever happens to one skill of another subject, a teacher sees no more of it than that subject's sum."""
    envs = make(1)
    observation, _ = envs.reset(seed=0)
    changed = {name: value.copy() for name, value in observation.items()}
    for name in ("loss", "price", "change"):
        changed[name][0, 0] += 0.1  # add_no_carry, of teacher_0
    one, other = (envs.bids.flat(seen)[0] for seen in (observation, changed))
    assert not np.array_equal(one[0], other[0])
    assert np.array_equal(one[1:], other[1:])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_teachers": 15}, "only 14 skills"),
        ({"num_teachers": 0}, "num_teachers"),
        ({"mixing": 1.5}, "mixing"),
        ({"subjects": [("add",), ("mul",)]}, "Every skill belongs to one"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(1, **changes)


# --- what comes of it ------------------------------------------------------------------------------------------------


def test_rewards_sum_to_what_was_gained() -> None:
    envs = make(4)
    envs.reset(seed=0)
    gains = np.zeros((4, 3))
    for _ in range(3):
        *_, info = envs.step(even(envs))
        gains += np.stack([info[f"gain/teacher_{i}"] for i in range(3)], axis=1)
    assert envs.outcome()["gains"] == pytest.approx(gains, abs=1e-6)
    assert envs.outcome()["time"].sum(1) == pytest.approx(np.ones(4), abs=1e-6)


@settings(max_examples=50)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=6), st.floats(0, 1))
def test_mixing_moves_rewards_and_never_their_sum(values: list[float], mixing: float) -> None:
    gains = np.array(values)
    assert mixed(gains, mixing).sum() == pytest.approx(gains.sum(), abs=1e-9)
    assert mixed(gains, 1.0) == pytest.approx(np.full(len(gains), gains.mean()), abs=1e-12)


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_gini_is_the_mean_difference_over_twice_the_mean(values: list[float]) -> None:
    gains = np.array(values)
    total = np.abs(gains[:, None] - gains).sum()
    expected = total / (2 * len(gains) * gains.sum()) if gains.sum() > 0 else 0.0
    assert gini(gains) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("credits", "plan", "message"), [([[5.0, 1.0, 1.0]], 1.0, "credits"), ([[1.0, 1.0, 1.0]], -1.0, "non-negative")]
)
def test_bids_out_of_range_are_refused(credits: Any, plan: float, message: str) -> None:
    bids = make(1).bids
    with pytest.raises(ValueError, match=message):
        bids.encode(credits, np.full((1, 3, bids.width), plan))


def test_the_module_is_what_pettingzoo_expects() -> None:
    assert {"env", "parallel_env"} <= set(classroom.__all__)
