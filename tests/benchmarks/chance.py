"""How much of the lead of `snapshot_lookahead` is chance: its rules are played twice on students, with other random streams.

A rule is chosen for each student by how its practice ended, as the look-ahead does. It is scored on the streams that it was
chosen by, and on the other ones. Knowing the student gives no more than the second. One rule for all is chosen on the other
streams, too.

    python tests/benchmarks/chance.py run kdgym/Snapshot-CartPole-v0    # goes on where it was stopped
    python tests/benchmarks/chance.py report                            # the table of docs/snapshots.md
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdgym.agents.snapshot.snapshot_lookahead import RULES
from kdgym.evaluation import load_agent, make_unseen
from kdgym.evaluation.protocol import teach
from kdgym.evaluation.report import exact, markdown, with_tables
from kdgym.evaluation.statistics import mean_interval
from kdgym.storage import write_atomically

FILE = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).parents[2] / "docs" / "snapshots.md"
SEED, STREAMS = 40_000, (1, 2)  # of students of the training pool, and which streams
NAMES = [rule.__name__.rpartition(".")[2] for rule in RULES]


class OtherStreams:
    """A rule; before its first step, students get random streams that no episode reaches, and stay who they are."""

    upper_bound = True  # the runner attaches the environment

    def __init__(self, rule: Any, draw: int) -> None:
        self.rule, self.draw = rule, draw

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rule, name)

    def attach(self, envs: Any) -> None:
        """See more than a teacher may, after the reset."""
        envs.state["episode"][:] += self.draw << 32


def played(env_id: str, name: str, draw: int, students: int) -> list[list[float]]:
    """Scores on validation and test starts after a whole episode, of each student."""
    envs = make_unseen(env_id, name, students, pool="train")
    result, _ = teach(envs, OtherStreams(load_agent(name, envs, seed=SEED), draw), SEED)
    return [result["curve"][:, -1].tolist(), result["after"].tolist()]


def row(env_id: str, runs: dict[str, list[list[float]]]) -> list[str]:
    """A line of the table."""
    # Rules by streams, validation or test, and students.
    scores = np.array([[runs[f"{name} {draw}"] for draw in STREAMS] for name in NAMES])
    test, students, draws = scores[:, :, 1], np.arange(scores.shape[3]), range(len(STREAMS))
    chosen = scores[:, :, 0].argmax(0)  # for each student, by streams
    own = np.mean([test[chosen[draw], draw, students] for draw in draws], axis=0)
    other = np.mean([test[chosen[1 - draw], draw, students] for draw in draws], axis=0)
    best = test.mean(2).argmax(0)  # for all students, by streams
    one = np.mean([test[best[1 - draw], draw] for draw in draws], axis=0)
    control = test[NAMES.index("ordinary_resets")].mean(0)
    names = " / ".join(dict.fromkeys(NAMES[i] for i in best))
    means = [f"{control.mean():.2f}", f"{one.mean():.2f} {names}", f"{own.mean():.2f}", f"{other.mean():.2f}"]
    differences = [exact(mean_interval(difference)) for difference in (one - control, own - one, other - one)]
    return [f"`{env_id}`", str(len(students)), *means, *differences]


def run(env_ids: list[str], students: int) -> None:
    found = json.loads(FILE.read_text()) if FILE.exists() else {}
    for env_id in env_ids:
        runs = found.setdefault(env_id, {})
        for draw in STREAMS:
            for name in NAMES:
                if f"{name} {draw}" not in runs:
                    runs[f"{name} {draw}"] = played(env_id, name, draw, students)
                    write_atomically(FILE, json.dumps(found).encode())


def report() -> None:
    head = ["environment", "students", "ordinary resets", "one rule for all", "a rule for each, same streams"]
    head += ["a rule for each, other streams", "one rule minus ordinary resets", "same streams minus one rule"]
    head += ["other streams minus one rule"]
    rows = [row(env_id, runs) for env_id, runs in json.loads(FILE.read_text()).items()]
    PAGE.write_text(with_tables(PAGE.read_text(), {"chance": markdown(head, rows)}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("run", "report"))
    parser.add_argument("ids", nargs="*")
    parser.add_argument("--students", type=int, default=64)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    run(arguments.ids, arguments.students) if arguments.what == "run" else report()
