"""How much a population is worth where students practise control: whole steps, examinations included, against SB3.

    python tests/benchmarks/control.py [--task MountainCar] [--students 64] [--rounds 5] [--threads 2] [--json FILE]

The other side is Stable-Baselines3's PPO with its defaults in Gymnasium's environment of the same dynamics: rollouts and
updates, without examinations. Both run in turns, in one process; a round's ratio is of rates measured side by side. On Hopper
students are SB3's as well, with eight simulators and minibatches of 256 instead of one and 64: `--task Hopper --students 1`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import gymnasium as gym
import numpy as np
import torch
from population import seconds
from rich.console import Console
from stable_baselines3 import PPO

import kdgym  # noqa: F401  # registers the environments
from kdgym.tasks.control import make_control


def measure(task: str, students: int, rounds: int) -> dict[str, float]:
    """Medians over rounds: steps of practice a second of the population and of SB3's PPO, and their ratio."""
    envs = gym.make_vec(f"kdgym/Snapshot-{task}-v0", num_envs=students, steps=1000, budget=1e9)
    envs.reset(seed=0)
    settings = envs.unwrapped.config  # type: ignore[attr-defined]
    action = np.zeros(envs.action_space.shape, np.float32)
    name = "Hopper-v5" if task == "Hopper" else make_control(task).gymnasium_id
    one = PPO("MlpPolicy", name, seed=0, device="cpu")

    def alone() -> None:
        one.learn(one.n_steps, reset_num_timesteps=False)

    practised = students * settings.updates * settings.actors * settings.rollout
    for warm in (lambda: envs.step(action), alone):
        warm()
    rates = [(practised / seconds(lambda: envs.step(action)), one.n_steps / seconds(alone)) for _ in range(rounds)]
    return {
        "students": students,
        "population": statistics.median(ours for ours, _ in rates),
        "sb3": statistics.median(theirs for _, theirs in rates),
        "ratio": statistics.median(ours / theirs for ours, theirs in rates),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="MountainCar")
    parser.add_argument("--students", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    result = measure(arguments.task, arguments.students, arguments.rounds)
    Console().print(
        f"{arguments.task}, {arguments.threads} threads: {result['population']:,.0f} student steps/s in a population of "
        f"{arguments.students}, {result['sb3']:,.0f} steps/s of SB3's PPO: {result['ratio']:.3g} times"
    )
    if arguments.json:
        head = {"torch": torch.__version__, "threads": arguments.threads, "task": arguments.task}
        arguments.json.write_text(json.dumps({**head, **result}, indent=2) + "\n")


if __name__ == "__main__":
    main()
