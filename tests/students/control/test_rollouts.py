"""Practice and examinations of actor-critics, on a walk short enough to compute everything by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from torch import Tensor

from kdgym.students.control.actor_critic import ActorCritics, PPOConfig, RolloutBatch
from kdgym.students.control.rollouts import Episodes, EpisodeStats, StartRule, examine, new_episodes, practise
from kdgym.tasks.control import Control, Outcome
from kdgym.tasks.snapshots import Trajectories

DISCOUNT, LAMBDA, VALUE, STEPS, HIDDEN = 0.5, 0.5, 2.0, 6, 4
ACTOR = (1 + 1) * HIDDEN + (HIDDEN + 1) * HIDDEN + (HIDDEN + 1) * 2  # weights of one observation and two actions
KEY = torch.tensor([3])


class Walk(Control):
    """A state is a number; a step adds 1 and ends the episode at 4. Students learn from the new number, half of the reward."""

    name, state_size, observation_size, actions, limit = "Walk", 1, 1, 2, 3
    discount, reward_scale, floor, ceiling = DISCOUNT, 0.5, 0.0, 18.0

    def start(self, noise: Tensor) -> Tensor:
        return torch.zeros_like(noise)

    def step(self, state: Tensor, action: Tensor) -> Outcome:
        after = state + 1
        return after, 2 * after[..., 0], after[..., 0] >= 4

    def observe(self, state: Tensor) -> Tensor:
        return state.float()

    def expert(self, state: Tensor) -> Tensor:
        return torch.zeros_like(state[..., 0], dtype=torch.int64)


# Two clusters of snapshots: states 1 and 1.5, and state 3.
STORE = Trajectories(
    state=torch.tensor([[1.0], [1.5], [3.0]], dtype=torch.float64),
    value=torch.zeros(3, dtype=torch.float64),
    cluster=torch.tensor([0, 0, 1]),
    size=torch.tensor([2, 1]),
    steps=0,
)
ORDINARY = StartRule(torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64), torch.tensor([3]))


def make(seed: int = 0) -> tuple[ActorCritics, Tensor]:
    students = ActorCritics(1, 2, HIDDEN, PPOConfig(gae_lambda=LAMBDA))
    state = students.initialise(KEY + seed)
    state[:, : students.weights] = torch.randn(1, students.weights, generator=torch.Generator().manual_seed(seed))
    return students, state


def practice(students: ActorCritics, state: Tensor) -> tuple[RolloutBatch, Episodes, EpisodeStats]:
    """Six steps of two episodes: one from state 2, ended by the walk; one from state 0, cut after two steps."""
    under_way = Episodes(
        state=torch.tensor([[[2.0], [0.0]]], dtype=torch.float64),
        origin=torch.tensor([[1, 0]]),
        limit=torch.tensor([[9, 2]]),
        elapsed=torch.zeros(1, 2, dtype=torch.int64),
        total=torch.zeros(1, 2, dtype=torch.float64),
    )
    return practise(students, Walk(), STORE, state, ORDINARY, under_way, KEY, STEPS)


# What then happens, episode by episode, as later ones start from state 0 and are cut after three steps.
BEFORE = np.array([[2, 3, 0, 1, 2, 0], [0, 1, 0, 1, 2, 0]])
TERMINATED = np.array([[0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], dtype=bool)
TRUNCATED = np.array([[0, 0, 0, 0, 1, 0], [0, 1, 0, 0, 1, 0]], dtype=bool)


def by_episode(steps: Tensor) -> np.ndarray[Any, Any]:
    """Of one student, in the order of time, [1, T * 2] -> [2, T]."""
    return steps[0].reshape(STEPS, 2).T.numpy()


def test_advantages_by_hand() -> None:
    """A critic that says 2 everywhere; discount and lambda a half, so what follows counts by a quarter.

    The TD errors of the first episode are 3 + 1 - 2 = 2 and, as nothing follows the end, 4 - 2 = 2; then 0, 1 and, as the
    episode is cut and would have gone on, 3 + 1 - 2 = 2; then 0. Neither end lets anything through.
    """
    students, state = make()
    state[:, : students.weights] = 0
    state[:, students.weights - 1] = VALUE  # the last bias of the critic
    batch, *_ = practice(students, state)
    expected = [[2 + 2 / 4, 2, 0 + 1.5 / 4, 1 + 2 / 4, 2, 0], [0 + 1 / 4, 1, 0 + 1.5 / 4, 1 + 2 / 4, 2, 0]]
    assert by_episode(batch.observation.squeeze(2)).tolist() == BEFORE.tolist()
    assert by_episode(batch.advantage).tolist() == expected
    assert by_episode(batch.target).tolist() == (np.array(expected) + VALUE).tolist()


@pytest.mark.parametrize("seed", range(3))
def test_advantages_are_those_of_stable_baselines3(seed: int) -> None:
    """Which adds what a cut episode would still have brought to its last reward."""
    students, state = make(seed)
    batch, *_ = practice(students, state)

    def value(position: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return students.values(state, torch.from_numpy(position).float().view(1, -1, 1))[0].numpy()

    buffer = RolloutBuffer(
        STEPS, spaces.Box(0, 9, (1,)), spaces.Discrete(2), gae_lambda=LAMBDA, gamma=DISCOUNT, n_envs=2
    )
    done = TERMINATED | TRUNCATED
    for t in range(STEPS):
        before, starts = BEFORE[:, t], done[:, t - 1] if t else np.ones(2, dtype=bool)
        reward = before + 1 + DISCOUNT * value(before + 1) * TRUNCATED[:, t]
        buffer.add(before[:, None], np.zeros(2), reward, starts, torch.from_numpy(value(before)), torch.zeros(2))
    buffer.compute_returns_and_advantage(torch.from_numpy(value(BEFORE[:, -1] + 1)), np.zeros(2))
    np.testing.assert_allclose(by_episode(batch.advantage), buffer.advantages.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(by_episode(batch.target), buffer.returns.T, rtol=1e-5, atol=1e-5)


def test_what_happened_is_counted_by_where_episodes_started() -> None:
    """Returns: 3 + 4 / 2 from cluster 1; 1 + 2 / 2 from cluster 0; twice 1 + 2 / 2 + 3 / 4 from ordinary starts."""
    students, state = make()
    batch, episodes, stats = practice(students, state)
    assert stats.steps.tolist() == [[2, 2, 8]]
    assert stats.ended.tolist() == [[1, 1, 2]]
    assert stats.total.tolist() == [[2, 5, 5.5]]
    assert stats.succeeded.tolist() == [[0, 1, 0]]  # it got to 4
    error = batch.advantage.abs()[0].double()
    origin = torch.tensor([[1, 0]] * 2 + [[2, 2]] * 4).flatten()
    torch.testing.assert_close(stats.error, torch.stack([error[origin == c].sum() for c in range(3)])[None])
    assert episodes.state.tolist() == [[[1.0], [1.0]]] and episodes.elapsed.tolist() == [[1, 1]]
    assert episodes.total.tolist() == [[1.0, 1.0]]
    assert episodes.origin.tolist() == [[2, 2]] and episodes.limit.tolist() == [[3, 3]]


def test_tallies_add_up_and_can_be_of_some_students() -> None:
    students, state = make()
    *_, stats = practice(students, state)
    assert (stats + stats).total.tolist() == [[4, 10, 11]]
    assert (EpisodeStats.nothing(stats.steps) + stats).ended.tolist() == stats.ended.tolist()
    assert stats.only(torch.tensor([False])).steps.tolist() == [[0, 0, 0]]


def test_actions_are_drawn_as_the_policy_says() -> None:
    """One bias of the actor is log 3 ahead of the other: three of four."""
    students, state = make()
    state[:, : students.weights] = 0
    state[:, ACTOR - 1] = np.log(3)
    under_way = new_episodes(Walk(), STORE, ORDINARY, KEY, 500)
    batch, *_ = practise(students, Walk(), STORE, state, ORDINARY, under_way, KEY, 8)
    assert float(batch.action.double().mean()) == pytest.approx(0.75, abs=0.03)
    torch.testing.assert_close(batch.log_p.exp(), torch.where(batch.action == 1, 0.75, 0.25))


def test_starts_are_drawn_by_the_rule() -> None:
    rule = StartRule(torch.tensor([[0.5, 0.2, 0.3], [0.0, 1.0, 0.0]], dtype=torch.float64), torch.tensor([2, 7]))
    episodes = new_episodes(Walk(), STORE, rule, torch.tensor([0, 1]), 4000)
    share = torch.nn.functional.one_hot(episodes.origin, 3).double().mean(1)
    torch.testing.assert_close(share, rule.share, rtol=0, atol=0.03)
    for origin, states in ((0, {1.0, 1.5}), (1, {3.0}), (2, {0.0})):
        assert set(episodes.state[0, episodes.origin[0] == origin].flatten().tolist()) == states
    assert set(episodes.limit[0, episodes.origin[0] < 2].tolist()) == {2}
    assert set(episodes.limit[0, episodes.origin[0] == 2].tolist()) == {3}  # ordinary starts are not cut short
    assert set(episodes.limit[1].tolist()) == {3}  # nor is an episode longer than the task allows
    assert not episodes.elapsed.any() and not episodes.total.any()


class Staircase(Walk):
    """Action 0 stays, action 1 goes on."""

    def step(self, state: Tensor, action: Tensor) -> Outcome:
        after = state + action.unsqueeze(-1)
        return after, 2 * after[..., 0], after[..., 0] >= 4


def test_examinations_by_hand() -> None:
    """A greedy student that prefers to go on always does.

    From 2 it is paid 2 (3 + 4) and arrives; from 0, 2 (1 + 2 + 3) and is cut; from 1, 2 (2 + 3 + 4), at the limit.
    """
    students, state = make()
    state[:, : students.weights] = 0
    state[:, ACTOR - 1] = 0.1
    starts = torch.tensor([[[2.0], [0.0], [1.0]]], dtype=torch.float64)
    total, succeeded, steps = examine(students, Staircase(), state, starts)
    assert total.tolist() == [[14, 12, 18]]
    assert succeeded.tolist() == [[True, False, True]]
    assert steps.tolist() == [8]
