"""Teachers that label decide as their papers' rules say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from kdgym.agents.label._histograms import mixture, scores, two_means
from kdgym.agents.label.label_search import FIRST, decide
from kdgym.agents.label.probing_source import TRUSTED
from kdgym.envs.label.label import BINS, DIALS
from kdgym.spaces import Dials
from tests.agents.rules import Observation, acts, decisions, observed, teacher

SPACE = Dials(DIALS)
NEUTRAL = {name: float(value[0]) for name, value in SPACE.decisions(np.zeros((1, *SPACE.shape), np.float32)).items()}
SOURCES = tuple(name for name in NEUTRAL if name.startswith("source"))
THRESHOLDS = tuple(name for name in NEUTRAL if name.startswith("threshold"))
PEERS = [0.5, 0.7, 0.71, 0.69, 0.4]


def seen(**changes: Any) -> Observation:
    plain = {
        "peers": PEERS,
        "bought_agreement": [0.5, 0.9, 0.8, 0.7, 0.1],
        "confidence": np.full(10 * BINS, 1 / (10 * BINS)),
        "prior": np.full(10, 0.1),
    }
    return observed(**{**plain, "loss": 2.4, **changes})


OWN = {"pool": 2, "own": 1}
# What each recipe sets; all else is neutral.
RECIPES: list[tuple[str, dict[str, float]]] = [
    ("supervised_only", {}),
    ("believe_all", OWN),
    ("fixed_threshold", {**OWN, **dict.fromkeys(THRESHOLDS, 0.9)}),
    ("aligned", {"pool": 3, "own": 1, "soft": 1, "align": 1}),
    ("majority_vote", {"pool": 3, "buy": 1}),
    ("queaco", {"pool": 1, "own": 0.5, "memory": 0.999, "feedback": 0.1}),
    ("queaco_no_feedback", {"pool": 1, "own": 0.5}),
    ("annotate_random", {"buy": 0.3}),
    ("annotate_unsure", {"buy": 0.3, "unsure": 1}),
]


@pytest.mark.parametrize(("name", "recipe"), RECIPES)
@pytest.mark.parametrize("time", [1.0, 0.1])
def test_recipes_are_those_of_their_papers(name: str, recipe: dict[str, float], time: float) -> None:
    observation = seen(time=time)
    found = decisions(teacher(name, SPACE, observation), SPACE, observation)
    assert found == pytest.approx({**NEUTRAL, **recipe}, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("name", "weight"), [("spl", 1), ("spl_merged", 0)])
def test_spl_learns_pairs_first_and_labels_then(name: str, weight: float) -> None:
    agent = teacher(name, SPACE, seen())
    early, late = (decisions(agent, SPACE, seen(time=time)) for time in (0.51, 0.5))
    assert early == pytest.approx({**NEUTRAL, "sublabels": weight}, rel=1e-5, abs=1e-6)
    assert late == pytest.approx({**NEUTRAL, "pool": 1}, rel=1e-5, abs=1e-6)


def histogram(**counts: float) -> np.ndarray:
    """Weights of bins by their number: ``b3=0.2``."""
    found = np.zeros(BINS)
    for name, weight in counts.items():
        found[int(name[1:])] = weight
    return found


TWO = histogram(b2=0.05, b3=0.02, b8=0.01, b9=0.02)


def test_consistent_teacher_believes_from_where_the_upper_gaussian_is_likelier() -> None:
    one = histogram(b4=0.05, b5=0.05)
    sure = np.concatenate([TWO, one, np.zeros(80)])
    found = decisions(teacher("consistent_teacher", SPACE, seen()), SPACE, seen(confidence=sure))
    assert found["threshold_0"] == pytest.approx(0.85)
    assert found["threshold_1"] == pytest.approx(0.55)
    assert {name: found[name] for name in ("pool", "own", "middle", "buy")} == pytest.approx(
        {**OWN, "middle": 0, "buy": 0}
    )


@pytest.mark.parametrize(
    ("name", "middle", "views"), [("hssda", 0.5, 1), ("hssda_one_threshold", 0, 1), ("hssda_one_view", 0.5, 0)]
)
def test_hssda_has_the_centres_of_two_clusters_as_thresholds(name: str, middle: float, views: float) -> None:
    sure = np.concatenate([TWO * 5, TWO * 5, np.zeros(80)])
    found = decisions(teacher(name, SPACE, seen()), SPACE, seen(confidence=sure))
    low, high = (0.05 * 0.25 + 0.02 * 0.35) / 0.07, (0.01 * 0.85 + 0.02 * 0.95) / 0.03
    assert found["threshold_0"] == pytest.approx(high, abs=1e-4)
    assert found["low"] == pytest.approx(low / high, abs=1e-4)
    assert (found["middle"], found["views"]) == pytest.approx((middle, views))


def test_thresholds_of_many_histograms_are_those_of_each() -> None:
    weight = np.random.default_rng(0).random((4, 3, BINS)) * (np.arange(BINS) > 2)
    for rule in (mixture, lambda w: two_means(w)[0], lambda w: two_means(w)[1]):
        together = rule(weight)
        assert together.shape == (4, 3)
        np.testing.assert_allclose(together[2, 1], rule(weight[2, 1]))
        assert ((together >= 0) & (together <= 1)).all()
        assert np.isfinite(rule(np.zeros((2, BINS)))).all()
    assert scores(BINS)[0] == pytest.approx(0.05)


def trusted(action: np.ndarray) -> list[int]:
    """The most trusted source, [-1] where all are trusted alike, or all of those that share the trust."""
    share = SPACE.decode(torch.from_numpy(action))["source"].numpy()
    return [-1] if np.ptp(share) < 1e-6 else np.flatnonzero(share > share.max() - 1e-6).tolist()


def test_bought_labels_elect_sources() -> None:
    agent = teacher("bought_source", SPACE, seen())
    assert [trusted(a) for a in acts(agent, SPACE, seen())] == [[1], [3]]
    assert trusted(acts(agent, SPACE, seen(bought_agreement=[0.5] * 5))[0]) == [-1]
    assert decisions(agent, SPACE, seen())["buy"] == 1


def probed(*steps: dict[str, Any]) -> list[list[int]]:
    """Whom a probing teacher trusts at first, and after each step."""
    agent = teacher("probing_source", SPACE, seen())
    found = []
    for now in ({"bought_agreement": [0.5] * 5}, *steps):
        action = acts(agent, SPACE, seen(**{"own_agreement": [0.5] * 5, "change": 0.0, **now}))[0]
        decided = {
            name: float(value[0]) for name, value in SPACE.decisions(action[None]).items() if name not in SOURCES
        }
        assert decided == pytest.approx({**{n: NEUTRAL[n] for n in decided}, **TRUSTED}, rel=1e-5, abs=1e-6)
        found.append(trusted(action))
    return found


WELL, BADLY = {"loss": 2.0, "change": 0.5}, {"loss": 2.4, "change": 0.1}


def test_probing_tries_two_sources_and_then_the_one_of_them_whom_bought_labels_agree_with() -> None:
    assert probed(WELL, WELL) == [[0, 1], [1], [1]]
    assert probed(WELL, BADLY) == [[0, 1], [1], [0]]


def test_probing_tries_others_after_a_step_that_gained_little() -> None:
    assert probed(BADLY, BADLY) == [[0, 1], [2, 3], [4]]
    assert probed(BADLY, WELL) == [[0, 1], [2, 3], [2]]  # of the two, whom bought labels agree with more


def test_two_sources_have_to_gain_more_than_one() -> None:
    little = {"change": 0.3}  # of 1.7
    assert probed(little)[1] == [2, 3]
    assert probed({"change": 0.5}, little) == [[0, 1], [1], [1]]


def test_probing_asks_the_student_once_its_loss_is_low() -> None:
    agreement = [0.2, 0.3, 0.4, 0.9, 0.1]
    assert probed({**WELL, "loss": 1.2, "own_agreement": agreement})[1] == [3]
    assert probed({**WELL, "loss": 1.4, "own_agreement": agreement})[1] == [1]


def test_probing_begins_again_with_those_the_student_agrees_with_when_others_come() -> None:
    agreement, others = [0.2, 0.3, 0.4, 0.9, 0.1], [0.5, 0.7, 0.71, 0.69, 0.41]
    came = {"own_agreement": agreement, "peers": others}
    assert probed({**WELL, **came})[1] == [2]  # of 2 and 3
    assert probed({**BADLY, **came})[1] == [0, 1]


def test_the_informed_trusts_who_is_good_and_the_expert_where_it_is_right() -> None:
    hidden = {"good": np.array([[0, 0, 1, 0, 0], [0, 1, 0, 0, 1]]), "faulty": np.array([0, 1])}
    action = acts(teacher("informed_source", SPACE, seen(), hidden=hidden), SPACE, seen())
    assert [trusted(a) for a in action] == [[2], [1, 4]]
    assert SPACE.decode(torch.from_numpy(action))["bought"].tolist() == pytest.approx([1, 0])


def test_lookahead_follows_the_trial_that_leaves_the_least_loss() -> None:
    def branch(copies: int) -> Any:
        loss = np.array([[5, 4, 3, 1, 2, 6], [5, 4, 3, 2, 6, 1]])
        assert copies == loss.shape[1]
        return SimpleNamespace(step=lambda moves: ({"loss": loss.reshape(-1, 1)},))

    agent = teacher("label_lookahead", SPACE, seen())
    agent.attach(SimpleNamespace(branch=branch, steps=12))
    assert [trusted(a) for a in acts(agent, SPACE, seen())] == [[3], [-1]]


def test_search_decides_by_its_numbers() -> None:
    said = SPACE.decisions(decide(SPACE, {}, np.stack([FIRST, np.full(11, 50.0), np.full(11, -50.0)])))
    for name in ("given", "bought", "pool"):
        assert said[name][1:] == pytest.approx([10, 0])
    for name in ("own", "soft", "buy", "unsure", "threshold_0", "threshold_9", "feedback"):
        assert said[name][1:] == pytest.approx([1, 0], abs=1e-5)
    assert said["memory"][1:] == pytest.approx([0.999, 0], abs=1e-5)
    assert said["align"][1:] == pytest.approx([1.5, 0], abs=1e-5)
    assert said["feedback"][0] == pytest.approx(0.01, abs=1e-3)
    assert np.ptp([said[name][0] for name in SOURCES]) < 1e-6
