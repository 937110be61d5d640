"""DataGen with programs while workers of the sandbox die: a lesson goes on, and its numbers are the same."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import kdgym  # noqa: F401  # registers the environments
from kdgym.sandbox import Failure, Sandbox
from kdgym.tasks import make_task
from kdgym.tasks.code.executions import UNSEEN
from kdgym.tasks.code.task import Code

ID = "kdgym/DataGen-Code-v0"
SMALL: dict[str, Any] = {"steps": 3, "budget": 96.0, "validation_items": 8}


def forget_programs() -> Code:
    """The task, which has to execute everything again, as processes have that start now."""
    task = make_task("Code")
    assert isinstance(task, Code)
    task._executions._table.fill_(UNSEEN)
    task._executions._path.unlink(missing_ok=True)
    return task


def lesson() -> list[np.ndarray]:
    """All numbers of an episode in which every step executes programs."""
    envs: Any = gym.make_vec(ID, num_envs=4, autoreset=False, **SMALL)
    observation, _ = envs.reset(seed=1)
    numbers = [*observation.values()]
    action = np.zeros(envs.action_space.shape, np.float32)
    for _ in range(envs.steps):
        executions = forget_programs()._executions
        before = executions.executed
        observation, reward, *_ = envs.step(action)
        assert executions.executed > before + 100
        numbers += [*observation.values(), reward]
    return [*numbers, envs.examine("test")["right"]]


class Sabotage:
    """Kills workers that have a program before them: they are stopped first, so that it cannot end before the kill.

    Args:
        monkeypatch: undoes it.
        processes: finds the processes of this one.
        when: whether the n-th attempt at a program is disturbed.

    Attributes:
        outcomes: of the disturbed attempts.
    """

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, processes: Callable[[], set[int]], when: Callable[[int], bool]
    ) -> None:
        self.outcomes: list[list[Any] | Failure] = []
        undisturbed, attempts = Sandbox._attempt, 0

        def attempt(sandbox: Sandbox, program: str, inputs: Sequence[Any]) -> list[Any] | Failure:
            nonlocal attempts
            attempts += 1
            if not when(attempts):
                return undisturbed(sandbox, program, inputs)
            outcome: list[Any] | Failure = []
            for _ in range(20):  # a worker may be just about to be replaced, and the kill come to nothing
                undisturbed(sandbox, "def f(x): return x", [])  # after a crash there is no worker until one is needed
                workers = [p for p in processes() if Path(f"/proc/{p}/comm").read_text() == "monty\n"]
                for worker in workers:
                    os.kill(worker, signal.SIGSTOP)
                kill = threading.Timer(0.05, lambda doomed=workers: [os.kill(p, signal.SIGKILL) for p in doomed])
                kill.start()
                outcome = undisturbed(sandbox, program, inputs)
                kill.join()
                if isinstance(outcome, Failure) and outcome.reason == "crash":
                    break
            self.outcomes.append(outcome)
            return outcome

        monkeypatch.setattr(Sandbox, "_attempt", attempt)


@pytest.mark.thorough
def test_workers_killed_in_the_middle_of_a_step_change_no_number(
    monkeypatch: pytest.MonkeyPatch, processes: Callable[[], set[int]]
) -> None:
    undisturbed = lesson()
    sabotage = Sabotage(monkeypatch, processes, lambda attempt: attempt % 150 == 50)
    disturbed = lesson()
    assert len(sabotage.outcomes) >= 5
    assert {o.reason if isinstance(o, Failure) else "none" for o in sabotage.outcomes} == {"crash"}
    for a, b in zip(undisturbed, disturbed, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.thorough
def test_a_program_whose_worker_dies_every_time_is_reported_and_tried_again_later(
    monkeypatch: pytest.MonkeyPatch, processes: Callable[[], set[int]]
) -> None:
    task = forget_programs()
    task.verify(0, task.answer_text(int(task.solution[0])))  # workers have started
    tokens = task.answer[task.solution[0]]
    with monkeypatch.context() as patch:
        sabotage = Sabotage(patch, processes, lambda attempt: True)
        with pytest.warns(RuntimeWarning, match=r"1 of 1 programs were stopped and count as wrong.*crash"):
            assert not task.judge(task.solution.new_zeros(()), tokens)
    assert len(sabotage.outcomes) == 3
    assert task.judge(task.solution.new_zeros(()), tokens)


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:.*:UserWarning:gymnasium")  # how Gymnasium logs what happened in a worker
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_forked_environments_are_refused_clearly_and_spawned_ones_work() -> None:
    task = forget_programs()
    task.verify(0, task.answer_text(0))  # so that the parent has used its sandbox
    action = np.zeros((2, *gym.make(ID, **SMALL).action_space.shape), np.float32)
    for context in ("fork", "spawn"):
        forget_programs()  # so that children have to execute them
        workers = {"context": context, "daemon": True}
        envs = gym.make_vec(ID, num_envs=2, vectorization_mode="async", vector_kwargs=workers, **SMALL)
        if context == "fork":
            with pytest.raises(RuntimeError, match=r"was forked from .* vector_kwargs=\{'context': 'spawn'\}"):
                envs.reset(seed=0)
            envs.close(terminate=True)
        else:
            envs.reset(seed=0)
            _, reward, *_ = envs.step(action)
            assert np.isfinite(reward).all()
            envs.close()
