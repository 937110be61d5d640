"""How much a population is worth where students reason: sampled attempts, feedback and policy gradient updates.

    python tests/benchmarks/feedback.py [--students 64] [--rounds 5] [--threads 2] [--group 8] [--json FILE]

The same code with one student after the other is the loop it is compared with: some of the population's students, alone, with
one thread or with all, whichever is faster. Both run in turns, in one process; a round's ratio is of times measured side by
side, and the median ratio is what counts on a machine with other work. Nobody learns, so that all updates are as much work.
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
LOOPED = 8  # students of the loop; the others would take as long


class Population:
    """Students of whom every one makes one update in every environment step."""

    def __init__(self, students: int, group: int, first: int = 0) -> None:
        settings: dict[str, Any] = {"steps": 1000, "updates": 1, "budget": 1e9, "validation_items": 1, "group": group}
        self.envs: Any = gym.make_vec(ID, num_envs=students, learning_rate=1e-12, **settings)
        self.envs.reset(seed=first)
        self.decision = self.envs._decide(torch.from_numpy(self.envs.single_action_space.encode(students, **RULE)))

    def update(self) -> None:
        """Attempts, feedback, continuations, loss and AdamW step of every student, without an examination."""
        self.envs._practise(self.decision, 0)


def measure(students: int, rounds: int, threads: int, group: int) -> dict[str, float]:
    """Medians over rounds: updates/s of the population and of the loop with ``loop_threads``, and their ratio."""
    population, loop = Population(students, group), [Population(1, group, first) for first in range(LOOPED)]

    def one_after_the_other() -> None:
        for one in loop:
            one.update()

    population.update()
    one_after_the_other()
    times = []
    for _ in range(rounds):
        torch.set_num_threads(threads)
        together, alone = seconds(population.update) / students, {}
        for number in {1, threads}:
            torch.set_num_threads(number)
            alone[number] = seconds(one_after_the_other) / LOOPED
        times.append((together, alone))
    median = {number: statistics.median(alone[number] for _, alone in times) for number in times[0][1]}
    best = min(median, key=median.__getitem__)
    return {
        "students": students,
        "rollouts": group * len(population.envs.task.skills),
        "population": 1 / statistics.median(together for together, _ in times),
        "loop": 1 / median[best],
        "loop_threads": best,
        "ratio": statistics.median(alone[best] / together for together, alone in times),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    result = measure(arguments.students, arguments.rounds, arguments.threads, arguments.group)
    Console().print(
        f"{ID}, {arguments.threads} threads, {result['rollouts']:.0f} rollouts an update: "
        f"{result['population']:.0f} student updates/s in a population of {arguments.students}, "
        f"{result['loop']:.0f} one student after the other ({result['loop_threads']} threads): {result['ratio']:.1f} times"
    )
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"torch": torch.__version__, "threads": arguments.threads, **result}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
