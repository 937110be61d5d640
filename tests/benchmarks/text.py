"""Characters of a whole episode in words, for every id: ``python tests/benchmarks/text.py [PART OF AN ID]``.

``seen``: all observations as JSON, numbers with four digits. ``told``: the same by `kdgym.teaching.text`, where the teacher is
neutral. ``random``: where it decides at random. ``rules`` and ``tool``: the instructions, and the tool as JSON.
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import gymnasium as gym
import numpy as np

import kdgym  # noqa: F401  # registers the ids
from kdgym.registration import ENVIRONMENTS, Entry
from kdgym.spaces import JsonText
from kdgym.teaching.text import TextInterface, text_interface


def episode(entry: Entry, random: bool) -> tuple[TextInterface, int, int]:
    """The interface at the end, and characters seen and told."""
    envs: Any = gym.make_vec(entry.id, num_envs=1, autoreset=False).unwrapped
    observation, _ = envs.reset(seed=3)
    envs.single_action_space.seed(3)
    one = text_interface(envs.single_observation_space, envs.single_action_space, envs.metadata)
    text, done, seen, told = isinstance(envs.single_action_space, JsonText), False, 0, 0
    while not done:
        row = envs.row(observation, 0)
        numbers = row if text else json.dumps({name: np.round(v, 4).astype(float).tolist() for name, v in row.items()})
        seen, told = seen + len(numbers), told + len(one.tell(row))
        action = one.neutral if text or not random else one.read(one.write(envs.single_action_space.sample()))
        observation, _, terminated, truncated, _ = envs.step([action] if text else action[None])
        done = bool((terminated | truncated)[0])
    return one, seen, told


def main(part: str = "") -> None:
    """Print a line an id; ids that need a language model or hours are left out."""
    warnings.simplefilter("ignore")
    print(f"{'id':38} {'seen':>7} {'told':>6} {'random':>6} {'rules':>6} {'tool':>6}")  # noqa: T201
    for entry in ENVIRONMENTS:
        if part in entry.id and not entry.needs_model and "Hopper" not in entry.id:
            one, seen, told = episode(entry, random=False)
            other, rules, tool = episode(entry, random=True)[2], len(one.instructions), len(json.dumps(one.tool))
            print(f"{entry.id:38} {seen:7} {told:6} {other:6} {rules:6} {tool:6}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
