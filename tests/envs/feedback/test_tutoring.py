"""Tutoring: turns as PettingZoo wants them, and Feedback's numbers where the pupil asks about everything."""

from __future__ import annotations

import warnings
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pettingzoo
import pytest
from pettingzoo.test import api_test, max_cycles_test, seed_test
from pettingzoo.utils.conversions import aec_to_parallel_wrapper

from kdgym.envs.feedback.feedback import Feedback
from kdgym.envs.feedback.tutoring import Tutoring, tutoring_env
from kdgym.envs.feedback.tutoring_aec import PUPIL, TUTOR
from tests.tiers import tiered

pytestmark = pytest.mark.slow

SMALL: dict[str, Any] = {"updates": 2, "group": 4, "budget": 3_000.0, "validation_items": 4}
ANSWER: dict[str, Any] = {"which": "wrong", "kind": "next_step", "length": 1, "shaping": "plain", "weight": 1}


def make(num_envs: int = 2, **changes: Any) -> Tutoring:
    return Tutoring(num_envs, autoreset=False, **{"steps": 2, **SMALL, **changes})


@pytest.mark.parametrize(
    "changes", tiered([{}, {"updates": 1, "succeed": "often", "question_tokens": 5, "kl": 0.1}], [{}])
)
def test_pettingzoos_tests_pass(changes: dict[str, Any]) -> None:
    small = {**SMALL, **changes, "max_cycles": 2}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "(Agents have different|Observations are different)")  # pupils see less
        api_test(tutoring_env(**small), num_cycles=5)
        seed_test(partial(tutoring_env, **small), num_cycles=5)


def test_episodes_are_as_long_as_asked() -> None:
    """PettingZoo's test counts rounds of both agents, so the parallel view steps both."""

    def rounds(max_cycles: int) -> aec_to_parallel_wrapper:
        turns = tutoring_env(max_cycles=max_cycles, **SMALL)
        turns.metadata = {**turns.metadata, "is_parallelizable": True}
        return aec_to_parallel_wrapper(turns)

    max_cycles_test(SimpleNamespace(parallel_env=rounds, env=partial(tutoring_env, **SMALL)))


def test_a_pupil_who_asks_everything_for_nothing_is_feedback() -> None:
    tutoring, feedback = make(question_tokens=0), Feedback(2, autoreset=False, steps=2, **SMALL)
    skills = tutoring.single_action_space.skills  # type: ignore[attr-defined]
    first, same = tutoring.reset(seed=5)[0], feedback.reset(seed=5)[0]
    assert all(np.array_equal(first[name], same[name]) for name in same)
    rng = np.random.default_rng(0)
    for _ in range(2):
        answer = rng.uniform(-1, 1, (2, 15)).astype(np.float32)
        seen, reward, *_ = tutoring.step(np.concatenate([np.ones((2, skills), np.float32), answer], axis=1))
        same, expected, *_ = feedback.step(answer)
        assert np.array_equal(reward, expected)
        assert all(np.array_equal(seen[name], same[name]) for name in same)


def test_a_frozen_pupil_leaves_the_tutor_with_feedback() -> None:
    """The same numbers by turns: the tutor's rewards and what it sees of Feedback's observation."""
    turns, feedback = (
        tutoring_env(max_cycles=2, question_tokens=0, **SMALL),
        Feedback(1, autoreset=False, steps=2, **SMALL),
    )
    turns.reset(seed=6)
    feedback.reset(seed=6)
    answer = feedback.moves.encode(1, fraction=0.5, **ANSWER)
    for _ in range(2):
        turns.step(np.ones(turns.action_space(PUPIL).shape, np.float32))
        turns.step(answer[0])
        same, reward, *_ = feedback.step(answer)
        assert turns.rewards[TUTOR] == pytest.approx(float(reward[0]), abs=1e-12)
        seen = turns.observe(TUTOR)
        assert all(np.array_equal(seen[turns.fields[TUTOR][name]], same[name][0]) for name in same)


def test_who_does_not_ask_gets_no_feedback() -> None:
    envs = make()
    envs.reset(seed=0)
    silent = envs.single_action_space.encode(2, ask=0, fraction=1, **ANSWER)  # type: ignore[attr-defined]
    observation, _, _, _, info = envs.step(silent)
    assert observation["feedback"].max() == 0
    assert observation["questions"].max() == 0
    assert info["cost/teacher/tokens"].tolist() == [0.0, 0.0]


def test_questions_are_paid_for_and_limit_the_answers() -> None:
    envs, free = make(), make(question_tokens=0, question_cost=0)
    action = envs.single_action_space.encode(2, ask=0.5, fraction=1, **{**ANSWER, "which": "random"})  # type: ignore[attr-defined]
    for population in (envs, free):
        population.reset(seed=0)
    observation, reward, _, _, info = envs.step(action)
    share = observation["questions"][:, 0].astype(np.float64)
    assert (share > 0).all()
    gain = (observation["target"] * observation["change"]).sum(1)
    paid = 0.05 * (share + observation["feedback"][:, 0])
    assert reward == pytest.approx(gain - paid, abs=1e-5)
    attempts = info["cost/student_inference/items"]
    asked = share * envs.config.budget / envs.config.question_tokens
    assert (asked <= 0.5 * attempts + 1e-3).all()
    assert free.step(action)[0]["questions"].max() == 0


def test_agents_pay_each_for_itself() -> None:
    turns = tutoring_env(max_cycles=2, **SMALL)
    turns.reset(seed=0)
    turns.step(np.ones(turns.action_space(PUPIL).shape, np.float32))
    assert turns.observe(TUTOR)[turns.fields[TUTOR]["ask"]].tolist() == [1.0] * turns.moves.skills
    turns.step(turns.moves.answers.encode(1, fraction=0.5, **ANSWER)[0])
    seen = {name: turns.observe(TUTOR)[part] for name, part in turns.fields[TUTOR].items()}
    gain = float((seen["target"] * seen["change"]).sum())
    assert turns.rewards[PUPIL] == pytest.approx(gain - 0.05 * float(seen["questions"][0]), abs=1e-5)
    assert turns.rewards[TUTOR] == pytest.approx(gain - 0.05 * float(seen["feedback"][0]), abs=1e-5)


def test_pupils_do_not_see_their_examiners_books() -> None:
    turns = tutoring_env(max_cycles=2, **SMALL)
    assert {"loss", "errors", "target"}.isdisjoint(turns.fields[PUPIL])
    assert set(turns.fields[PUPIL]) < set(turns.fields[TUTOR])


def test_a_limit_truncates_for_both() -> None:
    turns = tutoring_env(max_cycles=3, max_episode_steps=2, **SMALL)
    turns.reset(seed=0)
    seen = []
    for agent in turns.agent_iter():
        _, _, ended, truncated, info = turns.last()
        seen.append((ended, truncated))
        assert all(np.isscalar(value) for value in info.values())
        turns.step(None if truncated else turns.action_space(agent).sample())
    assert seen == [(False, False)] * 4 + [(False, True)] * 2


def test_bad_turns_are_refused() -> None:
    turns = tutoring_env(max_cycles=2, **SMALL)
    with pytest.raises(RuntimeError, match="call reset first"):
        turns.step(np.zeros(6, np.float32))
    turns.reset(seed=0)
    with pytest.raises(ValueError, match="not finite"):
        turns.step(np.full(turns.action_space(PUPIL).shape, np.nan, np.float32))
    with pytest.raises(ValueError, match="in a box"):
        make(actions="discrete")
    with pytest.raises(ValueError, match="0 to 1 is allowed"):
        turns.moves.encode(1, ask=2)


def test_pettingzoos_registry_knows_the_id() -> None:
    made: Any = pettingzoo.make("aec", "kdgym/Tutoring-Math-v0", render_mode="rgb_array", max_cycles=2, **SMALL)
    made.reset(seed=0)
    assert made.agents == [PUPIL, TUTOR]
    assert made.render().shape[2] == 3
