"""Teachers that split a budget over skills and sources decide as their papers' rules say, on three skills of two sources."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kdgym.spaces import Shares
from tests.agents.rules import Observation, acts, alike, observed, teacher

SPACE = Shares(6)
NOTHING = float(np.exp(-2 * SPACE.temperature))  # the least share, in terms of the largest
# "carry" builds on "digits", and "column" on "carry" and so on both.
SKILLS = [
    {"name": "digits", "prerequisites": []},
    {"name": "carry", "prerequisites": ["digits"]},
    {"name": "column", "prerequisites": ["carry"]},
]


def seen(**changes: Any) -> Observation:
    """A student that is half good at everything; its goal is the last skill."""
    plain = {"target": [0, 0, 1], "accuracy": [0.5] * 3, "loss": [1.0] * 3, "change": [0.0] * 3}
    sources = {"price": [1.0] * 6, "source_loss": [1.0] * 6, "source_spend": [0.0] * 6}
    return observed(**{**plain, **sources, **changes})


def shares(agent: Any, observation: Observation) -> list[float]:
    """Of the budget, by source."""
    given: list[float] = SPACE.decode(acts(agent, SPACE, observation))[0].tolist()
    return given


def begin(name: str, seed: int = 0, **changes: Any) -> tuple[Any, Observation]:
    """A teacher, and the first observation, which it has seen."""
    observation = seen(**changes)
    return teacher(name, SPACE, observation, {"skills": SKILLS}, seed=seed), observation


def split(weights: list[float]) -> Any:
    """Shares in proportion to the weights of skills, the same for both sources; to compare with."""
    given = np.maximum(np.array(weights).repeat(2), NOTHING * max(weights))
    return pytest.approx((given / given.sum()).tolist(), rel=1e-4)


# Failures are one less accuracy. STAT: a failed problem names its skill, and each below as likely as the student fails there.
DECISIONS = [
    ("uniform", {}, [1, 1, 1]),
    ("weakest_skill", {"accuracy": [0.4, 0.3, 0.5]}, [0, 1, 0]),
    ("weakest_skill", {"accuracy": [0.4, 0.3, 0.3]}, [0, 1, 0]),  # the first of equals
    ("weakest_skill", {"accuracy": [0.4, 0.3, 0.5], "target": [1, 0, 0]}, [0, 1, 0]),  # whatever the goal
    ("target_proportional", {"target": [0.1, 0.3, 0.6]}, [0.1, 0.3, 0.6]),
    ("target_proportional", {"target": [0.1, 0.3, 0.6], "accuracy": [0, 1, 0]}, [0.1, 0.3, 0.6]),
    ("stat", {"accuracy": [0.5, 0.75, 0.2]}, [0.8 * 0.5, 0.8 * 0.25, 0.8]),
    ("stat", {"target": [0, 0.5, 0.5], "accuracy": [0.6, 0.7, 0.2]}, [0.55 * 0.4, 0.15 + 0.4 * 0.3, 0.4]),
    ("stat", {"accuracy": [1, 0, 1]}, [0.01 * 0.01, 0.01, 0.01]),  # no error seen is one of a hundred
    ("stat_errors", {"target": [0, 0.5, 0.5], "accuracy": [0.6, 0.7, 0.2]}, [0, 0.15, 0.4]),
    ("stat_no_state", {"target": [0, 0.5, 0.5], "accuracy": [0.6, 0.7, 0.2]}, [0.25, 0.25 + 0.125, 0.25]),
]


@pytest.mark.parametrize(("name", "changes", "weights"), DECISIONS)
def test_shares(name: str, changes: dict[str, Any], weights: list[float]) -> None:
    agent, observation = begin(name, **changes)
    assert shares(agent, observation) == split(weights)


def test_random_stat_profiles_are_stats_in_another_order_that_stays() -> None:
    of_stat = sorted(shares(*begin("stat", accuracy=[0.5, 0.75, 0.2])))
    orders = set()
    for seed in range(8):
        agent, observation = begin("stat_random", seed, accuracy=[0.5, 0.75, 0.2])
        given = shares(agent, observation)
        assert sorted(given) == pytest.approx(of_stat) and shares(agent, observation) == given
        orders.add(tuple(np.argsort(given)))
    assert len(orders) > 2


def test_random_shares_are_uniform_in_the_box_and_drawn_anew_by_seed() -> None:
    many = alike(seen(), 500)
    agent = teacher("random", SPACE, many, seed=1)
    first, second = acts(agent, SPACE, many), acts(agent, SPACE, many)
    assert first.shape == (500, 6) and not np.array_equal(first, second)
    assert np.array_equal(acts(teacher("random", SPACE, many, seed=1), SPACE, many), first)
    assert not np.array_equal(acts(teacher("random", SPACE, many, seed=2), SPACE, many), first)
    assert np.quantile(first, [0.05, 0.25, 0.5, 0.75, 0.95]) == pytest.approx([-0.9, -0.5, 0, 0.5, 0.9], abs=0.06)


def test_learning_progress_is_a_running_mean_of_changes_both_ways() -> None:
    """A step weighs 0.3, all before it 0.7; a fifth of the shares is uniform, and 0.001 keeps a start from being 0 / 0."""
    agent, first = begin("learning_progress")
    assert shares(agent, first) == split([1, 1, 1])
    steps = [[0.4, 0.0, -0.2], [0.0, 0.1, 0.0]]
    progress = [np.array([0.12, 0, 0.06]), np.array([0.084, 0.03, 0.042])]
    for change, mean in zip(steps, progress, strict=True):
        expected = 0.8 * (mean + 1e-3) / (mean + 1e-3).sum() + 0.2 / 3
        assert shares(agent, seen(change=change)) == split(expected.tolist())
    agent.reset(first)
    assert shares(agent, first) == split([1, 1, 1])


def test_adaptive_source_trusts_less_what_strays_from_the_validation_loss() -> None:
    """By exp(-8 gap), of what was bought alone; gaps add up, and those of a skill's sources are compared."""
    agent, first = begin("adaptive_source", target=[0.5, 0, 0.5])
    assert shares(agent, first) == split([1, 0, 1])
    bought = {"target": [0.5, 0, 0.5], "source_spend": [0.1, 0.1, 0, 0, 0.1, 0]}
    strayed = seen(source_loss=[1.25, 0.875, 1, 1, 1.125, 9.0], **bought)  # the last was not bought
    once = [np.exp(-8 * 0.125), 1, NOTHING, NOTHING, np.exp(-8 * 0.125), 1]
    assert shares(agent, strayed) == pytest.approx((np.array(once) / sum(once)).tolist(), rel=1e-4)
    again = seen(source_loss=[1.25, 9, 9, 9, 1.0, 9], target=[0.5, 0, 0.5], source_spend=[0.2, 0.1, 0, 0, 0.2, 0])
    twice = [np.exp(-8 * 0.375), 1, NOTHING, NOTHING, np.exp(-8 * 0.125), 1]  # one strayed again, one did not
    assert shares(agent, again) == pytest.approx((np.array(twice) / sum(twice)).tolist(), rel=1e-4)
    agent.reset(first)
    assert shares(agent, first) == split([1, 0, 1])


def test_constant_goes_by_targets_and_prices_of_the_first_look() -> None:
    """In proportion to (target + 0.005) ** 1.32 / price ** 0.83."""
    agent, first = begin("constant", target=[0.1, 0.3, 0.6], price=[1, 2, 1, 0.5, 1, 1])
    wanted = np.array([0.105, 0.305, 0.605]).repeat(2) ** 1.32 / np.array([1, 2, 1, 0.5, 1, 1]) ** 0.83
    expected = pytest.approx((wanted / wanted.sum()).tolist(), rel=1e-4)
    assert shares(agent, first) == expected
    assert shares(agent, seen(target=[1, 0, 0], accuracy=[1, 0, 0])) == expected


def test_informed_buys_clean_items_of_the_goal() -> None:
    observation = seen(target=[0.25, 0, 0.75])
    hidden = {"kind": np.array([[0, 1, 0, 2, 3, 0], [1, 0, 3, 0, 0, 2]])}
    given = shares(teacher("informed", SPACE, observation, hidden=hidden), observation)
    expected = np.maximum([0.25, 0, 0, 0, 0, 0.75], NOTHING * 0.75)
    assert given == pytest.approx((expected / expected.sum()).tolist(), rel=1e-4)
