"""What a caller may give a population, checked in one place, so that every kind of population accepts and refuses the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

MOST_STUDENTS = 2**20


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether a value is an integer, of Python's or NumPy's, and no bool."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def checked_number(num_envs: Any) -> int:
    """The number of students of a population.

    Raises:
        ValueError: it is none from 1 to `MOST_STUDENTS`.
    """
    if not is_whole(num_envs) or not 1 <= num_envs <= MOST_STUDENTS:
        raise ValueError(
            f"num_envs is {_shown(num_envs)}; a population has at least 1 student, and at most {MOST_STUDENTS}."
        )
    return int(num_envs)


def checked_length(max_episode_steps: Any) -> int | None:
    """The number of steps after which episodes are truncated, or None.

    Raises:
        ValueError: it is no whole number from 1.
    """
    if max_episode_steps is None:
        return None
    if not is_whole(max_episode_steps) or not 1 <= max_episode_steps < 2**62:
        raise ValueError(
            f"max_episode_steps is {_shown(max_episode_steps)}; give a whole number from 1, or None for no limit."
        )
    return int(max_episode_steps)


def _shown(value: Any) -> str:
    """A value that somebody gave, for an error."""
    return repr(value)[:100]


def as_array(actions: Any) -> npt.NDArray[Any]:
    """Actions as an array of any shape and dtype.

    Raises:
        ValueError: they make none.
    """
    if getattr(actions, "requires_grad", False):
        raise ValueError("The actions are a tensor that needs a gradient, which ends here; give actions.detach().")
    try:
        return np.asarray(actions)
    except (TypeError, ValueError, RuntimeError) as error:  # of ragged lists; of tensors on other devices
        reason = str(error).partition(". ")[0].rstrip(".")
        raise ValueError(f"The actions are no array of numbers ({reason}); give a NumPy array.") from error


def checked_actions(actions: Any, num_envs: int, space: spaces.Space[Any]) -> npt.NDArray[np.float32]:
    """Actions [S, ...] of S students, as float32.

    Raises:
        ValueError: they have the wrong shape or dtype, are not finite, or leave the action space of one student.
    """
    assert isinstance(space, spaces.Box)
    given, expected = as_array(actions), (num_envs, *space.shape)
    if given.shape != expected:
        raise ValueError(f"The actions have shape {given.shape}; this population takes {expected}.")
    if not np.issubdtype(given.dtype, np.number) or np.iscomplexobj(given):
        raise ValueError(f"The actions have dtype {given.dtype}; give real numbers.")
    if not np.isfinite(given).all():
        raise ValueError(
            f"The action of student {int(np.argwhere(~np.isfinite(given))[0][0])} is not finite (NaN or inf)."
        )
    outside = ((given < space.low) | (given > space.high)).reshape(num_envs, -1).any(1)
    if outside.any():
        i = int(np.argmax(outside))
        raise ValueError(
            f"The action of student {i} leaves the action space: its entries run from {given[i].min():.4g} to "
            f"{given[i].max():.4g}, and {space.low.min():.4g} to {space.high.max():.4g} is allowed. Clip it first."
        )
    return given.astype(np.float32)


def checked_choices(actions: Any, num_envs: int, space: spaces.MultiDiscrete) -> npt.NDArray[np.int64]:
    """Choices [S, n] of S students, as int64.

    Raises:
        ValueError: they have the wrong shape, are no integers, or there are not so many options.
    """
    given, expected = as_array(actions), (num_envs, *space.shape)
    if given.shape != expected or not np.issubdtype(given.dtype, np.integer):
        raise ValueError(f"The actions are {given.dtype} of shape {given.shape}; give integers of shape {expected}.")
    outside = (given < 0) | (given >= space.nvec)
    if outside.any():
        i, j = np.argwhere(outside)[0]
        raise ValueError(f"Choice {j} of student {i} is {given[i, j]}; 0 to {space.nvec[j] - 1} is allowed.")
    return given.astype(np.int64)


def as_options(options: Any) -> dict[str, Any]:
    """A copy of the options of a reset, empty for None.

    Raises:
        ValueError: they are no dict.
    """
    if options is not None and not isinstance(options, Mapping):
        raise ValueError(f"The reset options are {_shown(options)}; give a dict, or None.")
    return dict(options or {})


def checked_options(options: dict[str, Any] | None, num_envs: int, started: bool) -> tuple[npt.NDArray[np.bool_], str]:
    """Options of a reset: which students start (bool [S]), and from what (``"base"`` or ``"continue"``).

    Args:
        options: as `PopulationEnv.reset` takes them.
        num_envs: number of students S.
        started: whether there was a reset before.

    Raises:
        ValueError: an option is unknown or cannot be followed.
    """
    options = as_options(options)
    mask = _checked_mask(options.pop("reset_mask", None), num_envs, started)
    restart = options.pop("restart", "base")
    if options or not isinstance(restart, str) or restart not in ("base", "continue"):
        raise ValueError(
            f"Unknown reset options {_shown(options or restart)}; known: restart ('base' or 'continue'), reset_mask."
        )
    if restart == "continue" and not started:
        raise ValueError("restart='continue' goes on with a taught student; the first reset has to use 'base'.")
    return mask, restart


def _checked_mask(mask: Any, num_envs: int, started: bool) -> npt.NDArray[np.bool_]:
    if mask is None:
        return np.ones(num_envs, dtype=bool)
    given = as_array(mask)
    if given.shape != (num_envs,) or given.dtype != np.bool_ or not given.any():
        raise ValueError(
            f"reset_mask must be a bool array of shape ({num_envs},) with a True in it; got {_shown(mask)}."
        )
    if not started and not given.all():
        raise ValueError("The first reset has to reset every student; leave reset_mask out.")
    return given


def checked_seeds(seed: Any, num_envs: int, rng: np.random.Generator) -> list[int]:
    """One seed a student: ``seed + i``, or ``seed[i]``; drawn from ``rng`` where None is given.

    Raises:
        ValueError: the number of seeds is wrong, or one is no integer or out of range.
    """
    if seed is None:
        return [int(s) for s in rng.integers(0, 2**31, num_envs)]
    if isinstance(seed, np.ndarray):
        seed = seed.tolist()  # a number, if it has no dimension
    if is_whole(seed):
        seeds: list[Any] = [int(seed) + i for i in range(num_envs)]
    elif not isinstance(seed, Sequence) or isinstance(seed, bytes) or not all(s is None or is_whole(s) for s in seed):
        raise ValueError(f"The seed is {_shown(seed)}; give an integer, or a list of one (or None) a student.")
    elif len(seed) != num_envs:
        raise ValueError(f"{len(seed)} seeds were given for {num_envs} students; give one int, or one a student.")
    else:
        fresh = rng.integers(0, 2**31, num_envs)
        seeds = [int(fresh[i]) if s is None else int(s) for i, s in enumerate(seed)]
    if min(seeds) < 0 or max(seeds) >= 2**62:
        raise ValueError(f"A seed is an integer from 0 to 2**62 - 1; got {min(seeds)} to {max(seeds)}.")
    return seeds
