"""Control tasks: the dynamics are Gymnasium's, the expert can do them."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from kdgym import random
from kdgym.tasks.control import CONTROLS, PointMaze, make_control

CLASSIC = [name for name, kind in CONTROLS.items() if kind.gymnasium_id]


def starts(name: str, number: int) -> Tensor:
    control = make_control(name)
    return control.start(random.uniform(torch.arange(number), control.state_size))


@pytest.mark.parametrize("name", CLASSIC)
@pytest.mark.parametrize("expertly", [False, True])
def test_every_step_is_gymnasiums(name: str, expertly: bool) -> None:
    """Same state and action, same next state, reward and end, all along trajectories of chance and of the expert."""
    control, rng = make_control(name), np.random.default_rng(0)
    for start in starts(name, 3):
        env, state = gym.make(control.gymnasium_id).unwrapped, start
        env.reset(seed=0)
        env.state = start.numpy().copy()  # type: ignore[attr-defined]
        for _ in range(control.limit):
            action = control.expert(state) if expertly else torch.tensor(int(rng.integers(control.actions)))
            after, reward, terminated = control.step(state, action)
            given = np.array([float(action) - 2]) if name == "Pendulum" else int(action)
            _, theirs, ended, *_ = env.step(given)
            inner = np.asarray(env.state)  # type: ignore[attr-defined]
            np.testing.assert_allclose(after.numpy(), inner, rtol=0, atol=1e-7)
            np.testing.assert_allclose(float(reward), theirs, rtol=0, atol=1e-9)
            assert bool(terminated) == ended
            state = torch.from_numpy(inner.astype(np.float64))  # chaos must not hide behind a tolerance
            if ended:
                break


@pytest.mark.parametrize("name", CLASSIC)
def test_starts_are_as_wide_as_gymnasiums(name: str) -> None:
    control = make_control(name)
    env = gym.make(control.gymnasium_id).unwrapped
    theirs = []
    for seed in range(300):
        env.reset(seed=seed)
        theirs.append(np.asarray(env.state))  # type: ignore[attr-defined]
    ours, other = starts(name, 3000).numpy(), np.array(theirs)
    width = np.maximum(np.ptp(ours, axis=0), 1e-9)
    assert (other.min(0) >= ours.min(0) - 0.01 * width).all() and (other.max(0) <= ours.max(0) + 0.01 * width).all()
    assert (np.ptp(other, axis=0) >= 0.95 * np.ptp(ours, axis=0)).all()


@pytest.mark.parametrize("name", CONTROLS)
def test_the_expert_succeeds_from_ordinary_starts_and_chance_does_worse(name: str) -> None:
    control, scores = make_control(name), []
    for expertly in (True, False):
        state = starts(name, 64)
        alive, total = torch.ones(64, dtype=torch.bool), torch.zeros(64, dtype=torch.float64)
        for step in range(control.limit):
            chance = random.integers(random.fold(torch.arange(64), step), 1, control.actions).squeeze(1)
            after, reward, terminated = control.step(state, control.expert(state) if expertly else chance)
            state = torch.where(alive.unsqueeze(1), after, state)
            total += reward * alive
            alive &= ~terminated
        scores.append(float(control.score(total).mean()))
    assert scores[0] > 0.75 and scores[1] < 0.35


@pytest.mark.parametrize("name", CONTROLS)
def test_a_step_of_many_is_the_step_of_each(name: str) -> None:
    control, state = make_control(name), starts(name, 12)
    action = torch.arange(12) % control.actions
    together = control.step(state.view(3, 4, -1), action.view(3, 4))
    for i in range(12):
        for ours, alone in zip(together, control.step(state[i], action[i]), strict=True):
            torch.testing.assert_close(ours.flatten(0, 1)[i], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CONTROLS)
def test_students_see_numbers_of_order_one(name: str) -> None:
    control, state = make_control(name), starts(name, 32)
    for step in range(control.limit):
        action = random.integers(random.fold(torch.arange(32), step), 1, control.actions).squeeze(1)
        seen = control.observe(state)
        assert seen.dtype == torch.float32 and seen.shape == (32, control.observation_size)
        assert seen.abs().max() < 10
        after, _, terminated = control.step(state, action)
        state = torch.where(terminated.unsqueeze(1), state, after)


def test_the_ball_never_enters_a_wall_and_arrives_only_in_the_goal() -> None:
    maze = PointMaze()
    state = starts("PointMaze", 64)
    for step in range(400):
        action = random.integers(random.fold(torch.arange(64), step // 7), 1, maze.actions).squeeze(1)
        state, reward, terminated = maze.step(state, action)
        column, row = state[:, 0].long(), state[:, 1].long()
        assert not maze.wall[row, column].any()
        in_goal = (column == maze.goal[0]) & (row == maze.goal[1])
        assert bool((terminated == in_goal).all()) and bool((reward == in_goal).all())


def test_an_unknown_task_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'Tennis'.*CartPole, MountainCar"):
        make_control("Tennis")
