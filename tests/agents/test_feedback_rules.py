"""Teachers that comment on attempts, pupils that ask and tutors that answer decide as the papers they are named after."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kdgym.envs.feedback.tutoring_moves import TutoringMoves
from kdgym.spaces import MixedBox
from kdgym.students.policy_gradient import SHAPINGS
from kdgym.tasks.feedback import KINDS, WHICH
from tests.agents.rules import Observation, alike, decisions, observed, teacher

CHOICES = {"fraction": (), "which": WHICH, "kind": KINDS, "length": (), "shaping": SHAPINGS, "weight": ()}
FEEDBACK, TUTORING = MixedBox(CHOICES), TutoringMoves(3, CHOICES)
SKILLS = ("sum", "product", "difference")


def seen(**changes: Any) -> Observation:
    return observed(**{"success": [0.5] * 3, "loss": [1.0] * 3, **changes})


def in_words(decided: dict[str, Any]) -> dict[str, Any]:
    """Of every choice the option taken, and all amounts."""
    chosen = dict(name.split(": ") for name, value in decided.items() if ": " in name and value == 1)
    amounts = {name: pytest.approx(value, abs=1e-6) for name, value in decided.items() if ": " not in name}
    return {**chosen, **amounts}


def step(fraction: float = 0.25, length: float = 1, shaping: str = "plain", weight: float = 1) -> dict[str, Any]:
    """The right steps from the first wrong one on, to wrong attempts."""
    amounts = {"fraction": fraction, "length": length, "weight": weight}
    return {**amounts, "which": "wrong", "kind": "next_step", "shaping": shaping}


def other(fraction: float, kind: str, shaping: str, which: str = "wrong", **amounts: float) -> dict[str, Any]:
    given = {"length": 0.0, "weight": 1.0, **amounts}
    return {"fraction": fraction, "kind": kind, "shaping": shaping, "which": which, **given}


DECISIONS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("thinktuning", {}, step(shaping="advantage_aware")),
    ("thinktuning", {"success": [1.0] * 3, "time": 0.1}, step(shaping="advantage_aware")),
    ("thinktuning_mask", {}, step(shaping="mask")),
    ("thinktuning_plain", {}, step(shaping="plain")),
    ("thinktuning_ratio", {}, step(shaping="ratio")),
    ("full_solutions", {}, other(0.5, "full_solution", "plain")),
    ("luffy", {}, other(1 / 8, "full_solution", "ratio", which="random")),  # one of eight, whatever it wrote
    ("critique_grpo", {}, other(1 / 8, "mark", "mask", length=1, weight=0)),  # read, and not learned from
    ("learn_to_reason", {}, step(0.5)),
    # One step; its weight goes from 1 to a fifth of that as time goes by.
    ("kdrl", {}, step(0.5, length=0)),
    ("kdrl", {"time": 0.5}, step(0.5, length=0, weight=0.6)),
    ("kdrl", {"time": 0}, step(0.5, length=0, weight=0.2)),
    # Full length for who fails at everything, none from two thirds of success on.
    ("adaptive_hint", {"success": [0, 0, 0]}, step(length=1)),
    ("adaptive_hint", {"success": [0, 0, 1]}, step(length=0.5)),
    ("adaptive_hint", {"success": [0, 1, 1]}, step(fraction=0, length=0)),
    ("adaptive_hint", {"success": [1, 1, 1]}, step(fraction=0, length=0)),
]


@pytest.mark.parametrize(("name", "changes", "expected"), DECISIONS)
def test_feedback(name: str, changes: dict[str, Any], expected: dict[str, Any]) -> None:
    observation = seen(**changes)
    assert expected == in_words(decisions(teacher(name, FEEDBACK, observation), FEEDBACK, observation))


def test_without_feedback_nothing_is_said() -> None:
    assert decisions(teacher("no_feedback", FEEDBACK, seen()), FEEDBACK, seen())["fraction"] == 0


# Which share of each skill's attempts is asked about, and what the tutor does.
LESSONS: list[tuple[str, list[float], list[float]]] = [
    ("always_ask", [0, 0.5, 1], [1, 1, 1]),
    ("ask_unsure", [0, 0.5, 1], [0.5, 0.5, 0]),  # where fewer than two thirds of the attempts are right
    ("ask_unsure", [0.66, 0.67, 0.1], [0.5, 0, 0.5]),
]


@pytest.mark.parametrize(("name", "success", "asked"), LESSONS)
def test_pupils_ask_and_tutors_answer(name: str, success: list[float], asked: list[float]) -> None:
    observation = seen(success=success)
    decided = decisions(teacher(name, TUTORING, observation), TUTORING, observation, SKILLS)
    assert [decided.pop(f"ask about {skill}") for skill in SKILLS] == asked
    assert step() == in_words(decided)


def test_a_pupil_who_never_asks() -> None:
    decided = decisions(teacher("never_ask", TUTORING, seen()), TUTORING, seen(), SKILLS)
    assert [decided[f"ask about {skill}"] for skill in SKILLS] == [0, 0, 0]


def kinds_tried(losses: list[float]) -> list[str]:
    """What the bandit does, step by step, as the student's loss goes this way."""
    agent, tried = teacher("feedback_bandit", FEEDBACK, seen(loss=[losses[0]] * 3)), []
    for loss in losses:
        decided = in_words(decisions(agent, FEEDBACK, seen(loss=[loss + 0.1, loss - 0.1, loss])))
        assert {**step(), "kind": decided["kind"]} == decided
        tried.append(decided["kind"])
    return tried


def test_the_bandit_tries_every_kind_and_then_goes_by_the_upper_confidence_bound() -> None:
    """Mean fall of the loss plus 0.02 sqrt(ln(1 + n) / n of the kind).

    The four kinds brought 0, 0.01, 0.02 and 0.05, so the last is tried again. Now it brings nothing: its bound is
    0.025 + 0.02 sqrt(ln 6 / 2) = 0.0439, that of the third 0.02 + 0.02 sqrt(ln 6) = 0.0468. Where the last brings 0.02, its
    bound is 0.035 + 0.0189 = 0.0539, and it is tried a third time.
    """
    falls = [0, 0.01, 0.02, 0.05]
    losses = [1.0]
    for fall in falls:
        losses.append(losses[-1] - fall)
    assert kinds_tried([*losses, losses[-1]]) == [*KINDS, KINDS[3], KINDS[2]]
    assert kinds_tried([*losses, losses[-1] - 0.02]) == [*KINDS, KINDS[3], KINDS[3]]


def test_every_student_has_a_bandit_of_its_own() -> None:
    """The first kind lowers one student's loss most, the third kind the other's."""
    both = alike(seen(), 2)
    agent = teacher("feedback_bandit", FEEDBACK, both)
    for losses in ([1, 1], [0.5, 0.9], [0.4, 0.8], [0.3, 0.3], [0.2, 0.2]):
        action = agent.act({**both, "loss": np.array(losses, dtype=np.float32).repeat(3).reshape(2, 3)})
    chosen = FEEDBACK.decisions(action)
    assert [chosen[f"kind: {kind}"].tolist() for kind in (KINDS[0], KINDS[2])] == [[1, 0], [0, 1]]


def follows(outcomes: list[list[float]], success: list[float] | None = None) -> list[tuple[str, float]]:
    """Kind and fraction, step by step, of who follows success: after each step, of guided attempts so many end right."""
    agent, taken = teacher("follow_success", FEEDBACK, seen()), []
    for guided in [[0.0] * 3, *outcomes]:
        decided = in_words(decisions(agent, FEEDBACK, seen(guided_success=guided, success=success or [0.5] * 3)))
        assert {"length": 1, "weight": 1, "which": "wrong", "shaping": "plain"}.items() <= decided.items()
        taken.append((decided["kind"], decided["fraction"]))
    return taken


def test_a_kind_is_kept_as_long_as_attempts_end_right_after_it() -> None:
    """On trial it comments on an eighth, trusted on a quarter; a kind that fails gives way to the one longest untried."""
    right, wrong = [1.0] * 3, [0.0] * 3
    assert follows([right, right, wrong, wrong, wrong, right]) == [
        ("next_step", pytest.approx(0.125)),
        ("next_step", pytest.approx(0.25)),
        ("next_step", pytest.approx(0.25)),
        ("prefix", pytest.approx(0.125)),
        ("full_solution", pytest.approx(0.125)),
        ("next_step", pytest.approx(0.125)),
        ("next_step", pytest.approx(0.25)),
    ]


def test_trust_is_by_the_skills_in_which_the_student_fails() -> None:
    """Two thirds have to end right; where every attempt was right, nobody was guided."""
    assert follows([[0.7, 0.7, 0.7]])[1][0] == "next_step"
    assert follows([[0.6, 0.6, 0.6]])[1][0] == "prefix"
    assert follows([[0, 0, 1]], success=[1, 1, 0])[1][0] == "next_step"
    assert follows([[1, 1, 0]], success=[1, 1, 0])[1][0] == "prefix"


def test_a_pupil_asks_about_half_and_its_tutor_follows_success() -> None:
    agent = teacher("ask_trusted", TUTORING, seen())
    first = decisions(agent, TUTORING, seen(guided_success=[0.0] * 3), SKILLS)
    second = decisions(agent, TUTORING, seen(guided_success=[0.0] * 3), SKILLS)
    for decided, kind in ((first, "next_step"), (second, "prefix")):
        assert [decided.pop(f"ask about {skill}") for skill in SKILLS] == [0.5] * 3
        assert in_words(decided) == {**step(fraction=0.125), "kind": kind}


@pytest.mark.parametrize(("wrong", "kind"), [([0, 0, 1, 1], 1), ([0, 1, 0, 1], 2), ([0, 1, 1, 0], 3)])
def test_the_upper_bounds_take_the_kind_that_is_right(wrong: list[int], kind: int) -> None:
    hidden = {"wrong": np.array([wrong])}
    told = decisions(teacher("informed_feedback", FEEDBACK, seen(), hidden=hidden), FEEDBACK, seen())
    assert in_words(told) == {**step(), "kind": KINDS[kind]}
    told = decisions(teacher("informed_tutor", TUTORING, seen(), hidden=hidden), TUTORING, seen(), SKILLS)
    assert [told.pop(f"ask about {skill}") for skill in SKILLS] == [0.5] * 3
    assert in_words(told) == {**step(), "kind": KINDS[kind]}
