"""Teachers that set recipes decide as their papers' rules say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kdgym.agents.distill.recipe_search import FIRST, decide
from kdgym.envs.distill.distill import DIALS
from kdgym.spaces import Dials
from tests.agents.rules import Observation, acts, decisions, observed, teacher

SPACE = Dials(DIALS)
NEUTRAL = {name: float(value[0]) for name, value in SPACE.decisions(np.zeros((1, *SPACE.shape), np.float32)).items()}
TRUSTED = {"ce": 0, "forward": 3, "temperature": 1}


def seen(**changes: Any) -> Observation:
    plain = {"agreement": [0.5, 0.6, 0.7, 0.4, 0.3], "label_loss": [1, 2, 3, 4, 5], "peers": [0.9, 0.2, 0.8, 0.3, 0.7]}
    return observed(**{**plain, "loss": 2.45, **changes})


KD = {"ce": 1, "forward": 1, "temperature": 4}
# What each recipe sets; all else is neutral.
RECIPES: list[tuple[str, dict[str, float]]] = [
    ("hard_labels", {}),
    ("plain_kd", KD),
    ("reverse_kd", {"ce": 1, "reverse": 1, "temperature": 4}),
    ("bd_kd", {**KD, "reverse": 1, "by_entropy": 2}),
    ("bd_kd_even", {**KD, "reverse": 1}),
    ("ofa_kd", {"boosted": 1, "exit_1": 1, "exit_2": 1, "boost": 1.5}),
    ("ofa_kd_no_boost", {"boosted": 1, "exit_1": 1, "exit_2": 1}),
    ("mcmi", {**KD, "outspoken": 1}),
    ("mcmi_zero", KD),
    ("lelp", {**KD, "subclasses": 1}),
    ("lelp_none", KD),
    ("lad", {"assisted": 1}),
    ("lad_blind", {"assisted": 1, "assisted_noise": 0.9}),
    ("med_det", {**KD, "adversarial": 0.3}),
    ("med_det_no_critic", KD),
    ("uni_distill", {**KD, "feature": 1, "relation": 0.5}),
    ("uni_distill_response", KD),
    ("scale_kd", {"forward": 0.5, "temperature": 1, "feature": 1, "high_pass": 0.43, "through_teacher": 1}),
    ("scale_kd_no_head", {"forward": 0.5, "temperature": 1, "feature": 1, "high_pass": 0.43}),
    ("trans_kd", {**KD, "embedding": 1, "feature": 1}),
    ("trans_kd_logits", KD),
]


@pytest.mark.parametrize(("name", "recipe"), RECIPES)
@pytest.mark.parametrize("time", [1.0, 0.1])
def test_recipes_are_those_of_their_papers(name: str, recipe: dict[str, float], time: float) -> None:
    observation = seen(time=time)
    found = decisions(teacher(name, SPACE, observation), SPACE, observation)
    assert found == pytest.approx({**NEUTRAL, **recipe}, rel=1e-5, abs=1e-6)


def trusted(agent: Any, observation: Observation) -> list[int]:
    """Whom the first and the second student are to imitate, and that nothing else is done."""
    action = acts(agent, SPACE, observation)
    found = {name: value[0] for name, value in SPACE.decisions(action).items()}
    assert {name: found[name] for name in TRUSTED} == pytest.approx(TRUSTED, rel=1e-5, abs=1e-6)
    shares = np.stack([SPACE.decisions(action)[f"teacher.{i + 1}"] for i in range(5)])
    assert (shares.max(0) > 0.99).all()
    return [int(best) for best in shares.argmax(0)]


@pytest.mark.parametrize("best", range(5))
def test_agreeing_teacher_trusts_whom_the_labels_agree_with(best: int) -> None:
    observation = seen(agreement=np.where(np.arange(5) == best, 0.8, 0.7))
    assert trusted(teacher("agreeing_teacher", SPACE, observation), observation) == [best, 4 - best]


def test_informed_teacher_trusts_all_who_are_good() -> None:
    good = np.array([[0, 1, 0, 0, 0], [1, 0, 0, 1, 0]])
    agent = teacher("informed_teacher", SPACE, seen(), hidden={"good": good})
    agent.attach(type("Environment", (), {"hidden": lambda self: {"good": good}})())
    found = SPACE.decisions(acts(agent, SPACE, seen()))
    for i in range(5):
        assert found[f"teacher.{i + 1}"] == pytest.approx(good[:, i] / good.sum(1), abs=2e-3)


NEAR = {"divergence": [5, 4, 3, 2, 1]}  # the student is nearest to teacher 4


@pytest.mark.parametrize(
    ("losses", "followed"),
    [
        ((2.0,), [{1, 2}, {2}]),  # two teachers, one of whom is right
        ((2.4,), [{1, 2}, {0, 3}]),  # neither is: three may be right
        ((2.0, 2.2), [{1, 2}, {2}, {1}]),  # the first of two is wrong, so the second is right
        ((2.0, 1.7), [{1, 2}, {2}, {2}]),  # the first of two is right
        ((2.0, 1.9), [{1, 2}, {2}, {1}]),  # the loss falls, but by less than a right teacher's student's
        ((2.4, 2.3, 2.0), [{1, 2}, {0, 3}, {4}, {4}]),  # neither of two again: one remains
        ((2.0, 1.4), [{1, 2}, {2}, {4}]),  # a student of a low loss knows itself
    ],
)
def test_probing_teacher_halves_those_who_may_be_right(losses: tuple[float, ...], followed: list[set[int]]) -> None:
    agent = teacher("probing_teacher", SPACE, seen(**NEAR))
    found, before = [halved(agent, seen(**NEAR))], 2.45
    for loss in losses:
        found.append(halved(agent, seen(**NEAR, loss=loss, change=before - loss)))
        before = loss
    assert found == followed


@pytest.mark.parametrize(
    ("loss", "followed"),
    [
        (2.0, {3}),  # one of the two nearest is right, and the labels agree more with 3
        (2.4, {1, 2}),  # neither of the two nearest is right
    ],
)
def test_probing_teacher_takes_those_near_the_student_for_those_it_was_taught_by(
    loss: float, followed: set[int]
) -> None:
    agent = teacher("probing_teacher", SPACE, seen(**NEAR))
    halved(agent, seen(**NEAR))
    changed = seen(**NEAR, label_loss=[1, 2, 3, 4, 6], loss=loss, change=2.45 - loss)
    assert halved(agent, changed) == followed


def halved(agent: Any, observation: Observation) -> set[int]:
    """Whom the first student is to imitate, all alike."""
    found = SPACE.decisions(acts(agent, SPACE, observation))
    shares = np.array([found[f"teacher.{i + 1}"][0] for i in range(5)])
    assert shares[shares > 0.1] == pytest.approx(shares.max(), abs=0.01)
    return {int(i) for i in np.flatnonzero(shares > 0.1)}


def test_searched_recipes_are_constant_and_in_range() -> None:
    rng = np.random.default_rng(0)
    numbers = FIRST + 5 * rng.normal(size=(50, len(FIRST)))
    action = decide(SPACE, {}, numbers)
    assert SPACE.contains(action[0])
    found = SPACE.decisions(action)
    assert (np.abs(action) <= 1).all()
    assert (found["forward"] == 0).any()
    assert found["unlabelled"] == pytest.approx(1 / (1 + np.exp(-numbers[:, -1])), abs=1e-4)
    first = SPACE.decisions(decide(SPACE, {}, FIRST[None]))
    assert {name: float(first[name][0]) for name in ("ce", "forward", "temperature")} == pytest.approx(
        {"ce": 1, "forward": 1, "temperature": 2}, rel=1e-5
    )
