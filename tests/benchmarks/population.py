"""How fast is a population? Ratios to a straightforward loop, measured in the same run, in interleaved rounds.

The loop is what one would write first: an ``nn.Module`` with PyTorch's own attention, ``torch.optim.AdamW``, one student after
the other. It computes the same function (checked before timing) and does the same work an environment step asks for:
train once on 640 items in batches of 16, then answer 14 x 64 validation items.

    python tests/benchmarks/population.py [--rounds 7] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

import kdgym  # noqa: F401  # registers the environments
from kdgym import random
from kdgym.students import TransformerStudents
from kdgym.tasks import make_task

ITEMS, EXAMINED = 640, 14 * 64


class LoopStudent(nn.Module):
    """The tiny student as a module: same function, same parameters, nothing stacked."""

    def __init__(self, engine: TransformerStudents, state: Tensor) -> None:
        super().__init__()
        views = [view[0].clone() for view in engine.network.views(state)]
        self.token, self.position = nn.Embedding.from_pretrained(views[0], False), nn.Parameter(views[1])
        self.output, self.qkv, self.mix, self.up, self.down = (nn.Parameter(view) for view in views[2:7])
        self.width, self.heads = views[0].shape[1], engine.config.heads
        self.answer = engine.network.shape.answer

    def forward(self, inputs: Tensor) -> Tensor:
        b, length = inputs.shape
        x = self.token(inputs) + self.position
        e = self.width // self.heads
        q, k, v = (F.rms_norm(x, (self.width,), eps=1e-6) @ self.qkv).split([self.width, e, e], dim=-1)
        q = q.view(b, length, self.heads, e).transpose(1, 2)
        k, v = (t.unsqueeze(1).expand(-1, self.heads, -1, -1) for t in (k, v))
        x = (
            x
            + F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, length, -1) @ self.mix
        )
        x = x + F.relu(F.rms_norm(x, (self.width,), eps=1e-6) @ self.up) @ self.down
        return (F.rms_norm(x, (self.width,), eps=1e-6) @ self.output)[:, -self.answer :]


class Work:
    """One environment step's training and examination for S students."""

    def __init__(self, students: int) -> None:
        self.engine = TransformerStudents(make_task("Math"))
        key = random.fold(torch.tensor(0), torch.arange(students))
        self.state = self.engine.initialise(key)
        problems = len(self.engine.prompt)
        self.lesson = random.integers(random.fold(key, 1), ITEMS, problems)
        self.exam = random.integers(random.fold(key, 2), EXAMINED, problems)
        self.count = torch.full((students,), ITEMS)

    def population(self) -> None:
        self.engine.train(self.state, self.lesson, self.engine.solution[self.lesson], self.count)
        self.engine.evaluate(self.state, self.exam)

    def loop(self, model: LoopStudent, optimiser: torch.optim.Optimizer) -> None:
        engine, size = self.engine, self.engine.config.batch
        for begin in range(0, ITEMS, size):
            inputs, targets = self._tokens(self.lesson[0, begin : begin + size])
            loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            inputs, targets = self._tokens(self.exam[0])
            logits = model(inputs)
            (logits.argmax(-1) == targets).all(-1)
            F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        assert engine.network.shape.answer == targets.shape[1]

    def _tokens(self, problem: Tensor) -> tuple[Tensor, Tensor]:
        targets = self.engine.answer[self.engine.solution[problem]]
        return torch.cat([self.engine.prompt[problem], targets[:, :-1]], dim=1), targets

    def loop_student(self) -> tuple[LoopStudent, torch.optim.Optimizer]:
        model, c = LoopStudent(self.engine, self.state), self.engine.config
        inputs, _ = self._tokens(self.exam[0, :64])
        torch.testing.assert_close(model(inputs), self.engine.network.logits(self.state[:1], inputs[None])[0])
        betas, decay = (c.beta1, c.beta2), c.weight_decay
        return model, torch.optim.AdamW(model.parameters(), c.learning_rate, betas, weight_decay=decay)


def seconds(run: Callable[[], object], repeats: int) -> float:
    begin = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - begin) / repeats


def measure(sizes: list[int], rounds: int) -> dict[str, Any]:
    """Median environment-step throughput and its ratio to the loop, per population size; all variants in every round."""
    works = {size: Work(size) for size in sizes}
    loop = Work(1)
    model, optimiser = loop.loop_student()
    loop.loop(model, optimiser)
    for work in works.values():
        work.population()
    naive: list[float] = []
    ours: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in track(range(rounds), description="rounds"):
        naive.append(seconds(lambda: loop.loop(model, optimiser), 4))
        for size, work in works.items():
            ours[size].append(seconds(work.population, max(1, 16 // size)) / size)
    rows = {
        size: {
            "steps_per_s": 1 / statistics.median(times),
            "ratio_to_loop": statistics.median(n / t for n, t in zip(naive, times, strict=True)),
        }
        for size, times in ours.items()
    }
    return {"loop_steps_per_s": 1 / statistics.median(naive), "population": rows}


def measure_snapshots(rounds: int) -> dict[str, float]:
    """Median microseconds to snapshot and to restore one student, as a single environment and inside a population."""
    env: Any = gym.make("kdgym/DataGen-Math-v0").unwrapped
    envs: Any = gym.make_vec("kdgym/DataGen-Math-v0", num_envs=32)
    env.reset(seed=0)
    envs.reset(seed=0)
    one, of_many = env.snapshot(), envs.snapshot(5)
    runs: dict[str, Callable[[], object]] = {
        "snapshot, single": env.snapshot,
        "restore, single": lambda: env.restore(one),
        "snapshot, one of 32": lambda: envs.snapshot(5),
        "restore, one of 32": lambda: envs.restore(of_many, 5),
    }
    return {name: statistics.median(seconds(run, 200) for _ in range(rounds)) * 1e6 for name, run in runs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 4, 16, 32, 64])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    speed, snapshots = measure(arguments.sizes, arguments.rounds), measure_snapshots(arguments.rounds)
    console = Console()
    title = f"environment steps per second, {arguments.threads} thread(s), median of {arguments.rounds} rounds"
    table = Table("students", "steps/s", "times the loop", title=title)
    table.add_row("loop", f"{speed['loop_steps_per_s']:.1f}", "1.0")
    for size, row in speed["population"].items():
        table.add_row(str(size), f"{row['steps_per_s']:.1f}", f"{row['ratio_to_loop']:.1f}")
    console.print(table)
    table = Table("one student", "microseconds", title=f"median of {arguments.rounds} rounds of 200")
    for name, value in snapshots.items():
        table.add_row(name, f"{value:.0f}")
    console.print(table)
    if arguments.json:
        machine = {"processor": platform.processor() or platform.machine(), "torch": torch.__version__}
        content = {"machine": machine, "threads": arguments.threads, "speed": speed, "snapshot_us": snapshots}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
