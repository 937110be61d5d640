"""Skill-Tree DataGen: trees grow by the rules, money is the limit, and standard libraries learn in both encodings."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import MultiDiscrete
from hypothesis import given, settings
from hypothesis import strategies as st
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks
from stable_baselines3 import PPO

import kdgym  # noqa: F401  # registers the environments
from kdgym.integrations.sb3 import as_vec_env
from kdgym.integrations.sb3_policies import MaskableSharedPolicy

ID = "kdgym/DataGen-Math-SkillTree-v0"
SMALL: dict[str, Any] = {"steps": 6, "budget": 6 * 64.0, "validation_items": 8, "first_items": 2}
KEEP, EXPLORE, MORE, LESS, STOP = range(5)


def make(num_envs: int = 2, **changes: Any) -> Any:
    return gym.make_vec(ID, num_envs=num_envs, autoreset=False, **{**SMALL, **changes})


def choices(envs: Any, choice: int) -> np.ndarray:
    return np.full((envs.num_envs, envs.single_action_space.shape[0]), choice)


def test_a_tree_grows_by_exploring_and_by_nothing_else() -> None:
    envs = make(actions="discrete", budget=6 * 10_000.0)
    observation, _ = envs.reset(seed=0)
    assert not observation["open"].any()
    skills = observation["target"].shape[1]
    for step, choice in enumerate([EXPLORE, MORE, EXPLORE, LESS, EXPLORE, EXPLORE]):
        before = observation["open"]
        observation, *_ = envs.step(choices(envs, choice))
        new = observation["open"] - before
        assert (new >= 0).all()
        assert (new.reshape(2, skills, -1).sum(2) == (2 if choice == EXPLORE else 0)).all(), step
    assert observation["open"].all()


def test_allocations_follow_the_choices_and_never_fall_below_nothing() -> None:
    envs = make(actions="discrete", budget=6 * 10_000.0, largest_change=10)
    envs.reset(seed=0)
    expected = 0
    for choice, change in [(EXPLORE, 2), (MORE, 5), (KEEP, 0), (LESS, -5), (LESS, -2), (MORE, 5)]:
        observation, *_ = envs.step(choices(envs, choice))
        expected += change
        items = np.rint(observation["allocation"] * envs.course.step_items)
        assert (items[observation["open"] > 0] == expected).all()
        assert (items[observation["open"] == 0] == 0).all()


def test_stopping_stops_and_costs_nothing() -> None:
    envs = make(actions="discrete")
    envs.reset(seed=0)
    envs.step(choices(envs, EXPLORE))
    observation, _, _, _, info = envs.step(choices(envs, STOP))
    assert not observation["allocation"].any()
    assert not info["cost/data_engine/money"].any()
    assert observation["open"].any()


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.floats(6, 400), st.integers(1, 200))
def test_money_is_never_overspent(seed: int, budget: float, first: int) -> None:
    envs = make(2, budget=budget, first_items=first)
    envs.reset(seed=seed)
    rng, spent = np.random.default_rng(seed), np.zeros(2)
    for step in range(6):
        allowance = (budget - spent) / (6 - step)
        action = rng.uniform(-1, 1, envs.action_space.shape).astype(np.float32)
        observation, _, _, _, info = envs.step(action)
        money = info["cost/data_engine/money"]
        assert (money <= allowance + 1e-9).all()
        spent += money
        assert envs.observation_space.contains(observation)
    assert observation["subskill_spend"].sum(1) == pytest.approx(spent / budget, abs=1e-5)


def test_the_order_of_opening_is_drawn_anew() -> None:
    envs = make(1, actions="discrete")
    opened = []
    for seed in (0, 0, 1):
        envs.reset(seed=seed)
        observation, *_ = envs.step(choices(envs, EXPLORE))
        opened.append(observation["open"].copy())
    assert np.array_equal(opened[0], opened[1])
    assert not np.array_equal(opened[0], opened[2])


def test_masks_allow_what_has_an_effect() -> None:
    envs = make(1, actions="discrete", opened=8)
    envs.reset(seed=0)
    masks = envs.action_masks().reshape(1, -1, 5)
    assert masks[..., [KEEP, EXPLORE]].all() and not masks[..., [MORE, LESS, STOP]].any()
    envs.step(choices(envs, EXPLORE))
    masks = envs.action_masks().reshape(1, -1, 5)
    assert masks[..., [KEEP, MORE, LESS, STOP]].all() and not masks[..., EXPLORE].any()


def test_practice_teaches_the_skill_it_is_of() -> None:
    envs = make(2, steps=8, budget=8 * 400.0, first_items=50)
    envs.reset(seed=0)
    skill = [s.name for s in envs.task.skills].index("max")
    before = envs.examine("validation")["right"][:, skill]
    space = envs.single_action_space
    for _ in range(8):
        explore = np.zeros((2, space.skills), dtype=bool)
        explore[:, skill] = True
        opened = envs.state["open"].flatten(1).numpy()
        envs.step(space.encode(explore, opened / 8, np.zeros_like(opened)))
    assert (envs.examine("validation")["right"][:, skill] > before + 20).all()


def test_bad_discrete_actions_are_refused() -> None:
    envs = make(actions="discrete")
    envs.reset(seed=0)
    assert isinstance(envs.single_action_space, MultiDiscrete)
    for wrong, message in (
        (choices(envs, 5), "0 to 4"),
        (choices(envs, -1), "is -1; 0 to 4"),
        (choices(envs, 1)[:, :-1], "shape"),
        (choices(envs, 1).astype(float), "integers"),
    ):
        with pytest.raises(ValueError, match=message):
            envs.step(wrong)


@pytest.mark.parametrize("actions", ["box", "discrete"])
def test_a_step_reads_nothing_back_to_the_host(meta: None, actions: str) -> None:
    """On the meta device tensors have no content: whatever asks for a value raises."""
    envs = make(4, device="meta", actions=actions)
    outcome = envs.advance(torch.zeros(envs.action_space.shape, device="meta"))
    assert outcome.device.type == "meta"


@pytest.mark.parametrize("actions", ["box", "discrete"])
def test_stable_baselines_learns_in_both_encodings(actions: str) -> None:
    envs = gym.make_vec(ID, num_envs=4, actions=actions, **SMALL)
    model = PPO("MultiInputPolicy", as_vec_env(envs), n_steps=6, batch_size=12, n_epochs=1)
    model.learn(48)
    assert model.num_timesteps == 48


def test_maskable_ppo_learns_and_keeps_to_the_masks() -> None:
    env = gym.make(ID, actions="discrete", **SMALL)
    model = MaskablePPO("MultiInputPolicy", env, n_steps=12, batch_size=12, n_epochs=1)
    model.learn(24)
    observation, _ = env.reset(seed=0)
    masks = env.unwrapped.action_masks()  # type: ignore[attr-defined]
    action, _ = model.predict(observation, action_masks=masks)
    assert set(np.unique(action)) <= {KEEP, EXPLORE}


def test_a_teacher_finds_the_masks_in_what_it_sees() -> None:
    envs = make(3, actions="discrete")
    observation, _ = envs.reset(seed=0)
    envs.single_action_space.seed(0)
    for _ in range(5):
        seen = envs.single_action_space.masks(observation["open"], observation["allocation"])
        assert np.array_equal(seen, envs.action_masks())
        observation, *_ = envs.step(np.stack([envs.single_action_space.sample() for _ in range(3)]))


def test_maskable_ppo_sees_the_masks_of_every_student_of_a_population() -> None:
    envs: Any = gym.make_vec(ID, num_envs=4, actions="discrete", **SMALL)
    vec_env = as_vec_env(envs)
    vec_env.reset()
    envs.step(np.stack([choices(envs, EXPLORE if i == 2 else KEEP)[0] for i in range(4)]))
    masks = get_action_masks(vec_env)
    assert np.array_equal(masks, envs.action_masks())
    assert masks[2].sum() > masks[0].sum()
    model = MaskablePPO(MaskableSharedPolicy, vec_env, n_steps=6, batch_size=12, n_epochs=1)
    model.learn(48)
    assert model.num_timesteps == 48


# --- engines of hidden quality -----------------------------------------------------------------------------------


def lessons(envs: Any, seed: int, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The batches of an episode that opens everything and practises it."""
    given, train = [], envs.course.train
    monkeypatch.setattr(envs.course, "train", lambda state, batch: (given.append(batch), train(state, batch))[1])
    envs.reset(seed=seed)
    for choice in (EXPLORE, MORE):
        envs.step(choices(envs, choice))
    return given


def places(envs: Any) -> dict[int, tuple[int, int]]:
    """Skill and subskill of every train problem."""
    skills, subskills = envs._shape
    start, count = envs._place.view(2, skills, subskills).tolist()
    return {
        problem: (k, m)
        for k in range(skills)
        for m in range(subskills)
        for problem in envs._problems[start[k][m] : start[k][m] + count[k][m]].tolist()
    }


def test_faulty_engines_make_one_mistake_and_the_others_none(monkeypatch: pytest.MonkeyPatch) -> None:
    envs = make(1, actions="discrete", faulty=0.5, opened=8, depth=1, first_items=40, budget=6 * 600.0)
    given, place, pool = lessons(envs, 3, monkeypatch), places(envs), envs.task.answer_pool
    faulty = envs.hidden()["faulty"].reshape(-1, 2)
    assert (faulty.sum(1) == 1).all() and 0 < faulty[:, 0].mean() < 1
    errors: dict[bool, list[int]] = {False: [], True: []}
    mistakes: dict[int, set[int]] = {}
    for batch in given:
        items = int(batch.count[0])
        for problem, answer in zip(batch.problem[0, :items].tolist(), batch.target[0, :items].tolist(), strict=True):
            skill, subskill = place[problem]
            first, count = int(pool.start[skill]), int(pool.count[skill])
            assert first <= answer < first + count
            error = (answer - int(envs.task.solution[problem])) % count
            errors[bool(faulty[skill, subskill])].append(error)
            mistakes.setdefault(skill, set()).add(error)
    assert not any(errors[False])
    assert np.mean([error != 0 for error in errors[True]]) == pytest.approx(0.9, abs=0.05)
    assert all(len(found - {0}) == 1 for found in mistakes.values()) and len(mistakes) == len(faulty)


def test_which_engines_are_faulty_is_drawn_anew_and_not_seen() -> None:
    envs = make(2, faulty=0.5)
    observation, info = envs.reset(seed=0)
    first = envs.hidden()["faulty"]
    assert "faulty" not in observation and "faulty" not in info
    assert not np.array_equal(first[0], first[1])
    again, _ = envs.reset(seed=0)
    assert np.array_equal(first, envs.hidden()["faulty"])
    sound, _ = make(2).reset(seed=0)
    assert all(np.array_equal(again[name], sound[name]) for name in sound)  # nothing else is drawn differently
    assert not make(2).hidden()["faulty"].any()
