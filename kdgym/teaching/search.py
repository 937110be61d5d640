"""Searching the numbers of a rule on training students, all candidates side by side on the same ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
CANDIDATES, STUDENTS, ELITE = 16, 16, 4


def cross_entropy(
    env_id: str,
    act: Callable[[Any, dict[str, npt.NDArray[np.float32]], Floats], Any],
    mean: Floats,
    spread: Floats,
    steps: int,
    *,
    least: float,
    seed: int = 0,
    report: Callable[[int, str], None] = lambda done, text: None,
    settings: Mapping[str, Any] | None = None,
) -> tuple[Floats, int]:
    """The cross-entropy method (Rubinstein, 1999): 16 candidates a generation on the same 16 new students, the best 4 count.

    Args:
        env_id: the environment.
        act: (action space, observation, numbers [S, n] of the candidate each student is taught by) -> actions [S, ...].
        mean, spread: of the normal distribution that the first candidates are drawn from, [n].
        steps: environment steps to spend.
        least: added to the spread of the best, so that the search goes on.
        seed: of students and candidates.
        report: called with (steps done, a line about them).
        settings: of the environment.

    Returns:
        The last mean, [n], and the steps done.
    """
    envs: Any = gym.make_vec(env_id, num_envs=CANDIDATES * STUDENTS, autoreset=False, **(settings or {}))
    rng = np.random.default_rng(seed)
    done = generation = 0
    while done < steps:
        drawn = mean + spread * rng.normal(size=(CANDIDATES, len(mean)))
        numbers = drawn.repeat(STUDENTS, axis=0)
        seeds = np.tile(np.arange(STUDENTS) + 10_000 * seed + STUDENTS * generation, CANDIDATES)
        observation, _ = envs.reset(seed=[int(s) for s in seeds])
        gain, finished = np.zeros(len(numbers)), False
        while not finished:
            observation, reward, terminated, truncated, _ = envs.step(
                act(envs.single_action_space, observation, numbers)
            )
            gain, finished = gain + reward, bool((terminated | truncated).all())
            done += len(numbers)
        score = gain.reshape(CANDIDATES, STUDENTS).mean(1)
        best = drawn[np.argsort(-score)[:ELITE]]
        mean, spread = best.mean(0), best.std(0) + least
        generation += 1
        report(done, f"generation {generation}: mean return {score.mean():.3f}, best {score.max():.3f}")
    return mean, done
