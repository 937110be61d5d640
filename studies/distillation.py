"""What papers' recipes for distillation are worth on Distill-Images, each against a twin that lacks what the paper adds.

python -m kdgym.studies.distillation --measure     measure all teachers, write docs/distill.json, and the tables
python -m kdgym.studies.distillation               write the tables of docs/distill.md anew from docs/distill.json
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from kdgym.cli.errors import run_command
from kdgym.console import Threads, console, progress_bar, set_threads
from kdgym.envs.distill.distill import TEACHERS, Distill
from kdgym.evaluation import Result, compare
from kdgym.evaluation.report import exact, with_tables
from kdgym.evaluation.statistics import Interval, mean_interval
from kdgym.registration import find
from kdgym.storage import write_atomically

ID, EPISODES = "kdgym/Distill-Images-v0", 64
OTHERS = 8_000_000  # first seed of students on whom nothing was chosen
SEEN = 1024  # students whose first observation alone is looked at
FOLDER = Path(__file__).parent.parent / "docs"
RULES = ("agreeing_teacher", "probing_teacher")
# The paper's recipe, its twin, and what the paper claims of the accuracy or the calibration of students.
PAPERS = (
    ("plain_kd", "hard_labels", "Hinton et al. 2015", "accuracy"),
    ("reverse_kd", "plain_kd", "reverse KL instead of forward", ""),
    ("bd_kd", "bd_kd_even", "BD-KD", "calibration"),
    ("ofa_kd", "ofa_kd_no_boost", "OFA-KD", "accuracy"),
    ("mcmi", "mcmi_zero", "MCMI", "accuracy"),
    ("lelp", "lelp_none", "LELP", "accuracy"),
    ("lad", "lad_blind", "LAD", "accuracy"),
    ("med_det", "med_det_no_critic", "MedDet", "accuracy"),
    ("uni_distill", "uni_distill_response", "UniDistill", "accuracy"),
    ("scale_kd", "scale_kd_no_head", "ScaleKD", "accuracy"),
    ("trans_kd", "trans_kd_logits", "TransKD", "accuracy"),
)
Scores = npt.NDArray[np.float64]
Accuracy = dict[str, Scores]  # of every student, by teacher


def measure(searched: str) -> dict[str, Any]:
    """Test accuracy and calibration error of 64 unseen students under every teacher; ``searched`` is recipe_search:FILE.

    A few teachers are measured on 64 other students too.
    """
    entry = find(ID)
    names = [*entry.controls, entry.published, *entry.teachers, *entry.upper_bounds, *entry.others]
    with each_teacher() as advance:
        found = compare(ID, [*dict.fromkeys(names), searched], EPISODES, progress=advance)
        few = [*entry.controls, entry.published, searched, *RULES, *entry.upper_bounds]
        others = compare(ID, few, EPISODES, first_seed=OTHERS, progress=advance)
    return {
        "env_id": ID,
        "episodes": EPISODES,
        "accuracy": {_name(result): result.after.round(6).tolist() for result in found},
        "calibration": {_name(result): result.extras["calibration"].round(6).tolist() for result in found},
        "others": {_name(result): result.after.round(6).tolist() for result in others},
        "first_sight": first_sight(SEEN),
    }


def first_sight(students: int) -> list[int]:
    """For whom of so many unseen students a rule names the sound teacher by the first observation: 1 or 0 each.

    The rule is linear in the ranks of five observations, one-hot, fitted by least squares to as many training students.
    """
    ranks, good = _first_ranks("train", students)
    rule = np.linalg.lstsq(ranks.reshape(-1, ranks.shape[2]), good.flatten(), rcond=None)[0]
    others, right = _first_ranks("evaluation", students)
    return [int(named) for named in right[np.arange(students), (others @ rule).argmax(1)]]


def _first_ranks(pool: str, students: int) -> tuple[Scores, npt.NDArray[np.int64]]:
    """Ranks of five teachers, one-hot [S, 5, 25], and which of them is sound [S, 5]."""
    envs = Distill(students, pool=pool)
    seen, _ = envs.reset(seed=OTHERS)
    names = ("agreement", "label_loss", "entropy", "divergence", "peers")
    ranks = [np.eye(TEACHERS)[seen[name].argsort(1).argsort(1)] for name in names]
    return np.concatenate(ranks, axis=2), envs.hidden()["good"]


def _name(result: Result) -> str:
    return result.agent.partition(":")[0]


def written(measured: dict[str, Any]) -> str:
    """As JSON, a line a teacher."""
    return json.dumps(measured).replace("], ", "],\n").replace("{", "{\n") + "\n"


def tables(measured: dict[str, Any]) -> dict[str, str]:
    """Markdown tables by the name of their place."""
    accuracy, error, others = (
        {name: np.array(v) for name, v in measured[key].items()} for key in ("accuracy", "calibration", "others")
    )
    constant = [*accuracy.keys() - {*find(ID).upper_bounds, *RULES, "random"}]
    columns = {"minus": accuracy, "the same of other students": others}
    named = np.array(measured["first_sight"])
    share = mean_interval(named)
    table = f"| unseen students | sound teacher named | chance |\n|---|---|---|\n| {len(named)} "
    table += f"| {share.mean:.3f} [{share.low:.3f}, {share.high:.3f}] | {1 / TEACHERS:.3f} |"
    return {"headroom": headroom(ID, columns, RULES, constant), "papers": _papers(accuracy, error), "first": table}


def headroom(env_id: str, columns: dict[str, Accuracy], rules: Sequence[str], constant: Sequence[str]) -> str:
    """A table of what there is to gain: random, the control, the best constant recipe, rules, what learned, upper bounds.

    Args:
        env_id: whose teachers these are.
        columns: by heading; the first is of all teachers, and the best of them are chosen there.
        rules: in the order of the table.
        constant: teachers who set one recipe for all students and steps.
    """
    entry, accuracy = find(env_id), next(iter(columns.values()))
    best, rule = (max(names, key=lambda name: float(accuracy[name].mean())) for names in (constant, rules))
    learned = [name for name in entry.trained if name in accuracy and name not in constant]
    rows = [("random", "random dials", ""), (entry.controls[0], "neutral action, the control", "random")]
    rows += [(best, "best constant recipe, chosen on these students", "random")]
    rows += [(name, what, best) for names, what in ((rules, "rule"), (learned, "learned")) for name in names]
    rows += [(name, "upper bound", rule) for name in entry.upper_bounds]
    lines = [f"| teacher | what it is | accuracy | {' | '.join(columns)} |", "|---|---|---|" + "---|" * len(columns)]
    for name, what, below in rows:
        cells = [
            f"{exact(mean_interval(scores[name] - scores[below]))} {below}" if {name, below} <= scores.keys() else ""
            for scores in columns.values()
        ]
        lines.append(f"| {name} | {what} | {accuracy[name].mean():.3f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _papers(accuracy: Accuracy, error: Accuracy) -> str:
    lines = [
        "| paper | rule | accuracy | its twin | minus twin | calibration error minus twin | claim's sign |",
        "|---|---|---|---|---|---|---|",
    ]
    for rule, twin, paper, claim in PAPERS:
        difference, miss = mean_interval(accuracy[rule] - accuracy[twin]), mean_interval(error[rule] - error[twin])
        sign = _sign(difference if claim == "accuracy" else miss, claim)
        lines.append(
            f"| {paper} | {rule} | {accuracy[rule].mean():.3f} | {twin} | {exact(difference)} | {exact(miss)} | {sign} |"
        )
    return "\n".join(lines)


def seen(low: float, high: float) -> str:
    """Whether the sign of a claim that something rises is seen."""
    return "holds" if low > 0 else "does not hold" if high < 0 else "not clear"


@contextmanager
def each_teacher() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar over teachers, as `compare` reports them."""
    with progress_bar() as bar:
        task = bar.add_task("all teachers", total=None)
        yield lambda agent, done, total: bar.update(task, description=agent, completed=done, total=total)


def _sign(found: Interval, claim: str) -> str:
    """Whether a claim's sign is seen: accuracy should rise, or the calibration error fall."""
    if not claim:
        return "none claimed"
    low, high = (found.low, found.high) if claim == "accuracy" else (-found.high, -found.low)
    return f"{claim}: {seen(low, high)}"


def write(name: str, measured: dict[str, Any] | None, tables: Callable[[dict[str, Any]], dict[str, str]]) -> None:
    """Write what was measured, if it was, to ``docs/NAME.json``, and the tables of ``docs/NAME.md`` from that file."""
    results, page = FOLDER / f"{name}.json", FOLDER / f"{name}.md"
    if measured is not None:
        write_atomically(results, written(measured).encode())
    write_atomically(page, with_tables(page.read_text(), tables(json.loads(results.read_text()))).encode())
    console.print(f"Wrote {page}")


def main(
    measure_all: Annotated[bool, typer.Option("--measure", help="Measure all teachers anew.")] = False,
    searched: Annotated[str, typer.Option(help="The searched recipe.")] = f"recipe_search:{FOLDER}/recipe_search.json",
    threads: Threads = 1,
) -> None:
    """Measure, or only write the tables."""
    set_threads(threads)
    write("distill", measure(searched) if measure_all else None, tables)


if __name__ == "__main__":
    run_command(main)
