"""The population through Gymnasium's vector interface."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import (
    ClipAction,
    DictInfoToList,
    FlattenObservation,
    NormalizeObservation,
    NormalizeReward,
    RecordEpisodeStatistics,
    TransformReward,
)

import kdgym  # noqa: F401  # registers the environments
from tests.tiers import FIRST_IDS, tiered

ID = "kdgym/DataGen-Math-v0"
SMALL: dict[str, Any] = {"steps": 3, "budget": 96.0, "validation_items": 8}


def make(num_envs: int, **settings: Any) -> Any:
    return gym.make_vec(ID, num_envs=num_envs, **{**SMALL, **settings})


def actions(envs: Any, n: int, seed: int = 0) -> np.ndarray:
    shape = (n, envs.num_envs, *envs.single_action_space.shape)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def run(envs: Any, seeds: list[int], lesson: np.ndarray) -> list[dict[str, np.ndarray]]:
    observations = [envs.reset(seed=seeds)[0]]
    return observations + [envs.step(action)[0] for action in lesson]


def test_student_i_gets_seed_plus_i() -> None:
    many, _ = make(3).reset(seed=5)
    for i in range(3):
        one, _ = make(1).reset(seed=5 + i)
        assert all(np.array_equal(many[key][i], one[key][0]) for key in many)


@pytest.mark.parametrize("size", [1, 4, 16])
def test_a_students_future_does_not_depend_on_slot_or_population(size: int) -> None:
    reference = make(1, autoreset=False)
    lesson = actions(reference, 3)
    expected = run(reference, [42], lesson)
    slot = size // 2
    envs = make(size, autoreset=False)
    others = actions(envs, 3, seed=1)
    others[:, slot] = lesson[:, 0]
    seeds = [1000 + i for i in range(size)]
    seeds[slot] = 42
    found = run(envs, seeds, others)
    for a, b in zip(expected, found, strict=True):
        assert {key: a[key][0].tobytes() for key in a} == {key: b[key][slot].tobytes() for key in b}


def test_two_threads_repeat_bitwise() -> None:
    torch.set_num_threads(2)
    try:
        first, second = (run(make(4), [1, 2, 3, 4], actions(make(4), 3)) for _ in range(2))
    finally:
        torch.set_num_threads(1)
    assert all(np.array_equal(a[key], b[key]) for a, b in zip(first, second, strict=True) for key in a)


def test_reset_without_a_seed_goes_to_the_next_episode() -> None:
    one, two = make(2), make(2)
    first, _ = one.reset(seed=3)
    second, _ = one.reset()
    two.reset(seed=3)
    again, _ = two.reset()
    assert np.array_equal(second["target"], again["target"])
    assert not np.array_equal(second["loss"], first["loss"])


def test_the_last_step_resets_in_the_same_step() -> None:
    envs, twin = make(2), make(2, autoreset=False)
    lesson = actions(envs, 3)
    envs.reset(seed=0)
    twin.reset(seed=0)
    for action in lesson:
        observation, reward, terminated, truncated, info = envs.step(action)
        final, twin_reward, *_ = twin.step(action)
    assert terminated.all()
    assert not truncated.any()
    assert np.array_equal(reward, twin_reward)
    assert observation["time"].tolist() == [[1.0], [1.0]]
    assert info["_final_obs"].all()
    assert all(np.array_equal(info["final_obs"][i][key], final[key][i]) for i in range(2) for key in final)
    assert info["final_info"]["cost/student_training/items"].tolist() > [0.0, 0.0]


def test_the_autoreset_mode_is_declared() -> None:
    assert make(1).metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert make(1, autoreset=False).metadata["autoreset_mode"] is AutoresetMode.DISABLED


@pytest.mark.parametrize("id", tiered(FIRST_IDS))
def test_with_next_step_the_step_after_the_last_one_resets(id: str) -> None:
    short: dict[str, Any] = {"tasks": 3} if "Orchestrate" in id else {"steps": 3}
    after: Any = gym.make_vec(id, num_envs=3, autoreset="NextStep", **short)
    twin: Any = gym.make_vec(id, num_envs=3, **short)
    twin.action_space.seed(0)
    lesson = [twin.action_space.sample() for _ in range(4)]
    assert after.metadata["autoreset_mode"] is after.autoreset_mode is AutoresetMode.NEXT_STEP
    after.reset(seed=1)
    twin.reset(seed=1)
    for action in lesson[:3]:
        observation, reward, terminated, *_ = after.step(action)
        begun, twin_reward, twin_terminated, _, info = twin.step(action)
        assert np.array_equal(reward, twin_reward)
        assert np.array_equal(terminated, twin_terminated)
    assert terminated.all()
    assert all(same(after.row(observation, i), info["final_obs"][i]) for i in range(3))
    observation, reward, terminated, truncated, info = after.step(lesson[3])
    assert same(observation, begun)
    assert not reward.any() and not terminated.any() and not truncated.any()
    for actor, units in after.ledger().items():
        assert all(np.array_equal(info[f"cost/{actor}/{unit}"], spent) for unit, spent in units.items())


def test_with_next_step_students_may_end_at_different_times() -> None:
    envs, alone = make(2, autoreset="NextStep"), make(1, autoreset="NextStep")
    lesson = actions(envs, 7)
    envs.reset(seed=1)
    alone.reset(seed=1)
    envs.step(lesson[0])
    expected, _ = alone.step(lesson[0][:1])[:2]
    envs.reset(seed=[None, 9], options={"reset_mask": np.array([False, True])})
    for action in lesson[1:]:
        observation, reward, terminated, _, info = envs.step(action)
        expected, own_reward, own_terminated, _, own_info = alone.step(action[:1])
        assert all(np.array_equal(observation[key][0], expected[key][0]) for key in expected)
        assert (reward[0], terminated[0]) == (own_reward[0], own_terminated[0])
        assert own_info and all(info[key][0] == value[0] for key, value in own_info.items())


def test_without_autoreset_a_finished_student_waits_for_the_others() -> None:
    envs, alone = make(2, autoreset=False), make(1, autoreset=False)
    lesson = actions(envs, 4)
    envs.reset(seed=1)
    envs.step(lesson[0])
    envs.reset(seed=[None, 9], options={"reset_mask": np.array([False, True])})
    alone.reset(seed=9)
    for action in lesson[1:3]:
        ended, *_ = envs.step(action)
        alone.step(action[1:])
    observation, reward, terminated, _, info = envs.step(lesson[3])
    expected, own_reward, *_ = alone.step(lesson[3][1:])
    assert all(np.array_equal(observation[key][0], ended[key][0]) for key in ended)
    assert all(np.array_equal(observation[key][1], expected[key][0]) for key in ended)
    assert reward.tolist() == [0, own_reward[0]] and terminated.all()
    assert not any(spent[0] for key, spent in info.items() if key.startswith("cost/"))


def test_max_episode_steps_truncates_and_leaves_the_budget_of_a_step_alone() -> None:
    short, whole = make(2, max_episode_steps=2), make(2, autoreset=False)
    lesson = actions(short, 3)
    short.reset(seed=0)
    whole.reset(seed=0)
    for step, action in enumerate(lesson[:2]):
        observation, reward, terminated, truncated, info = short.step(action)
        expected, whole_reward, *_ = whole.step(action)
        assert np.array_equal(reward, whole_reward)
        assert truncated.tolist() == [step == 1] * 2 and not terminated.any()
    assert all(np.array_equal(info["final_obs"][i][key], expected[key][i]) for i in range(2) for key in expected)
    assert observation["time"].tolist() == [[1.0], [1.0]]


def test_a_truncated_student_waits_and_stays_so_in_copies() -> None:
    envs = make(2, autoreset=False, max_episode_steps=2)
    lesson = actions(envs, 3)
    envs.reset(seed=0)
    envs.step(lesson[0])
    twin, copied = envs.branch(1), copy.deepcopy(envs)
    envs.step(lesson[1])
    saved = envs.snapshot()
    envs.reset(options={"reset_mask": np.array([True, False])})
    _, reward, terminated, truncated, _ = envs.step(lesson[2])
    assert reward[1] == 0 and truncated.tolist() == [False, True] and not terminated.any()
    envs.restore(saved)
    for students in (twin, copied):
        assert students.step(lesson[1])[3].all()
    for students in (envs, twin, copied):
        with pytest.raises(RuntimeError, match="after the end"):
            students.step(lesson[2])


def test_an_episode_may_end_and_be_truncated_at_once() -> None:
    env = gym.make(ID, **SMALL, max_episode_steps=3)
    envs = make(1, max_episode_steps=3)
    env.reset(seed=0)
    envs.reset(seed=0)
    for action in actions(envs, 3):
        single, several = env.step(action[0]), envs.step(action)
        assert single[2:4] == (several[2][0], several[3][0])
    assert single[2] and single[3]


@pytest.mark.parametrize("limit", [0, -1, 2.5, "2"])
def test_a_limit_that_is_none_is_refused(limit: Any) -> None:
    with pytest.raises(ValueError, match=r"max_episode_steps is .*; give a whole number from 1"):
        make(2, max_episode_steps=limit)


@pytest.mark.parametrize("autoreset", ["nextstep", None, 3])
def test_an_unknown_autoreset_mode_is_refused(autoreset: Any) -> None:
    with pytest.raises(ValueError, match=r"autoreset is .*; choose True, False, 'NextStep', 'SameStep', 'Disabled'"):
        make(2, autoreset=autoreset)


@pytest.mark.parametrize("wrap", [FlattenObservation, lambda envs: NormalizeObservation(FlattenObservation(envs))])
def test_observation_wrappers_take_a_population_with_next_step(wrap: Any) -> None:
    envs = wrap(make(3, autoreset=AutoresetMode.NEXT_STEP))
    envs.reset(seed=0)
    for action in actions(envs, 8):
        observation, *_ = envs.step(action)
        assert observation in envs.observation_space or np.isfinite(observation).all()


@pytest.mark.parametrize("id", tiered(FIRST_IDS))
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_goes_on_as_the_original(id: str, duplicate: Any) -> None:
    env = gym.make(id)
    env.reset(seed=3)
    env.action_space.seed(5)
    env.step(env.action_space.sample())
    twin = duplicate(env)
    for _ in range(2):
        action = env.action_space.sample()
        assert same(action, twin.action_space.sample())
        ours, theirs = env.step(action), twin.step(action)
        assert same(ours[0], theirs[0]) and ours[1:4] == theirs[1:4] and ours[4] == theirs[4]
    assert same(env.reset()[0], twin.reset()[0])


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(np.array_equal(one, other))


def test_a_field_is_not_replaced_by_another_tensor() -> None:
    envs = make(2)
    envs.reset(seed=0)
    with pytest.raises(TypeError, match=r"fields\['spent'\]\[:\] = "):
        envs.state["spent"] = torch.ones(2)
    assert not envs.state["spent"].any()


def test_reset_mask_leaves_the_others_alone() -> None:
    envs = make(3)
    envs.reset(seed=0)
    before, *_ = envs.step(actions(envs, 1)[0])
    after, _ = envs.reset(options={"reset_mask": np.array([False, True, False])})
    assert after["time"][:, 0].tolist() == pytest.approx([2 / 3, 1.0, 2 / 3])
    for key in before:
        assert np.array_equal(before[key][[0, 2]], after[key][[0, 2]])


def test_restart_continue_keeps_the_weights_and_nothing_else() -> None:
    envs = make(1, autoreset=False)
    envs.reset(seed=0)
    envs.step(actions(envs, 1)[0])
    weights = envs.students.weights
    taught = envs.state["student"][:, :weights].clone()
    envs.reset(options={"restart": "continue"})
    assert torch.equal(envs.state["student"][:, :weights], taught)
    assert not envs.state["student"][:, weights:].any()
    envs.reset(options={"restart": "base"})
    assert not torch.equal(envs.state["student"][:, :weights], taught)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"restart": "again"}, "restart"),
        ({"colour": "red"}, "colour"),
        ({"reset_mask": np.array([True])}, "reset_mask"),
        ({"reset_mask": np.zeros(2, dtype=bool)}, "reset_mask"),
    ],
)
def test_wrong_reset_options_are_refused(options: dict[str, Any], message: str) -> None:
    envs = make(2)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        envs.reset(options=options)


def test_continue_needs_a_taught_student() -> None:
    with pytest.raises(ValueError, match="first reset"):
        make(1).reset(options={"restart": "continue"})


@pytest.mark.parametrize("seed", [-1, [1], 2**62])
def test_wrong_seeds_are_refused(seed: Any) -> None:
    with pytest.raises((ValueError, gym.error.Error)):
        make(2).reset(seed=seed)


def test_stepping_too_early_or_too_late_is_refused() -> None:
    envs = make(1, autoreset=False)
    lesson = actions(envs, 4)
    with pytest.raises(RuntimeError, match="before reset"):
        envs.step(lesson[0])
    envs.reset(seed=0)
    for action in lesson[:3]:
        envs.step(action)
    with pytest.raises(RuntimeError, match="after the end"):
        envs.step(lesson[3])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a: np.where(a > 0, np.nan, a), "not finite"),
        (lambda a: np.where(a > 0, np.inf, a), "not finite"),
        (lambda a: a[:, :-1], "shape"),
        (lambda a: a[:1], "shape"),
        (lambda a: a * 5, "leaves the action space"),
        (lambda a: a.astype(complex), "dtype"),
        (lambda a: a.astype(str), "dtype"),
        (lambda a: a.astype(object), "dtype"),
    ],
)
def test_a_bad_action_is_refused_and_harms_nobody(spoil: Any, message: str) -> None:
    envs = make(2)
    envs.reset(seed=0)
    before = envs.snapshot()
    with pytest.raises(ValueError, match=message):
        envs.step(spoil(actions(envs, 1)[0]))
    assert all(torch.equal(a, b) for a, b in zip(before.rows, envs.snapshot().rows, strict=True))


def test_all_zero_and_all_negative_actions_are_the_uniform_split() -> None:
    envs = make(2, autoreset=False)
    envs.reset(seed=[7, 7])
    observation, *_ = envs.step(np.stack([np.zeros(56), np.full(56, -1.0)]))
    assert np.array_equal(observation["source_spend"][0], observation["source_spend"][1])


def test_wrong_constructor_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 student"):
        make(0)
    with pytest.raises(ValueError, match="render_mode"):
        make(1, render_mode="hologram")


@pytest.mark.parametrize(
    "wrap",
    [
        RecordEpisodeStatistics,
        DictInfoToList,
        NormalizeReward,
        ClipAction,
        lambda envs: TransformReward(envs, lambda reward: 2 * reward),
    ],
)
def test_standard_vector_wrappers_run_over_several_episodes(wrap: Any) -> None:
    envs = wrap(make(2))
    envs.reset(seed=0)
    ended = 0
    for action in actions(envs, 7):
        *_, terminated, _, info = envs.step(action)
        ended += int(terminated.sum())
    assert ended == 4
    assert info


def test_episode_statistics_add_up_the_rewards() -> None:
    envs = RecordEpisodeStatistics(make(2))
    envs.reset(seed=0)
    rewards = []
    for action in actions(envs, 3):
        _, reward, _, _, info = envs.step(action)
        rewards.append(reward)
    assert info["episode"]["r"] == pytest.approx(np.sum(rewards, axis=0))


def test_branches_start_equal_and_go_where_they_are_taught() -> None:
    envs = make(2, autoreset=False)
    envs.reset(seed=0)
    lesson = actions(envs, 2)
    envs.step(lesson[0])
    before = envs.snapshot()
    branches = envs.branch(3)
    assert branches.num_envs == 6
    start = branches.observe()
    assert all(np.array_equal(start[key][:3], np.repeat(start[key][:1], 3, axis=0)) for key in start)
    choices = lesson[1].repeat(3, axis=0)
    choices[1] = -choices[1]
    after, *_ = branches.step(choices)
    assert not np.array_equal(after["loss"][0], after["loss"][1])
    assert np.array_equal(after["loss"][0], after["loss"][2])
    assert all(torch.equal(a, b) for a, b in zip(before.rows, envs.snapshot().rows, strict=True))
    own, *_ = envs.step(lesson[1])
    assert np.array_equal(own["loss"][0], after["loss"][0])
    with pytest.raises(ValueError, match="at least once"):
        envs.branch(0)


def test_the_ledger_is_the_sum_of_the_costs() -> None:
    envs = make(3, autoreset=False)
    _, info = envs.reset(seed=0)
    costs = [info] + [envs.step(action)[-1] for action in actions(envs, 3)]
    for actor, units in envs.ledger().items():
        for unit, total in units.items():
            assert total == pytest.approx(sum(cost[f"cost/{actor}/{unit}"] for cost in costs))
    assert (envs.ledger()["student_training"]["flops"] > 0).all()


def test_what_was_spent_outside_is_billed_with_the_next_step() -> None:
    envs = make(2, autoreset=False)
    envs.reset(seed=0)
    lesson = actions(envs, 2)
    envs.bill("teacher", tokens=[10, 20])
    envs.bill("teacher", tokens=1, money=0.5)
    saved = envs.snapshot()
    for _ in range(2):
        *_, info = envs.step(lesson[0])
        assert info["cost/teacher/tokens"].tolist() == [11, 21]
        envs.restore(saved)  # a bill not yet entered is part of the state
    envs.step(lesson[0])
    *_, info = envs.step(lesson[1])
    assert info["cost/teacher/tokens"].tolist() == [0, 0]
    assert envs.ledger()["teacher"]["money"].tolist() == [0.5, 0.5]
    envs.reset(seed=0)
    assert envs.ledger()["teacher"]["tokens"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("actor", "amounts"),
    [
        ("pupil", {"tokens": 1}),
        ("teacher", {"smiles": 1}),
        ("teacher", {"tokens": -1}),
        ("teacher", {"tokens": [1, 2, 3]}),
    ],
)
def test_bills_that_cannot_be_entered_are_refused(actor: str, amounts: dict[str, Any]) -> None:
    envs = make(2)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=r"actors are|give finite, non-negative numbers"):
        envs.bill(actor, **amounts)
