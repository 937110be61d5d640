"""What papers' selections are worth on Select-Images, each against a twin that lacks what the paper adds.

python -m kdgym.studies.selection --measure     measure all teachers, write docs/select.json, and the tables
python -m kdgym.studies.selection               write the tables of docs/select.md anew from docs/select.json
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import typer

from kdgym.cli.errors import run_command
from kdgym.console import Threads, set_threads
from kdgym.evaluation import agent_class, compare
from kdgym.evaluation.report import exact
from kdgym.evaluation.statistics import mean_interval
from kdgym.registration import find
from kdgym.studies.distillation import FOLDER, Accuracy, Scores, each_teacher, headroom, seen, write

ID, EPISODES = "kdgym/Select-Images-v0", 64
# The paper's rule, its twin, and the paper.
PAPERS = (
    ("mini_plm", "mini_plm_teacher", "MiniPLM"),
    ("kd3", "kd3_scorer", "KD3"),
    ("impossible_distillation", "impossible_unfiltered", "Impossible Distillation"),
    ("stat_select", "keep_all", "STAT"),
)
RULES = ("agreeing_scorer", "trying_scorer", "probing_scorer")
KNOWN = "known "  # a paper's rule that is told which scorers are right


def knowing(name: str) -> type[Any]:
    """A constant rule that trusts the right scorers alone, as a paper that knows its model does: an upper bound."""
    base: type[Any] = agent_class(name)

    class Knowing(base):  # type: ignore[misc]
        upper_bound = True

        def act(self, observation: Any) -> Any:
            return self.action_space.encode(**{**self.rule, "scorer": self.envs.hidden()["good"]})

    return Knowing


def measure(trained: list[str]) -> dict[str, Any]:
    """Test accuracy of 64 unseen students under every teacher; ``trained`` are NAME:FILE."""
    entry = find(ID)
    names = [*entry.controls, entry.published, *entry.teachers, *entry.upper_bounds, *entry.others, *trained]
    agents: dict[str, Any] = {name.partition(":")[0]: name for name in names}
    agents |= {KNOWN + name: knowing(name) for pair in PAPERS[:3] for name in pair[:2]}
    with each_teacher() as advance:
        found = compare(ID, agents, EPISODES, progress=advance)
    accuracy = {result.agent: result.after.round(6).tolist() for result in found}
    return {"env_id": ID, "episodes": EPISODES, "accuracy": accuracy}


def tables(measured: dict[str, Any]) -> dict[str, str]:
    """Markdown tables by the name of their place."""
    accuracy = {name: np.array(scores) for name, scores in measured["accuracy"].items()}
    adaptive = (*RULES, "random", "stat_select", "select_ppo", *find(ID).upper_bounds)
    constant = [name for name in accuracy if name not in adaptive and not name.startswith(KNOWN)]
    return {"headroom": headroom(ID, {"minus": accuracy}, RULES, constant), "papers": _papers(accuracy)}


def _papers(accuracy: Accuracy) -> str:
    columns = [*"paper,rule,accuracy,minus keep_all,its twin,minus twin,claim's sign".split(",")]
    columns += ["minus twin, right scorers known", "claim's sign"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for rule, twin, paper in PAPERS:
        cells = [
            paper,
            rule,
            f"{accuracy[rule].mean():.3f}",
            exact(mean_interval(accuracy[rule] - accuracy["keep_all"])),
            twin,
        ]
        for prefix in ("", KNOWN):
            known = prefix + rule in accuracy
            difference = accuracy[prefix + rule] - accuracy[prefix + twin] if known else None
            cells += ["", ""] if difference is None else [exact(mean_interval(difference)), _sign(difference)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _sign(difference: Scores) -> str:
    found = mean_interval(difference)
    return seen(found.low, found.high)


def main(
    measure_all: Annotated[bool, typer.Option("--measure", help="Measure all teachers anew.")] = False,
    trained: Annotated[
        str, typer.Option(help="Trained teachers, by commas.")
    ] = f"select_search:{FOLDER}/select_search.json",
    threads: Threads = 1,
) -> None:
    """Measure, or only write the tables."""
    set_threads(threads)
    write("select", measure(trained.split(",")) if measure_all else None, tables)


if __name__ == "__main__":
    run_command(main)
