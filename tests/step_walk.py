"""How far one step wanders: the files of ours that run between an action and its reward. ``python -m tests.step_walk``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import gymnasium as gym

import kdgym

ROOT = Path(kdgym.__file__).parents[1]
# Most files a step may visit, by id: one for each family, and each kind of students.
MOST = {
    "kdgym/DataGen-Math-v0": 9,
    "kdgym/Feedback-Math-v0": 15,
    "kdgym/Tutoring-Math-v0": 16,
    "kdgym/Orchestrate-Math-v0": 14,
    "kdgym/Orchestrate-Incidents-v0": 15,
    "kdgym/Snapshot-MountainCar-v0": 11,
    "kdgym/Classroom-Math-v0": 9,
}


@contextmanager
def visited() -> Iterator[list[str]]:
    """Files in the order of their first visit, as they lie in the repository."""
    files: list[str] = []

    def enter(frame: FrameType, event: str, argument: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(ROOT):
            place = path.relative_to(ROOT)
            if place.parts[0] in ("kdgym", "envs") and str(place) not in files:
                files.append(str(place))

    sys.setprofile(enter)
    try:
        yield files
    finally:
        sys.setprofile(None)


def files_of_a_step(id: str) -> list[str]:
    """What the second step of an episode visits; the first may build what is built once."""
    envs = gym.make_vec(id, num_envs=2)
    envs.action_space.seed(0)
    envs.reset(seed=0)
    envs.step(envs.action_space.sample())
    action = envs.action_space.sample()
    with visited() as files:
        envs.step(action)
    envs.close()
    return files


def main() -> None:
    """One line an id, and the files below it."""
    for id, most in MOST.items():
        files = files_of_a_step(id)
        sys.stdout.write(f"{id}: {len(files)} files, at most {most}\n    {'  '.join(files)}\n")


if __name__ == "__main__":
    main()
