"""How fast do networks of recipes learn (`kdgym.students.recipes.engine`)? Against `torch.func.vmap` and JAX on the same work.

The work of a student is 20 updates on batches of 32 images, by cross entropy and AdamW. Every variant makes the same updates
from the same weights; that their losses agree is checked before anything is timed. All variants run in every round, one after
the other, on one thread; ratios are taken within a round. Times are of the processor, of all threads of this process, so that
other work on the machine counts little. JAX's rows need the extra ``bench``.

Then whole episodes of 64 students, of 240 updates, beside the matrix products of these updates alone, which are a lower bound.

    python tests/benchmarks/recipes.py [--rounds 5] [--sizes 1 8 64] [--json FILE [--page docs/performance.md]]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from torch.func import grad_and_value, vmap
from torch.nn import functional as F

from kdgym import random
from kdgym.console import console
from kdgym.evaluation import agent_class
from kdgym.evaluation.report import markdown, with_tables
from kdgym.storage import write_atomically
from kdgym.students.recipes.engine import Learner, LearnerConfig, Weights
from kdgym.students.recipes.networks import ARCHITECTURES, log_softmax
from kdgym.tasks.images import garments
from kdgym.tasks.images.corpus import SIDE

UPDATES, BATCH = 20, 32
TOLERANCE = 1e-5  # of the losses of all updates
NETWORKS = ("perceptron", "convolution")
STUDENTS, STEPS, STEP_UPDATES = (
    64,
    6,
    40,
)  # of an episode, which is Distill's and Label's own; Select's are more and shorter
EPISODES = (
    ("kdgym/Distill-Images-v0", "hard_labels"),
    ("kdgym/Distill-Images-v0", "plain_kd"),
    ("kdgym/Select-Images-v0", "keep_all"),
    ("kdgym/Select-Images-v0", "mini_plm_teacher"),
    ("kdgym/Label-Weak-v0", "supervised_only"),
    ("kdgym/Label-Weak-v0", "majority_vote"),
)


class Variant(Protocol):
    """S students that make `UPDATES` updates when run."""

    def run(self) -> Any:
        """Losses before each update, [UPDATES, S]."""


class Work:
    """What S students learn: images [UPDATES, S, B, 196] and labels; and the engine that makes their updates."""

    def __init__(self, network: str, students: int) -> None:
        self.network, self.config = network, LearnerConfig()
        self.learner, corpus = Learner(ARCHITECTURES[network](10), config=self.config), garments()
        self.state = self.learner.initialise(torch.arange(students))
        part, key = corpus.parts["labelled"], random.fold(torch.tensor(7), torch.arange(UPDATES)).unsqueeze(1)
        item = part[random.integers(random.fold(key, torch.arange(students)), BATCH, len(part))]
        self.images, self.label = corpus.images(item), corpus.label[item]

    def weights(self) -> Weights:
        """Of new students, [S, *shape] by name."""
        return {name: weight.clone() for name, weight in self.learner.named(self.state).items()}


class OwnEngine:
    """kdgym's engine."""

    def __init__(self, work: Work) -> None:
        self.work, self.state = work, work.state.clone()

    def run(self) -> Tensor:
        """See `Variant`."""
        return torch.stack([self._update(*batch) for batch in zip(self.work.images, self.work.label, strict=True)])

    def _update(self, images: Tensor, label: Tensor) -> Tensor:
        def loss(w: Weights) -> Tensor:
            said = log_softmax(self.work.learner.architecture.forward(w, images).logits)
            return -said.gather(2, label.unsqueeze(2)).squeeze(2).mean(1)

        return self.work.learner.update(self.state, loss)


class Vmapped:
    """One student's loss as one would write it, `torch.func.vmap` of its gradient, and PyTorch's AdamW on the stack."""

    def __init__(self, work: Work) -> None:
        self.work, c = work, work.config
        self.weights = {name: weight.requires_grad_() for name, weight in work.weights().items()}
        self.optimiser = torch.optim.AdamW(
            list(self.weights.values()), c.learning_rate, (c.beta1, c.beta2), c.epsilon, c.weight_decay, fused=True
        )
        self.gradient = vmap(grad_and_value(self._loss))

    def _loss(self, w: Weights, images: Tensor, label: Tensor) -> Tensor:
        if self.work.network == "perceptron":
            x = torch.relu(images @ w["matrix_0"] + w["bias_0"])
            x = torch.relu(x @ w["matrix_1"] + w["bias_1"])
            return F.cross_entropy(x @ w["matrix_2"] + w["bias_2"], label)
        y = images.view(-1, 1, SIDE, SIDE)
        for i in range(2):
            y = torch.relu(F.conv2d(y, w[f"filter_{i}"].movedim(-1, 0), w[f"bias_{i}"], padding=1))
            y = F.avg_pool2d(y, 2)
        return F.cross_entropy(y.flatten(1) @ w["matrix_out"] + w["bias_out"], label)

    def run(self) -> Tensor:
        """See `Variant`."""
        losses = []
        for images, label in zip(self.work.images, self.work.label, strict=True):
            found, loss = self.gradient({name: w.detach() for name, w in self.weights.items()}, images, label)
            for name, weight in self.weights.items():
                weight.grad = found[name].contiguous()  # the fused AdamW reads other strides wrongly
            self.optimiser.step()
            losses.append(loss)
        return torch.stack(losses)


def variants(network: str, students: int) -> dict[str, Variant]:
    """By name, checked against each other.

    Raises:
        AssertionError: one of them does not do the same work.
    """
    work = Work(network, students)
    chosen: dict[str, Variant] = {"kdgym": OwnEngine(work), "vmap": Vmapped(work)}
    if importlib.util.find_spec("jax"):
        from jax_recipes import MAPPINGS, Jaxed

        chosen |= {f"JAX {name}": Jaxed(work, name) for name in MAPPINGS}
    losses = {name: torch.as_tensor(variant.run()) for name, variant in chosen.items()}
    for name, found in losses.items():
        torch.testing.assert_close(found, losses["kdgym"], rtol=0, atol=TOLERANCE, msg=f"{name} learns otherwise")
    return chosen


def summary(times: dict[str, list[float]], students: int) -> dict[str, Any]:
    """Seconds of a run by variant and round -> medians: students' updates/s of each variant, and kdgym's ratio to the
    strongest of the others, which is the one with the best median; ratios are of times in one round."""
    others = [name for name in times if name != "kdgym"]
    strongest = min(others, key=lambda name: statistics.median(times[name]))
    return {
        "updates_per_s": {name: UPDATES * students / statistics.median(values) for name, values in times.items()},
        "strongest": strongest,
        "ratio": statistics.median(a / b for a, b in zip(times[strongest], times["kdgym"], strict=True)),
    }


def seconds(run: Callable[[], object], least: float = 0.1) -> float:
    """Seconds of the processor that one run takes, from as many runs as take ``least`` seconds."""
    begin, runs = time.process_time(), 0
    while runs == 0 or time.process_time() - begin < least:
        run()
        runs += 1
    return (time.process_time() - begin) / runs


def measure(network: str, students: int, rounds: int) -> dict[str, Any]:
    """A row of the table."""
    chosen = variants(network, students)
    times: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(rounds):
        for name, variant in chosen.items():
            times[name].append(seconds(variant.run))
    return {"network": network, "students": students, **summary(times, students)}


class Episode:
    """An episode of one constant rule, and the matrix products of its updates."""

    def __init__(self, env_id: str, name: str) -> None:
        self.envs: Any = gym.make_vec(env_id, num_envs=STUDENTS, steps=STEPS, updates=STEP_UPDATES, autoreset=False)
        self.agent = agent_class(name)(self.envs.single_observation_space, self.envs.single_action_space)
        self.shape = STUDENTS, *self.envs.single_action_space.shape
        learner, batch = self.envs.study.learner, self.envs.config.batch
        sizes = [shape for shape in learner.architecture.shapes.values() if len(shape) == 2]
        self.factors = [tuple(torch.rand(STUDENTS, *s) for s in ((batch, n), (n, m), (batch, m))) for n, m in sizes]
        # Of each layer two products, and of all but the first one more, for the layer below.
        self.flops = 2 * STUDENTS * batch * (3 * sum(n * m for n, m in sizes) - sizes[0][0] * sizes[0][1])

    def run(self) -> None:
        """The whole episode."""
        observation, _ = self.envs.reset(seed=0)
        for _ in range(STEPS):
            action = np.broadcast_to(self.agent.act(observation), self.shape)
            observation, *_ = self.envs.step(action.astype(np.float32))

    def products(self) -> None:
        """Those of one update of every student."""
        for i, (before, weight, after) in enumerate(self.factors):
            torch.bmm(before, weight)
            torch.bmm(before.mT, after)
            if i:
                torch.bmm(after, weight.mT)


def measure_episode(env_id: str, name: str, rounds: int) -> dict[str, Any]:
    """Seconds of the processor of an episode, and of its updates' products alone, medians; and how fast these are."""
    episode = Episode(env_id, name)
    episode.run()
    found = [(seconds(episode.run), seconds(episode.products)) for _ in range(rounds)]
    whole, products = (statistics.median(column) for column in zip(*found, strict=True))
    updates = STEPS * STEP_UPDATES
    return {
        "env_id": env_id, "agent": name, "seconds": whole, "products_seconds": updates * products,
        "gflops_per_s": episode.flops / products / 1e9,
    }  # fmt: skip


def tables(found: dict[str, Any]) -> dict[str, str]:
    """Of the page, by name."""
    head = ("network", "students", *found["rows"][0]["updates_per_s"], "kdgym to the strongest other", "which one")
    rows, episodes = [], []
    for row in found["rows"]:
        speeds = (f"{speed:,.0f}" for speed in row["updates_per_s"].values())
        rows.append([row["network"], str(row["students"]), *speeds, f"{row['ratio']:.2f}", row["strongest"]])
    for row in found["episodes"]:
        times = (f"{row['seconds']:.2f}", f"{row['products_seconds']:.2f}", f"{row['gflops_per_s']:.0f}")
        episodes.append([row["env_id"], row["agent"], *times])
    columns = ("environment", "agent", "an episode, s", "its products alone, s", "GFLOP/s of these")
    return {"recipes": markdown(head, rows), "recipe-episodes": markdown(columns, episodes)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--page", type=Path, help="whose tables are filled")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["NPROC"] = "1"  # JAX's threads; read when it is imported
    kinds = [(network, students) for network in NETWORKS for students in arguments.sizes]
    rows = [measure(*kind, arguments.rounds) for kind in track(kinds, description="networks")]
    episodes = [measure_episode(*kind, arguments.rounds) for kind in track(EPISODES, description="episodes")]
    found = {"torch": torch.__version__, "rounds": arguments.rounds, "rows": rows, "episodes": episodes}
    for table in tables(found).values():
        console.print(table)
    if arguments.json:
        write_atomically(arguments.json, (json.dumps(found, indent=2) + "\n").encode())
    if arguments.page:
        write_atomically(arguments.page, with_tables(arguments.page.read_text(), tables(found)).encode())


if __name__ == "__main__":
    main()
