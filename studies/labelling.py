"""What papers' rules for labels are worth on Label-Weak, each against a twin that lacks what the paper adds.

python -m kdgym.studies.labelling --measure     measure all teachers, write docs/label.json, and the tables
python -m kdgym.studies.labelling               write the tables of docs/label.md anew from docs/label.json
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from kdgym.cli.errors import run_command
from kdgym.console import Threads, set_threads
from kdgym.envs.label.label import SOURCES, Label
from kdgym.evaluation import compare
from kdgym.evaluation.report import markdown
from kdgym.registration import find
from kdgym.studies.distillation import (
    ASSUMED,
    FIRST_SIGHT,
    FOLDER,
    HELD,
    OTHERS,
    SEEN,
    Scores,
    assumed,
    each_teacher,
    headroom,
    named_cells,
    papers_table,
    scores_of,
    time_taken,
    write,
)

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
    sight = {"first_sight": first_sight(SEEN), "first_sight_with_validation": first_sight(SEEN, validation=True)}
    held = assumed(ID, PAPERS, "source", **ASSUMED, faulty=0)
    return {"env_id": ID, "episodes": EPISODES, "accuracy": accuracy, **held, **sight}


def first_sight(students: int, validation: bool = False) -> list[int]:
    """For whom of so many unseen students a rule names the sound source by the first observation: 1 or 0 each.

    The rule is linear in the ranks of what is said of sources, one-hot, fitted by least squares to as many training students.
    With ``validation`` it also sees by rank how far a source's agreement with the untrained student is from the accuracy.
    """
    ranks, good = _first_ranks("train", students, validation)
    rule = np.linalg.lstsq(ranks.reshape(-1, ranks.shape[2]), good.flatten(), rcond=None)[0]
    others, right = _first_ranks("evaluation", students, validation)
    return [int(named) for named in right[np.arange(students), (others @ rule).argmax(1)]]


def _first_ranks(pool: str, students: int, validation: bool) -> tuple[Scores, npt.NDArray[np.int64]]:
    """Ranks of five sources, one-hot [S, 5, 10 or 15], and which of them is sound [S, 5]."""
    envs = Label(students, pool=pool)
    seen, _ = envs.reset(seed=OTHERS)
    of_sources = [seen["own_agreement"], seen["peers"]]
    if validation:
        of_sources.append(np.abs(seen["own_agreement"] - seen["accuracy"].mean(1, keepdims=True)))
    ranks = [np.eye(SOURCES)[values.argsort(1).argsort(1)] for values in of_sources]
    return np.concatenate(ranks, axis=2), envs.hidden()["good"]


def tables(measured: dict[str, Any]) -> dict[str, str]:
    """Markdown tables by the name of their place."""
    accuracy = scores_of(measured, "accuracy")
    first = [
        [sees, *named_cells(measured[key])]
        for key, sees in (
            ("first_sight", "what is said of sources"),
            ("first_sight_with_validation", "the validation too"),
        )
    ]
    return {
        "headroom": headroom(ID, {"minus": accuracy}, RULES),
        "papers": papers_table(PAPERS, "supervised_only", accuracy, scores_of(measured, "assumed"), HELD),
        "time": time_taken(measured),
        "first": markdown(("the rule sees", "unseen students", *FIRST_SIGHT), first),
    }


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
