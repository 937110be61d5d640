"""What a rule for lanes can gain over always_coach on Incidents, for students that it was not made on.

At every task of streams of the training pool, auto, paired and coach are tried on a copy of the student. The best lane is then
predicted by ridge regression from several sets of observations. Students are left out four at a time, so that no student's
identity helps. The last two rows know more than any rule: what the student does alone.

    python tests/benchmarks/lanes.py run       # some minutes of a core; goes on where it was stopped
    python tests/benchmarks/lanes.py report    # the table of docs/orchestrate.md
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

import kdgym  # noqa: F401  # registers the environments
from kdgym.envs.orchestrate.investigator import FILE as INVESTIGATORS
from kdgym.evaluation.report import exact, markdown, with_tables
from kdgym.evaluation.statistics import Interval, mean_interval
from kdgym.storage import load_tensors, write_atomically

FILE = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).parents[2] / "docs" / "orchestrate.md"
ENV, STUDENTS, BATCHES, FOLDS, RIDGE = "kdgym/Orchestrate-Incidents-v0", 64, 7, 4, 10.0
OPTIONS = (("auto", "own"), ("paired", "own"), ("coach", "own"), ("auto", "exact"))
COACH = 2
UNSURE = 0.05, 0.1, 0.2, 0.4  # thresholds of uncertainty


def tasks(seed: int) -> list[dict[str, Any]]:
    """Every task of 64 streams that a coach supervises: what is observed, the rewards of the options, and what is hidden."""
    known = load_tensors(INVESTIGATORS)[0]["known"].numpy()
    envs: Any = gym.make_vec(ENV, num_envs=STUDENTS, autoreset=False)
    observation, _ = envs.reset(seed=seed)
    options = np.stack([envs.single_action_space.encode(STUDENTS, lane=lane, plan=plan) for lane, plan in OPTIONS], 1)
    kinds, found, done = known.shape[1], [], np.zeros(STUDENTS, dtype=bool)
    alone: list[dict[int, list[bool]]] = [{} for _ in range(STUDENTS)]
    while not done.all():
        rewards, who = envs.expected_reward(options, 1).round(4), envs.state["who"].tolist()
        for i in np.flatnonzero(~done).tolist():
            seen = {name: observation[name][i].tolist() for name in ("task", "uncertainty", "history", "memory")}
            kind = int(np.argmax(seen["task"][:kinds]))
            before = alone[i].setdefault(kind, [])
            hidden = {"alone": [len(before), np.mean(before) if before else 0.4], "known": bool(known[who[i], kind])}
            found.append({**seen, **hidden, "who": who[i], "stream": seed + i, "rewards": rewards[i].tolist()})
            before.append(rewards[i, 0] > 0)
        action = envs.single_action_space.encode(STUDENTS, lane="coach", plan="exact", operation="write")
        observation, _, done, _, _ = envs.step(action)
    return found


def predicted(rows: np.ndarray, rewards: np.ndarray, who: np.ndarray) -> np.ndarray:
    """Rewards of the lanes that a regression on other students' tasks prefers."""
    rows, got = np.c_[np.ones(len(rows)), rows], np.zeros(len(rows))
    advantage = rewards - rewards[:, [COACH]]
    for fold in range(FOLDS):
        mine = who % FOLDS == fold
        others = rows[~mine]
        weights = np.linalg.solve(others.T @ others + RIDGE * np.eye(rows.shape[1]), others.T @ advantage[~mine])
        got[mine] = rewards[mine, (rows[mine] @ weights).argmax(1)]
    return got


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Rewards of the lanes, shares of tasks, and intervals over streams of what is gained over coach."""
    column = {name: np.array([task[name] for task in found], dtype=np.float64) for name in found[0]}
    rewards, doubt = column["rewards"][:, : COACH + 1], column["uncertainty"]
    known, noted, first = column["known"] > 0, column["memory"][:, 1] > 0.5, column["alone"][:, 0] == 0
    doubts = np.c_[doubt, doubt < np.array(UNSURE)]
    both = np.c_[column["task"], doubts]
    seen = {
        "kind of question": column["task"],
        "uncertainty": doubts,
        "both": both,
        "both, and the history of the kind": np.c_[both, column["history"]],
        "these, and whether it was right alone at the kind before *": np.c_[both, column["history"], column["alone"]],
    }
    got = {name: predicted(rows, rewards, column["who"]) for name, rows in seen.items()}
    got["the kinds that it was pretrained on alone *"] = np.where(known, rewards[:, 0], rewards[:, COACH])
    stream = np.unique(column["stream"], return_inverse=True)[1]
    gains = {}
    for name, reward in got.items():
        by_stream = np.bincount(stream, reward - rewards[:, COACH]) / np.bincount(stream)
        gains[name] = vars(mean_interval(by_stream))
    mean = {"all": rewards, "known": rewards[known], "unknown": rewards[~known]}
    return {
        "tasks": len(found),
        "streams": int(stream.max()) + 1,
        "rewards": {name: part.mean(0).round(3).tolist() for name, part in mean.items()},
        "shares": {
            name: float(part.mean().round(3)) for name, part in (("known", known), ("noted", noted), ("first", first))
        },
        "auto where a note fits, without and with it": column["rewards"][noted][:, [0, 3]].mean(0).round(3).tolist(),
        "gains": gains,
    }


def run() -> None:
    found = []
    for batch in range(BATCHES):
        part = Path("runs") / f"lanes-{batch}.json"
        if not part.exists():
            part.parent.mkdir(exist_ok=True)
            write_atomically(part, json.dumps(tasks(50_000 + 1000 * batch)).encode())
        found += json.loads(part.read_text())
    write_atomically(FILE, (json.dumps(summary(found), indent=1) + "\n").encode())


def report() -> None:
    gains = json.loads(FILE.read_text())["gains"]
    rows = [(name, exact(Interval(**found))) for name, found in gains.items()]
    table = markdown(("what the rule sees", "reward minus always_coach"), rows)
    PAGE.write_text(with_tables(PAGE.read_text(), {"lanes": table}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("run", "report"))
    torch.set_num_threads(1)
    run() if parser.parse_args().what == "run" else report()
