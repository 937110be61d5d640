"""Feedback: the budget is the limit, examinations are unguided, and a teacher that speaks teaches more than a silent one."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3 import PPO

import kdgym.envs.feedback.feedback
from kdgym.integrations.sb3 import as_vec_env
from kdgym.tasks.feedback import KINDS, WHICH

pytestmark = pytest.mark.slow

ID = "kdgym/Feedback-Math-v0"
SMALL: dict[str, Any] = {"steps": 3, "updates": 2, "budget": 3 * 2 * 500.0, "validation_items": 8}
PRACTICE = ("rollout_tokens", "guided_tokens", "feedback_tokens", "updates")
RULE: dict[str, Any] = {"fraction": 0.25, "kind": "next_step", "length": 1, "shaping": "plain", "weight": 1}


def make(num_envs: int = 3, **changes: Any) -> Any:
    return gym.make_vec(ID, num_envs=num_envs, autoreset=False, **{**SMALL, **changes})


def act(envs: Any, **decisions: Any) -> np.ndarray:
    action: np.ndarray = envs.single_action_space.encode(envs.num_envs, **decisions)
    return action


def weights(envs: Any) -> torch.Tensor:
    copy: torch.Tensor = envs.state["student"][:, : envs.students.weights].clone()
    return copy


# --- examinations ----------------------------------------------------------------------------------------------------


def test_examinations_are_unguided(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that gives feedback, and all that lets a student go on from it, raises while a student is examined."""
    envs, examinations = make(), 0
    examine = envs.students.evaluate

    def broken(*_: object) -> None:
        raise AssertionError("there was feedback in an examination")

    def watched(*arguments: Any) -> Any:
        nonlocal examinations
        examinations += 1
        with monkeypatch.context() as patch:
            patch.setattr(kdgym.envs.feedback.feedback, "choose_attempts", broken)
            for name in ("comment", "sample", "resume"):
                patch.setattr(envs.students, name, broken)
            return examine(*arguments)

    monkeypatch.setattr(envs.students, "evaluate", watched)
    envs.reset(seed=0)
    _, _, _, _, info = envs.step(act(envs, **RULE))
    envs.examine("test")
    assert examinations == 3
    assert (info["cost/teacher/tokens"] > 0).all()  # outside of examinations there was feedback


def test_with_the_feedback_machinery_broken_students_are_examined_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    envs = make()
    envs.reset(seed=0)
    expected = envs.examine("test")

    def broken(*_: object) -> None:
        raise AssertionError("this is feedback")

    monkeypatch.setattr(kdgym.envs.feedback.feedback, "choose_attempts", broken)
    monkeypatch.setattr(envs.students, "comment", broken)
    for key, value in envs.examine("test").items():
        assert np.array_equal(value, expected[key])
    with pytest.raises(AssertionError, match="this is feedback"):
        envs.step(act(envs, **RULE))


# --- budget ----------------------------------------------------------------------------------------------------------


@pytest.mark.thorough
@settings(max_examples=12)
@given(st.integers(0, 2**31), st.floats(1, 5000), st.floats(0, 10))
def test_tokens_are_never_overspent(seed: int, budget: float, price: float) -> None:
    envs = make(2, budget=budget, price=price)
    envs.reset(seed=seed)
    rng, spent = np.random.default_rng(seed), np.zeros(2)
    for step in range(3):
        allowance = (budget - spent) / (3 - step)
        action = rng.uniform(-1, 1, envs.action_space.shape).astype(np.float32)
        observation, reward, _, _, info = envs.step(action)
        examined = 6 * 8 * envs.students.tokens_per_item
        tokens = info["cost/student_inference/tokens"] - examined + info["cost/teacher/money"]
        assert (tokens <= allowance + 1e-6).all()
        own, guided, said, updates = (info[f"practice/{name}"] for name in PRACTICE)
        assert own + guided + price * said == pytest.approx(tokens, rel=1e-5, abs=1e-3)
        assert said == pytest.approx(info["cost/teacher/tokens"])
        assert ((updates > 0) == (info["cost/student_training/items"] > 0)).all()
        spent += tokens
        assert observation["budget"][:, 0] == pytest.approx(1 - spent / budget, abs=1e-5)
        assert envs.observation_space.contains(observation)
        assert np.isfinite(reward).all()


def test_whoever_speaks_holds_fewer_groups() -> None:
    trained = {}
    for name, rule in (("silent", {"fraction": 0}), ("speaking", {**RULE, "kind": "full_solution", "fraction": 1})):
        envs = make(8)
        envs.reset(seed=0)
        cost = [envs.step(act(envs, **rule))[-1] for _ in range(3)]
        trained[name] = sum(c["cost/student_training/items"] for c in cost)
        assert (sum(c["cost/teacher/tokens"] for c in cost) > 0).all() == (name == "speaking")
    assert (trained["speaking"] < 0.7 * trained["silent"]).all()


def test_without_tokens_nobody_learns() -> None:
    envs = make(budget=3.0)
    envs.reset(seed=0)
    before = weights(envs)
    _, reward, *_ = envs.step(act(envs, **RULE))
    assert weights(envs).equal(before)
    assert (reward == 0).all()


def test_feedback_has_a_price_in_the_reward() -> None:
    rewards, shares = [], []
    for feedback_cost in (0.0, 2.0):
        envs = make(feedback_cost=feedback_cost)
        envs.reset(seed=0)
        observation, reward, *_ = envs.step(act(envs, **RULE))
        rewards.append(reward)
        shares.append(observation["feedback"][:, 0])
    assert (shares[0] > 0).all()
    assert rewards[0] - rewards[1] == pytest.approx(2 * shares[0], abs=1e-6)


# --- what feedback does ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("which", WHICH)
def test_every_decision_leaves_finite_students(kind: str, which: str) -> None:
    envs = make(2, learning_rate=0.05)
    envs.reset(seed=0)
    for fraction in (0.25, 1.0):
        envs.step(act(envs, **{**RULE, "kind": kind, "which": which, "fraction": fraction}))
    assert torch.isfinite(envs.state["student"]).all()


def test_full_solutions_end_right() -> None:
    envs = make(budget=1e9)
    envs.reset(seed=0)
    observation, *_ = envs.step(act(envs, **{**RULE, "kind": "full_solution", "which": "random"}))
    assert observation["guided_success"] == pytest.approx(1)


def test_groups_that_all_end_right_teach_nothing() -> None:
    """All-right groups have no advantage; a fresh AdamW moves nowhere but by its weight decay."""
    envs = make(budget=1e9)
    envs.reset(seed=0)
    before = weights(envs)
    observation, *_ = envs.step(act(envs, **{**RULE, "kind": "full_solution", "which": "random", "fraction": 1}))
    assert (observation["no_signal"] == 1).all()
    assert (weights(envs) - before * (1 - 2e-3 * 0.01) ** 2).abs().max() < 1e-6


def test_masked_feedback_and_feedback_without_weight_are_the_same() -> None:
    students = []
    for change in ({"shaping": "mask"}, {"weight": 0}):
        envs = make()
        envs.reset(seed=0)
        envs.step(act(envs, **{**RULE, **change}))
        students.append(weights(envs))
    assert students[0].equal(students[1])


def test_attempts_without_an_advantage_need_not_be_read_again() -> None:
    """With the slightest divergence to pay for all of them are."""
    students = []
    for kl in (0.0, 1e-12):
        envs = make(kl=kl, budget=1e9)
        envs.reset(seed=0)
        observation, *_ = envs.step(act(envs, **RULE))
        assert (observation["no_signal"] > 0).any()
        students.append(weights(envs))
    torch.testing.assert_close(students[0], students[1], rtol=1e-3, atol=2e-5)


def test_the_divergence_from_the_base_holds_students_back() -> None:
    moved = []
    for kl in (0.0, 5.0):
        envs = make(kl=kl, updates=6)
        envs.reset(seed=0)
        before = weights(envs)
        for _ in range(3):
            envs.step(act(envs, fraction=0))
        moved.append(float((weights(envs) - before).norm()))
    assert moved[1] < 0.9 * moved[0]


def test_thinktuning_teaches_more_than_silence() -> None:
    after = []
    for rule in ({"fraction": 0}, RULE):
        envs = gym.make_vec(ID, num_envs=12, autoreset=False, steps=4, budget=16_000.0)
        envs.reset(seed=0)  # type: ignore[attr-defined]
        before = envs.examine("test")["score"]  # type: ignore[attr-defined]
        for _ in range(4):
            envs.step(act(envs, **rule))
        after.append(envs.examine("test")["score"] - before)  # type: ignore[attr-defined]
    assert after[0].mean() > 0.05
    assert after[1].mean() > after[0].mean() + 0.03


def test_a_student_that_diverged_harms_nobody() -> None:
    """Its own observation stays within the space, and the others learn as they do without it."""
    envs, students = make(), []
    for diverged in (False, True):
        envs.reset(seed=0)
        if diverged:
            envs.state["student"][0] = torch.nan
        observation, reward, *_ = envs.step(act(envs, **RULE))
        assert envs.observation_space.contains(observation)
        assert np.isfinite(reward).all()
        students.append(weights(envs)[1:])
    torch.testing.assert_close(students[0], students[1])


def test_a_group_has_at_least_two_attempts() -> None:
    with pytest.raises(ValueError, match="group=1"):
        make(1, group=1)


def test_tiny_students_have_two_names() -> None:
    seen = []
    for name in ("reasoner", "transformer"):
        envs = make(student=name)
        envs.reset(seed=0)
        observation, reward, *_ = envs.step(act(envs, **RULE))
        seen.append([reward, *observation.values()])
    assert all((one == other).all() for one, other in zip(*seen, strict=True))


@pytest.mark.parametrize("settings", [{"task": "Math"}, {"placebo": True}, {"skills": "discovered"}])
def test_what_feedback_is_not_for_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Feedback is for task='Scratchpad'"):
        make(1, **settings)


# --- spaces ----------------------------------------------------------------------------------------------------------


def test_discrete_actions_are_the_same_decisions() -> None:
    box, discrete = make(), make(actions="discrete")
    box.reset(seed=0)
    discrete.reset(seed=0)
    decisions = {"fraction": 0.5, "which": 1, "kind": 2, "length": 1 / 3, "shaping": 3, "weight": 0.5}
    expected = box.step(act(box, **decisions))[0]
    observation = discrete.step(np.tile([2, 1, 2, 1, 3, 1], (3, 1)))[0]
    for key, value in observation.items():
        assert np.array_equal(value, expected[key]), key


def test_bad_discrete_actions_are_refused() -> None:
    envs = make(actions="discrete")
    envs.reset(seed=0)
    good = np.zeros((3, 6), dtype=int)
    for wrong, message in (
        (np.tile([5, 0, 0, 0, 0, 0], (3, 1)), "Choice 0 of student 0 is 5; 0 to 4"),
        (good - 1, "is -1"),
        (good[:, :-1], "shape"),
        (good.astype(float), "integers"),
    ):
        with pytest.raises(ValueError, match=message):
            envs.step(wrong)


@pytest.mark.parametrize("actions", [pytest.param("box", marks=pytest.mark.thorough), "discrete"])
def test_stable_baselines_learns_in_both_encodings(actions: str) -> None:
    envs = gym.make_vec(ID, num_envs=4, actions=actions, **SMALL)
    model = PPO("MultiInputPolicy", as_vec_env(envs), n_steps=3, batch_size=6, n_epochs=1)
    model.learn(24)
    assert model.num_timesteps == 24


def test_what_teachers_see_adds_up() -> None:
    envs = make(8)
    observation, _ = envs.reset(seed=0)
    for _ in range(3):
        errors = observation["errors"].reshape(8, 6, -1).sum(2)
        assert (observation["success"] + errors <= 1 + 1e-6).all()
        assert (
            observation["success"] + errors > 0.9
        ).all()  # the rest is right by two errors that cancel, or wrong by luck
        assert (observation["entropy"] > 0).all()
        observation, *_ = envs.step(act(envs, **RULE))
