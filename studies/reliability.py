"""How much a good agent gains where some kinds of feedback are wrong: Feedback-Math-v1 and Tutoring-Math-v1.

python -m kdgym.studies.reliability --measure feedback    measure the teachers of one id, or of tutoring
python -m kdgym.studies.reliability                       write the tables of docs/feedback.md from docs/feedback.json
"""

from __future__ import annotations

import json
from itertools import product
from typing import Annotated, Any

import numpy as np
import typer

from kdgym.cli.errors import run_command
from kdgym.console import Threads, set_threads
from kdgym.evaluation import compare
from kdgym.evaluation.report import exact
from kdgym.evaluation.statistics import mean_interval
from kdgym.registration import find
from kdgym.studies.distillation import FOLDER, each_teacher, write
from kdgym.teaching import Fixed

EPISODES = 64
SEARCHED, FIRST_SEARCHED = 32, 7_000_000  # training students on whom constant decisions are searched
STATIC = "searched decision"
# The rule that adapts, by the table's name.
RULES = {"feedback": "follow_success", "tutoring": "ask_trusted"}
IDS = {"feedback": "kdgym/Feedback-Math-v1", "tutoring": "kdgym/Tutoring-Math-v1"}
ADAPTIVE = ("adaptive_hint", "feedback_bandit", "ask_unsure", *RULES.values())


def candidates(asking: bool) -> dict[str, dict[str, Any]]:
    """Constant decisions, by their words. Of the kinds that show a solution one is enough, since which is right is drawn."""
    amounts: list[dict[str, float]] = [{"ask": 0.5}, {"ask": 1}] if asking else [{"fraction": 0.25}, {"fraction": 0.5}]
    found = {}
    for kind, shaping, amount in product(("mark", "next_step"), ("plain", "ratio", "advantage_aware"), amounts):
        words = " ".join([kind, shaping, *(f"{name} {value}" for name, value in amount.items())])
        found[words] = {"fraction": 0.25, **amount, "which": "wrong", "kind": kind, "length": 1, "shaping": shaping}
    return found


def constant(rule: dict[str, Any]) -> type[Fixed]:
    """A teacher that always decides the same, with full weight of the teacher's tokens."""
    return type("Constant", (Fixed,), {"rule": {**rule, "weight": 1}})


def measure(name: str) -> dict[str, Any]:
    """Test accuracy of 64 unseen students under every teacher, and of training students under constant decisions."""
    id, entry = IDS[name], find(IDS[name])
    tried = {words: constant(rule) for words, rule in candidates(asking=name == "tutoring").items()}
    names = [*entry.controls, entry.published, *entry.teachers, *entry.upper_bounds]
    with each_teacher() as advance:
        searched = compare(id, tried, SEARCHED, first_seed=FIRST_SEARCHED, progress=advance, pool="train")
        means = {result.agent: float(result.after.mean().round(6)) for result in searched if result.agent in tried}
        best = max(means, key=means.__getitem__)
        found = compare(id, {**{n: n for n in names}, STATIC: tried[best]}, EPISODES, progress=advance)
    accuracy = {result.agent: result.after.round(6).tolist() for result in found}
    return {"env_id": id, "searched": means, "best": best, "accuracy": accuracy}


def tables(measured: dict[str, Any]) -> dict[str, str]:
    """Markdown tables by the name of their place."""
    return {name: _table(name, found) for name, found in measured.items()}


def _table(name: str, measured: dict[str, Any]) -> str:
    scores = {agent: np.array(values) for agent, values in measured["accuracy"].items()}
    entry, mean = find(IDS[name]), {agent: float(values.mean()) for agent, values in scores.items()}
    rest = [agent for agent in scores if agent not in entry.upper_bounds]
    static = max((agent for agent in rest if agent not in ADAPTIVE), key=mean.__getitem__)
    rule = max((agent for agent in rest if agent in ADAPTIVE), key=mean.__getitem__)
    below = dict.fromkeys(entry.upper_bounds, rule) | {rule: static}
    lines = ["| teacher | what it is | accuracy | minus |", "|---|---|---|---|"]
    for agent in sorted(scores, key=mean.__getitem__, reverse=True):
        what = "upper bound" if agent in entry.upper_bounds else "rule that adapts" if agent in ADAPTIVE else "fixed"
        words = f"{what}: {measured['best']}" if agent == STATIC else what
        other = below.get(agent, entry.controls[0])
        difference = "" if agent == other else f"{exact(mean_interval(scores[agent] - scores[other]))} {other}"
        lines.append(f"| {agent} | {words} | {mean[agent]:.3f} | {difference} |")
    return "\n".join(lines)


def main(
    anew: Annotated[str, typer.Option("--measure", help="Whose teachers are measured: feedback or tutoring.")] = "",
    threads: Threads = 1,
) -> None:
    """Measure, or only write the tables."""
    set_threads(threads)
    if anew and anew not in IDS:
        raise typer.BadParameter(f"--measure is {anew!r}; choose {' or '.join(IDS)}.")
    results = FOLDER / "feedback.json"
    known = json.loads(results.read_text()) if results.is_file() else {}
    write("feedback", {**known, anew: measure(anew)} if anew else None, tables)


if __name__ == "__main__":
    run_command(main)
