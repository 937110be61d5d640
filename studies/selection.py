"""What papers' selections are worth on Select-Images, each against a twin that lacks what the paper adds.

python -m kdgym.studies.selection --measure     measure all teachers, write docs/select.json, and the tables
python -m kdgym.studies.selection               write the tables of docs/select.md anew from docs/select.json
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from kdgym.cli.errors import run_command
from kdgym.console import Threads, set_threads
from kdgym.evaluation import compare
from kdgym.registration import find
from kdgym.studies.distillation import (
    FOLDER,
    KNOWN,
    each_teacher,
    headroom,
    knowing,
    papers_table,
    scores_of,
    write,
)

ID, EPISODES = "kdgym/Select-Images-v0", 64
# The paper's rule, its twin, and the paper.
PAPERS = (
    ("mini_plm", "mini_plm_teacher", "MiniPLM"),
    ("kd3", "kd3_scorer", "KD3"),
    ("impossible_distillation", "impossible_unfiltered", "Impossible Distillation"),
    ("stat_select", "keep_all", "STAT"),
)
RULES = ("agreeing_scorer", "trying_scorer", "probing_scorer")


def measure(trained: list[str]) -> dict[str, Any]:
    """Test accuracy of 64 unseen students under every teacher; ``trained`` are NAME:FILE."""
    entry = find(ID)
    names = [*entry.controls, entry.published, *entry.teachers, *entry.upper_bounds, *entry.others, *trained]
    agents: dict[str, Any] = {name.partition(":")[0]: name for name in names}
    agents |= {KNOWN + name: knowing(name, "scorer") for pair in PAPERS[:3] for name in pair[:2]}
    with each_teacher() as advance:
        found = compare(ID, agents, EPISODES, progress=advance)
    accuracy = {result.agent: result.after.round(6).tolist() for result in found}
    return {"env_id": ID, "episodes": EPISODES, "accuracy": accuracy}


def tables(measured: dict[str, Any]) -> dict[str, str]:
    """Markdown tables by the name of their place."""
    accuracy = scores_of(measured, "accuracy")
    known = {name.removeprefix(KNOWN): scores for name, scores in accuracy.items() if name.startswith(KNOWN)}
    papers = papers_table(PAPERS, "keep_all", accuracy, known, "right scorers known")
    return {"headroom": headroom(ID, {"minus": accuracy}, RULES), "papers": papers}


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
