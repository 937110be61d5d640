"""Teachers that select decide as their papers' rules say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from kdgym.agents.select.agreeing_scorer import TRUSTED
from kdgym.agents.select.select_search import FIRST, OTHERS, WEIGHTS, decide
from kdgym.envs.select.select import DIALS
from kdgym.spaces import Dials
from tests.agents.rules import Observation, acts, decisions, observed, teacher

SPACE = Dials(DIALS)
NEUTRAL = {name: float(value[0]) for name, value in SPACE.decisions(np.zeros((1, *SPACE.shape), np.float32)).items()}
SCORERS = tuple(NEUTRAL)[3:9]
LOSSES = [2.0, 1.0, 1.02, 3.0, 4.0, 2.03]


def seen(**changes: Any) -> Observation:
    plain = {
        "loss_mean": LOSSES,
        "student_agreement": [0.1, 0.2, 0.3, 0.6, 0.5, 0.4],
        "accuracy": np.full(10, 0.5),
    }
    return observed(**{**plain, "loss": 2.4, **changes})


HALF = {"keep": 0.5}
# What each recipe sets; all else is neutral.
RECIPES: list[tuple[str, dict[str, float]]] = [
    ("keep_all", {}),
    ("hard_first", {**HALF, "student_loss": 1}),
    ("easy_first", {**HALF, "student_loss": -1}),
    ("mini_plm", {**HALF, "student_loss": 1, "scorer_loss": -1}),
    ("mini_plm_teacher", {**HALF, "scorer_loss": -1}),
    ("kd3", {**HALF, "combined_entropy": -1, "within_class": 0, "labels": 1}),
    ("kd3_scorer", {**HALF, "combined_entropy": -1, "within_class": 0, "labels": 1, "mix": 1}),
    ("impossible_distillation", {**HALF, "scorer_loss": -1, "scorer_entropy": -1, "labels": 1}),
    ("impossible_unfiltered", {"labels": 1}),
    ("peer_scorer", {"scorer_loss": -1, "keep": 1 / 3, "labels": 0.5}),
]


@pytest.mark.parametrize(("name", "recipe"), RECIPES)
@pytest.mark.parametrize("time", [1.0, 0.1])
def test_recipes_are_those_of_their_papers(name: str, recipe: dict[str, float], time: float) -> None:
    observation = seen(time=time)
    found = decisions(teacher(name, SPACE, observation), SPACE, observation)
    assert found == pytest.approx({**NEUTRAL, **recipe}, rel=1e-5, abs=1e-6)


def test_stat_draws_classes_by_what_is_missed() -> None:
    accuracy = np.linspace(0, 1, 10)
    observation = seen(accuracy=accuracy)
    found = decisions(teacher("stat_select", SPACE, observation), SPACE, observation)
    share = np.array([value for name, value in found.items() if name.startswith("classes")])
    wanted = np.maximum(1 - accuracy, 0.01)
    np.testing.assert_allclose(share, wanted / wanted.sum(), rtol=1e-3)
    assert found["keep"] == 1


def trusted(agent: Any, observation: Observation) -> list[int]:
    """Whom both students' recipes trust, -1 where all are trusted alike; the rest of the recipe is `TRUSTED`'s or neutral."""
    found = []
    for action in acts(agent, SPACE, observation):
        share = SPACE.decode(torch.from_numpy(action))["scorer"].numpy()
        said = {name: float(value[0]) for name, value in SPACE.decisions(action[None]).items() if name not in SCORERS}
        recipe = TRUSTED if share.max() > 0.5 else {}
        assert said == pytest.approx({**{name: NEUTRAL[name] for name in said}, **recipe}, rel=1e-5, abs=1e-6)
        found.append(int(share.argmax()) if share.max() > 0.5 else -1)
    return found


def test_agreement_is_asked_once_the_student_has_learned() -> None:
    agent = teacher("agreeing_scorer", SPACE, seen())
    assert [trusted(agent, seen(time=t))[0] for t in (1.0, 0.8)] == [-1, -1]
    assert [trusted(agent, seen(time=t)) for t in (0.75, 0.1)] == [[3, 2]] * 2


def well_taught(time: float) -> float:
    return 0.75 + 1.65 * np.exp((time - 1) / 0.3)


@pytest.mark.parametrize(("excess", "wanted"), [(0.0, [1, 1, 1]), (0.39, [1, 1, 1]), (0.6, [1, 0, 3])])
def test_probing_stays_with_a_scorer_that_keeps_pace_and_else_tries_the_next(excess: float, wanted: list[int]) -> None:
    """Scorers 1 and 2, and 0 and 5, read alike and are judged together."""
    agent = teacher("probing_scorer", SPACE, seen())
    found = []
    for time in (1.0, 0.9, 0.8):
        observation = seen(time=time, loss=well_taught(time) + (excess if time < 1 else 0))
        found.append(trusted(agent, observation)[0])
    assert found == wanted


def test_probing_returns_to_the_least_bad() -> None:
    agent = teacher("probing_scorer", SPACE, seen())
    excess = {1: 0.5, 0: 0.9, 3: 0.9, 4: 0.9}
    at, visits = trusted(agent, seen())[0], []
    for time in (0.9, 0.8, 0.7, 0.6):
        visits.append(at)
        at = trusted(agent, seen(time=time, loss=well_taught(time) + excess[at]))[0]
    assert visits == [1, 0, 3, 4]
    assert at == 1


@pytest.mark.parametrize(("accuracy", "wanted"), [(0.7, [1, 1, 1]), (0.05, [1, 0, 3])])
def test_trying_drops_who_does_not_keep_pace(accuracy: float, wanted: list[int]) -> None:
    agent = teacher("trying_scorer", SPACE, seen())
    found = [trusted(agent, seen(time=time, accuracy=np.full(10, accuracy)))[0] for time in (1.0, 0.8, 0.6)]
    assert found == wanted


def test_trying_begins_again_when_none_is_left() -> None:
    agent = teacher("trying_scorer", SPACE, seen())
    found = [trusted(agent, seen(time=time, accuracy=np.zeros(10)))[0] for time in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)]
    assert found == [1, 0, 3, 4, 1, 0]


def test_the_informed_trusts_who_is_good() -> None:
    hidden = {"good": np.array([[0, 0, 1, 0, 0, 0], [0, 1, 0, 0, 0, 0]])}
    assert trusted(teacher("informed_scorer", SPACE, seen(), hidden=hidden), seen()) == [2, 1]


def test_lookahead_follows_the_trial_that_leaves_the_least_loss() -> None:
    def branch(copies: int) -> Any:
        loss = np.tile([5, 4, 3, 1, 2, 6, 7], (2, 1)) if copies == 7 else None
        assert loss is not None
        loss[1] = [5, 4, 3, 2, 1, 6, 7]
        return SimpleNamespace(step=lambda moves: ({"loss": loss.reshape(-1, 1)},))

    agent = teacher("select_lookahead", SPACE, seen())
    agent.attach(SimpleNamespace(branch=branch, steps=8))
    assert trusted(agent, seen()) == [3, 4]


def test_search_decides_by_its_numbers() -> None:
    found = decide(SPACE, {}, np.stack([FIRST, np.full(10, 50.0), np.full(10, -50.0)]))
    said = SPACE.decisions(found)
    for name, wanted in {**dict.fromkeys(WEIGHTS, (0, 2, -2)), **dict.fromkeys(OTHERS, (None, 1, 0))}.items():
        low = 0.05 if name == "keep" else wanted[2]
        assert said[name][1:] == pytest.approx([wanted[1], low], abs=1e-5)
    assert said["keep"][0] > 0.85
    assert said["labels"][0] < 0.15
