"""The executable contract of a teacher environment: `check` runs it on any id, ours or yours."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from kdgym.core import SingleEnv, StudentSnapshot
from kdgym.tasks import SPLITS, Split, Task

__all__ = ["ContractError", "check", "check_splits", "find_twins"]

_STEPS = 3
_SHOWN = 5  # twins that an error tells


class ContractError(AssertionError):
    """An environment breaks the contract; the message says which rule, and how."""


def check(env_id: str, **settings: Any) -> None:
    """Check an environment id against the whole contract; takes seconds for tiny students.

    Both standard checkers without a warning; equal seeds equal and unequal seeds unequal; snapshot, disk and branch
    bitwise; the ledger adds up; the budget ends the episode; bad actions are refused; splits are disjoint; the population
    agrees with the single view.

    Args:
        env_id: a registered id whose environment derives from `kdgym.core.PopulationEnv`; episodes have at least 6 steps.
        settings: passed to the environment.

    Raises:
        ContractError: a rule is broken.
    """

    def make() -> SingleEnv:
        env = gym.make(env_id, **settings).unwrapped
        if not isinstance(env, SingleEnv):
            raise ContractError(f"{env_id} makes a {type(env).__name__}, which is not a kdgym.core.SingleEnv.")
        return env

    env = make()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings(
            "ignore", r".*( is out of date\.|\. Closed: )", DeprecationWarning
        )  # it makes another one
        gymnasium_check_env(env, skip_render_check=True)
        if isinstance(env.action_space, Box):  # text is not for Stable-Baselines3
            sb3_check_env(env)
    _check_seeds(make(), make())
    _check_snapshot(make())
    _check_budget_and_ledger(make())
    _check_bad_actions(make())
    _check_vector(env_id, settings)
    task = getattr(env.students, "task", None)
    if task is not None:
        check_splits(task)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ContractError(message)


def _same(a: Any, b: Any) -> bool:
    """Bitwise equality of nested observations, rewards and infos."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return bool(np.array_equal(np.asarray(a), np.asarray(b)))


def _close(a: Any, b: Any) -> bool:
    """Equality of two students' observations to rounding, as populations of different sizes may differ by that."""
    if isinstance(a, dict):
        return all(np.allclose(a[key], b[key], atol=1e-2) for key in a)
    return bool(a == b)


def _actions(env: SingleEnv, n: int, seed: int = 0) -> list[Any]:
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(n)]


def _roll(env: SingleEnv, actions: list[Any]) -> list[tuple[Any, ...]]:
    return [env.step(action) for action in actions]


def _equal_steps(a: list[tuple[Any, ...]], b: list[tuple[Any, ...]]) -> bool:
    return len(a) == len(b) and all(_same(x, y) for i, j in zip(a, b, strict=True) for x, y in zip(i, j, strict=True))


def _check_seeds(one: SingleEnv, two: SingleEnv) -> None:
    actions = _actions(one, _STEPS)
    first, second = one.reset(seed=7), two.reset(seed=7)
    _require(_same(first[0], second[0]), "Two resets with one seed give different observations.")
    _require(
        _equal_steps(_roll(one, actions), _roll(two, actions)), "Two episodes of one seed and equal actions differ."
    )
    _require(
        not _same(one.reset(seed=8)[0], second[0]), "Two different seeds give one observation; is the seed ignored?"
    )
    next_episode = one.reset()[0]
    _require(not _same(next_episode, one.reset(seed=8)[0]), "reset() without a seed repeats the episode.")


def _check_snapshot(env: SingleEnv) -> None:
    env.reset(seed=1)
    before, after = _actions(env, _STEPS), _actions(env, _STEPS, seed=1)
    start = env.snapshot()
    _roll(env, before)
    snapshot = env.snapshot()
    expected = _roll(env, after)
    env.restore(snapshot)
    _require(_equal_steps(_roll(env, after), expected), "After restore the same actions lead elsewhere.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.safetensors"
        snapshot.save(path)
        env.restore(StudentSnapshot.load(path))
    _require(_equal_steps(_roll(env, after), expected), "After restoring from disk the same actions lead elsewhere.")
    env.restore(start)  # later on, an earlier decision may have left nothing to decide
    branches = env.branch(2)
    observation, *_ = branches.step(np.stack([np.asarray(after[0]), np.asarray(before[0])]))
    own = branches.row(observation, 0)
    _require(
        _close(own, _roll(env, after[:1])[0][0]), "The first of two branches does not go where the student itself goes."
    )
    states = [branches.snapshot(i).rows for i in range(2)]  # a weak student may look alike, and is not
    equal = all(bool((a == b).all()) for a, b in zip(*states, strict=True))
    _require(not equal, "Two branches that were taught differently stay equal.")


def _check_budget_and_ledger(env: SingleEnv) -> None:
    _, info = env.reset(seed=2)
    infos: list[Any] = [info]
    observation: Any = {}
    steps = env.students.steps
    for _ in range(steps):
        observation, _, terminated, truncated, info = env.step(env.action_space.sample())
        infos.append(info)
        if terminated or truncated:
            break
    _require(
        terminated and not truncated,
        f"The episode does not terminate by itself in its {steps} steps; truncation is for outside limits.",
    )
    _require(infos[0].keys() == info.keys(), "Infos have other keys at resets than at steps.")
    odd = [key for key, value in info.items() if isinstance(value, dict) or hasattr(dict, key)]
    _require(not odd, f"Infos are flat, and none of their keys is a method of dictionaries; see {odd}.")
    for actor, units in env.ledger().items():
        for unit, total in units.items():
            parts = sum(info[f"cost/{actor}/{unit}"] for info in infos)
            _require(
                np.isclose(parts, total, rtol=1e-9), f"The costs of {actor} in {unit} sum to {parts}, not to {total}."
            )
    left = observation.get("budget") if isinstance(observation, dict) else None
    _require(left is None or 0 <= float(left[0]) <= 1, f"The budget left at the end is {left}.")
    try:
        env.step(env.action_space.sample())
    except RuntimeError:
        return
    raise ContractError("step after the end of an episode is accepted.")


def _check_bad_actions(env: SingleEnv) -> None:
    env.reset(seed=3)
    good = env.action_space.sample()
    snapshot = env.snapshot()
    if not isinstance(env.action_space, Box):
        return  # whatever a teacher writes is an action; what cannot be used is refused in info
    bad = {
        "NaN": np.full_like(good, np.nan),
        "infinity": np.full_like(good, np.inf),
        "a wrong shape": good[:-1],
        "a value outside the box": good + 10,
    }
    for name, action in bad.items():
        try:
            env.step(action)
        except ValueError:
            unharmed = env.snapshot()
            same = all(bool((a == b).all()) for a, b in zip(unharmed.rows, snapshot.rows, strict=True))
            _require(same, f"An action with {name} was refused, but changed the student.")
        else:
            raise ContractError(f"An action with {name} is accepted.")


def _check_vector(env_id: str, settings: dict[str, Any]) -> None:
    envs: Any = gym.make_vec(env_id, num_envs=3, **settings)
    _require(
        envs.metadata.get("autoreset_mode") is AutoresetMode.SAME_STEP, "The population does not declare SAME_STEP."
    )
    observation, _ = envs.reset(seed=5)
    for i in range(3):
        single, _ = gym.make(env_id, **settings).reset(seed=5 + i)
        close = _close(envs.row(observation, i), single)
        _require(close, f"Student {i} of a population with seed 5 is not the single student with seed {5 + i}.")
    keys = getattr(envs.single_observation_space, "spaces", {}).keys()
    _require(not keys or observation.keys() == keys, "Observation and space have other keys.")
    _require(envs.observation_space.contains(observation), "The population's first observation is outside its space.")


def _picture(task: Any, problem: int) -> bytes:
    return task.scenes[task.scene[problem]].numpy().tobytes() if task.scenes is not None else b""


def find_twins(task: Task) -> npt.NDArray[np.int64]:
    """Held-out problems that have a twin (see `Task.forms`) in another split, and one such twin each: int64 [n, 2].

    A test problem's twin is in train or validation, in train if there is one; a validation problem's twin is in train.

    Raises:
        ContractError: the task's forms are no table of numbers, a row a problem, or a problem has none.
    """
    forms = np.asarray(task.forms())
    table = forms.ndim == 2 and len(forms) == len(task.solution) and forms.dtype == np.int64
    _require(
        table and bool((forms >= 0).any(1).all()),
        f"forms() of {task.name} is no int64 [P, F] with a form in every row.",
    )
    problems = [_problems(task, split) for split in SPLITS]
    problem, split = np.concatenate(problems), np.repeat(range(len(SPLITS)), [len(ids) for ids in problems])
    row, column = np.nonzero(forms[problem] >= 0)
    form, owner = forms[problem[row], column], row  # rows are ordered by split, and so is the first row of every form
    _, first, which = np.unique(form, return_index=True, return_inverse=True)
    twin = owner[first[which]]
    leaks = split[twin] < split[owner]
    found, at = np.unique(owner[leaks], return_index=True)
    return np.stack([problem[found], problem[twin[leaks][at]]], axis=1)


def _problems(task: Task, split: Split) -> npt.NDArray[np.int64]:
    pool = task.pool(split)
    ranges = zip(pool.start.tolist(), pool.count.tolist(), strict=True)
    return np.concatenate([np.arange(start, start + count) for start, count in ranges])


def check_splits(task: Task) -> None:
    """Check that no problem of one split has a twin in another, and that the verifier accepts the solution.

    Twins are problems that share a canonical form (`Task.forms`); all problems are compared. Forms may be wrong, so texts
    (with their pictures, if any) of up to 200 problems a skill and split are compared as well.

    Raises:
        ContractError: a rule is broken; it says how many twins there are, and which the first ones are.
    """
    items: dict[tuple[str, bytes], str] = {}
    for split in SPLITS:
        pool = task.pool(split)
        for start, count in zip(pool.start.tolist(), pool.count.tolist(), strict=True):
            for problem in range(start, start + count, max(1, count // 200)):
                text = task.text(problem)
                item = text, _picture(task, problem)
                _require(items.setdefault(item, split) == split, f"{text!r} is in {items[item]} and in {split}.")
                solution = task.answer_text(int(task.solution[problem]))
                _require(task.verify(problem, solution), f"The verifier refuses the solution {solution!r} of {text!r}.")
    twins = find_twins(task)
    shown = "; ".join(f"{task.text(held)!r} and {task.text(twin)!r}" for held, twin in twins[:_SHOWN].tolist())
    _require(not len(twins), f"{len(twins)} held-out problems of {task.name} have twins in another split: {shown}.")
