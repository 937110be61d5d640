"""How much a population is worth where students reason: sampled attempts, feedback and policy gradient updates.

    python tests/benchmarks/feedback.py [--students 64] [--rounds 5] [--threads 2] [--group 8] [--json FILE]

The same code with one student after the other is the loop it is compared with. Both run in turns, in one process; a round's
ratio is of times measured side by side, and the median ratio is what counts on a machine with other work.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from population import seconds
from rich.console import Console

import kdgym  # noqa: F401  # registers the environments

ID = "kdgym/Feedback-Math-v0"
RULE = {"fraction": 0.25, "kind": "next_step", "length": 1, "shaping": "advantage_aware", "weight": 1}
LOOPED = 4  # students of the loop; it takes as long for each of them


class Population:
    """Students of whom every one makes one update in every environment step."""

    def __init__(self, students: int, group: int) -> None:
        settings: dict[str, Any] = {"steps": 1000, "updates": 1, "budget": 1e9, "validation_items": 1, "group": group}
        self.envs: Any = gym.make_vec(ID, num_envs=students, **settings)
        self.envs.reset(seed=0)
        self.decision = self.envs._decide(torch.from_numpy(self.envs.single_action_space.encode(students, **RULE)))

    def update(self) -> None:
        """Attempts, feedback, continuations, loss and AdamW step of every student, without an examination."""
        self.envs._practise(self.decision, 0)


def measure(students: int, rounds: int, group: int) -> dict[str, float]:
    """Medians over rounds: updates/s of the population and of the loop, and their ratio."""
    population, one = Population(students, group), Population(1, group)
    for warm in (population, one):
        warm.update()
    times = []
    for _ in range(rounds):
        together = seconds(population.update) / students
        alone = statistics.median(seconds(one.update) for _ in range(LOOPED))
        times.append((together, alone))
    return {
        "students": students,
        "rollouts": group * len(population.envs.task.skills),
        "population": 1 / statistics.median(together for together, _ in times),
        "loop": 1 / statistics.median(alone for _, alone in times),
        "ratio": statistics.median(alone / together for together, alone in times),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    result = measure(arguments.students, arguments.rounds, arguments.group)
    Console().print(
        f"{ID}, {arguments.threads} threads, {result['rollouts']:.0f} rollouts an update: "
        f"{result['population']:.0f} student updates/s in a population of {arguments.students}, "
        f"{result['loop']:.0f} one student after the other: {result['ratio']:.1f} times"
    )
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"torch": torch.__version__, "threads": arguments.threads, **result}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
