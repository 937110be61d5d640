"""What papers' rules for labels are worth on Label-Weak, each against a twin that lacks what the paper adds.

python -m kdgym.studies.labelling --measure     measure all teachers, write docs/label.json, and the tables
python -m kdgym.studies.labelling               write the tables of docs/label.md anew from docs/label.json
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
from kdgym.teaching import Fixed

ID, EPISODES = "kdgym/Label-Weak-v0", 64
# The paper's rule, its twin, and the paper.
PAPERS = (
    ("queaco", "queaco_no_feedback", "QUEACO"),
    ("consistent_teacher", "fixed_threshold", "Consistent-Teacher"),
    ("hssda", "hssda_one_threshold", "HSSDA, the middle band"),
    ("hssda", "hssda_one_view", "HSSDA, the second view"),
    ("spl", "spl_merged", "SPL"),
    ("annotate_random", "supervised_only", "IPTC annotator"),
    ("annotate_unsure", "annotate_random", "the same, unsure items first"),
)
RULES = ("bought_source", "probing_source")


def measure(trained: list[str]) -> dict[str, Any]:
    """Test accuracy of 64 unseen students under every teacher; ``trained`` are NAME:FILE."""
    entry = find(ID)
    names = [*entry.controls, entry.published, *entry.teachers, *entry.upper_bounds, *entry.others, *trained]
    with each_teacher() as advance:
        found = compare(ID, {name.partition(":")[0]: name for name in names}, EPISODES, progress=advance)
    accuracy = {result.agent: result.after.round(6).tolist() for result in found}
    return {"env_id": ID, "episodes": EPISODES, "accuracy": accuracy}


def tables(measured: dict[str, Any]) -> dict[str, str]:
    """Markdown tables by the name of their place."""
    accuracy = {name: np.array(scores) for name, scores in measured["accuracy"].items()}
    constant = [name for name in accuracy if name == "label_search" or issubclass(agent_class(name), Fixed)]
    return {"headroom": headroom(ID, {"minus": accuracy}, RULES, constant), "papers": _papers(accuracy)}


def _papers(accuracy: Accuracy) -> str:
    columns = "| paper | rule | accuracy | minus supervised_only | its twin | minus twin | claim's sign |"
    lines = [columns, "|---" * 7 + "|"]
    for rule, twin, paper in PAPERS:
        over, difference = accuracy[rule] - accuracy["supervised_only"], accuracy[rule] - accuracy[twin]
        found = mean_interval(difference)
        cells = [paper, rule, f"{accuracy[rule].mean():.3f}", _exact(over), twin, exact(found)]
        lines.append(f"| {' | '.join(cells)} | {seen(found.low, found.high)} |")
    return "\n".join(lines)


def _exact(difference: Scores) -> str:
    return exact(mean_interval(difference))


def main(
    measure_all: Annotated[bool, typer.Option("--measure", help="Measure all teachers anew.")] = False,
    trained: Annotated[
        str, typer.Option(help="Trained teachers, by commas.")
    ] = f"label_search:{FOLDER}/label_search.json",
    threads: Threads = 1,
) -> None:
    """Measure, or only write the tables."""
    set_threads(threads)
    write("label", measure(trained.split(",")) if measure_all else None, tables)


if __name__ == "__main__":
    run_command(main)
