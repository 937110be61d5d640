"""A market sells whole items: what shares of an allowance buy, what it costs, and what is seen of it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import kdgym  # noqa: F401  # registers the environments

STEPS, BUDGET, SOURCES, SKILLS = 3, 192.0, 4, 14
LESSON = int(BUDGET / STEPS)


def make(students: int = 3, **settings: Any) -> tuple[Any, dict[str, np.ndarray]]:
    given = {"steps": STEPS, "budget": BUDGET, "sources": SOURCES, "validation_items": 4, **settings}
    envs: Any = gym.make_vec("kdgym/DataGen-Math-v0", num_envs=students, autoreset=False, **given)
    return envs, envs.reset(seed=0)[0]


def weights(seed: int, students: int = 3) -> np.ndarray:
    """A few sources get nearly everything, so that some buy nothing and some much."""
    return np.random.default_rng(seed).dirichlet(np.full(SKILLS * SOURCES, 0.05), students)


def bought(shares: np.ndarray, allowance: np.ndarray, price: np.ndarray) -> np.ndarray:
    """Whole items for each source's part of the allowance; fewer of all, in proportion, where a lesson has no room for them."""
    items = np.floor(shares * allowance[:, None] / price)
    room = np.minimum(LESSON / np.maximum(items.sum(1, keepdims=True), 1), 1)
    return np.floor(items * room)


def test_shares_buy_whole_items_at_their_prices() -> None:
    envs, observation = make()
    price, space = observation["price"].astype(float), envs.single_action_space
    assert set(np.unique(price)) == {1.0, 1.25, 1.5, 2.0}
    spent, money = np.zeros(3), np.zeros(price.shape)
    for step in range(STEPS):
        action = space.encode(weights(step))
        items = bought(space.decode(action), (BUDGET - spent) / (STEPS - step), price)
        observation, *_, info = envs.step(action)
        assert info["cost/data_engine/items"].tolist() == items.sum(1).tolist()
        assert info["cost/student_training/items"].tolist() == items.sum(1).tolist()
        assert info["cost/data_engine/money"] == pytest.approx((items * price).sum(1))
        money += items * price
        spent += (items * price).sum(1)
        assert observation["source_spend"] == pytest.approx(money / BUDGET, abs=1e-6)
        assert observation["budget"][:, 0] == pytest.approx(1 - spent / BUDGET, abs=1e-6)
        by_skill = money.reshape(3, SKILLS, SOURCES).sum(2)
        assert envs.state["spending_history"].sum(1).numpy() == pytest.approx(by_skill)


def test_a_lesson_has_room_for_so_many_items_whatever_is_left() -> None:
    """An even split buys next to nothing at first, as each part is less than a price; then more is left than fits."""
    envs, observation = make()
    price, space = observation["price"].astype(float), envs.single_action_space
    *_, info = envs.step(space.encode(np.ones(price.shape)))
    left = (BUDGET - info["cost/data_engine/money"]) / (STEPS - 1)
    action = space.encode(np.eye(SKILLS * SOURCES)[price.argmin(1)] + 0.2 * weights(1))
    items = bought(space.decode(action), left, price)
    assert (left > LESSON + 10).all() and (items.sum(1) > LESSON - 8).all()
    *_, info = envs.step(action)
    assert info["cost/data_engine/items"].tolist() == items.sum(1).tolist()
    assert info["cost/data_engine/money"] == pytest.approx((items * price).sum(1))


def test_losses_of_a_source_are_the_last_and_the_mean_and_the_skills_before_any() -> None:
    envs, first = make(students=1)
    assert first["source_loss"] == pytest.approx(first["loss"].repeat(SOURCES, axis=1))
    assert first["source_loss_mean"] == pytest.approx(first["source_loss"])
    space, seen, total, items = envs.single_action_space, [], 0.0, 0.0
    for source in (5, 5, 9):
        observation, *_, info = envs.step(space.encode(np.eye(SKILLS * SOURCES)[[source]]))
        seen.append(observation)
        if source == 5:
            count = float(info["cost/data_engine/items"][0])
            total, items = total + count * float(observation["source_loss"][0, 5]), items + count
    for other in (0, 4, 6, 9):  # not bought yet
        assert (
            seen[1]["source_loss"][0, other] == seen[1]["source_loss_mean"][0, other] == first["source_loss"][0, other]
        )
    assert seen[0]["source_loss"][0, 5] == pytest.approx(seen[0]["source_loss_mean"][0, 5])
    assert seen[1]["source_loss"][0, 5] < seen[0]["source_loss"][0, 5]  # it was practised
    assert seen[1]["source_loss_mean"][0, 5] == pytest.approx(total / items, rel=1e-5)
    assert seen[2]["source_loss"][0, 5] == seen[1]["source_loss"][0, 5]  # what was last seen stays
    assert seen[2]["source_loss"][0, 9] != first["source_loss"][0, 9]


def test_one_item_has_its_own_loss_as_the_mean() -> None:
    """Where the money is for one item; sources that sold none keep the skill's loss."""
    envs, first = make(students=1, budget=1.2, steps=1)
    source = int(first["price"][0].argmin())
    observation, *_, info = envs.step(envs.single_action_space.encode(np.eye(SKILLS * SOURCES)[[source]]))
    assert info["cost/data_engine/items"].tolist() == [1]
    assert observation["source_loss_mean"][0, source] == observation["source_loss"][0, source] > 0
    others = np.arange(SKILLS * SOURCES) != source
    assert np.array_equal(observation["source_loss_mean"][0, others], first["source_loss"][0, others])


def test_what_is_seen_of_sources_has_these_bounds() -> None:
    bounds = {"price": (1, 2), "source_loss": (0, 10), "source_loss_mean": (0, 10), "source_spend": (0, 1)}
    spaces: Any = make()[0].single_observation_space
    for name, (low, high) in bounds.items():
        assert (spaces[name].low == low).all() and (spaces[name].high == high).all()
        assert spaces[name].shape == (SKILLS * SOURCES,)


def test_a_new_episode_begins_with_new_sources_and_nothing_spent() -> None:
    envs, first = make()
    kinds = envs.hidden()["kind"]
    envs.step(envs.single_action_space.encode(weights(0)))
    again, _ = envs.reset()
    assert not np.array_equal(again["price"], first["price"])
    assert not np.array_equal(envs.hidden()["kind"], kinds)
    assert not again["source_spend"].any()
    assert again["source_loss_mean"] == pytest.approx(again["loss"].repeat(SOURCES, axis=1))
    only = np.array([False, True, False])
    envs.step(envs.single_action_space.encode(weights(0)))
    masked, _ = envs.reset(options={"reset_mask": only})
    assert masked["source_spend"].any(1).tolist() == [True, False, True]


def test_students_hold_no_misconceptions_unless_told() -> None:
    envs, _ = make()
    assert envs.hidden()["held"].shape == (3, len(envs.task.misconceptions)) and not envs.hidden()["held"].any()
    told, _ = make(misconceptions=2)
    assert (told.hidden()["held"].sum(1) == 2).all()


@pytest.mark.parametrize("sources", [0, 17])
def test_a_skill_has_one_to_sixteen_sources(sources: int) -> None:
    with pytest.raises(ValueError, match="sources"):
        make(sources=sources)
    assert make(1, sources=16)[1]["price"].shape == (1, 16 * SKILLS)
