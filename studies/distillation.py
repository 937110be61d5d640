"""What papers' recipes for distillation are worth on Distill-Images, each against a twin that lacks what the paper adds.

python -m kdgym.studies.distillation --measure     measure all teachers, write docs/distill.json, and the tables
python -m kdgym.studies.distillation               write the tables of docs/distill.md anew from docs/distill.json
"""

from __future__ import annotations

import json
import time
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
from kdgym.evaluation import Result, agent_class, compare
from kdgym.evaluation.report import exact, markdown, with_tables
from kdgym.evaluation.statistics import Interval, mean_interval
from kdgym.registration import find
from kdgym.storage import write_atomically

ID, EPISODES = "kdgym/Distill-Images-v0", 64
OTHERS = 8_000_000  # first seed of students on whom nothing was chosen
KNOWN = "known "  # in names: a paper's rule that is told whom to trust
ASSUMED = {"shares": (1.0,)}  # what papers assume beside one sound teacher: all given labels are right
HELD = "assumptions hold"
FIRST_SIGHT = ("sound one named", "chance")
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
        **assumed(ID, PAPERS, "teacher", **ASSUMED),
        "calibration": {_name(result): result.extras["calibration"].round(6).tolist() for result in found},
        "others": {_name(result): result.after.round(6).tolist() for result in others},
        "first_sight": first_sight(SEEN),
    }


def assumed(env_id: str, papers: Sequence[tuple[str, ...]], dial: str, **settings: Any) -> dict[str, Any]:
    """What papers' rules and twins are worth where what their papers assume holds, to be kept as JSON.

    Args:
        env_id: whose rules these are.
        papers: the rule, its twin, and more.
        dial: of trust, see `knowing`.
        settings: of the environment.

    Returns:
        Of 64 unseen students by name: ``assumed``, test accuracy, and ``assumed_calibration``, the calibration error; and
        ``assumed_seconds`` of the processor that it took.
    """
    agents, begin = {name: knowing(name, dial) for pair in papers for name in pair[:2]}, time.process_time()
    with each_teacher() as advance:
        found = compare(env_id, agents, EPISODES, control=papers[0][1], progress=advance, **settings)
    return {
        "assumed": {result.agent: result.after.round(6).tolist() for result in found},
        "assumed_calibration": {result.agent: result.extras["calibration"].round(6).tolist() for result in found},
        "assumed_seconds": round(time.process_time() - begin),
    }


def knowing(name: str, dial: str) -> type[Any]:
    """A rule that trusts all alike, told by that dial whom to trust, as a paper's model need not be doubted: an upper bound."""
    base: type[Any] = agent_class(name)

    class Knowing(base):  # type: ignore[misc]
        upper_bound = True

        def act(self, observation: Any) -> Any:
            # Equal trust is 0 in actions, and so are all other dials where only trust is encoded.
            return super().act(observation) + self.action_space.encode(**{dial: self.envs.hidden()["good"]})

    return Knowing


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
    keys = ("accuracy", "calibration", "others", "assumed", "assumed_calibration")
    accuracy, error, others, *known = (scores_of(measured, key) for key in keys)
    columns = {"minus": accuracy, "the same of other students": others}
    first = markdown(("unseen students", *FIRST_SIGHT), [named_cells(measured["first_sight"])])
    table = _papers((accuracy, error), (known[0], known[1]))
    return {"headroom": headroom(ID, columns, RULES), "papers": table, "first": first, "time": time_taken(measured)}


def time_taken(measured: dict[str, Any]) -> str:
    """A sentence on what `assumed` took."""
    return f"The columns on assumptions took {measured['assumed_seconds']} seconds of one core's time."


def scores_of(measured: dict[str, Any], key: str) -> Accuracy:
    """Of every student, by teacher."""
    return {name: np.array(values) for name, values in measured[key].items()}


def named_cells(named: Sequence[int]) -> list[str]:
    """How many students; for which share of them a first observation told whom to trust; and what chance is."""
    share = mean_interval(np.array(named))
    return [f"{len(named)}", f"{share.mean:.3f} [{share.low:.3f}, {share.high:.3f}]", f"{1 / TEACHERS:.3f}"]


def headroom(env_id: str, columns: dict[str, Accuracy], rules: Sequence[str]) -> str:
    """A table of what there is to gain: random, the control, the best constant recipe, rules, what learned, upper bounds.

    Args:
        env_id: whose teachers these are.
        columns: by heading; the first is of all teachers, and the best of them are chosen there.
        rules: in the order of the table.
    """
    entry, accuracy = find(env_id), next(iter(columns.values()))
    constant = [name for name in accuracy if not name.startswith(KNOWN) and agent_class(name).static]
    best, rule = (max(names, key=lambda name: float(accuracy[name].mean())) for names in (constant, rules))
    learned = [name for name in entry.trained if name in accuracy and name not in constant]
    rows = [("random", "random dials", ""), (entry.controls[0], "neutral action, the control", "random")]
    rows += [(best, "best constant recipe, chosen on these students", "random")]
    rows += [(name, what, best) for names, what in ((rules, "rule"), (learned, "learned")) for name in names]
    rows += [(name, "upper bound", rule) for name in entry.upper_bounds]
    lines = []
    for name, what, below in rows:
        cells = [
            f"{exact(mean_interval(scores[name] - scores[below]))} {below}" if {name, below} <= scores.keys() else ""
            for scores in columns.values()
        ]
        lines.append([name, what, f"{accuracy[name].mean():.3f}", *cells])
    return markdown(("teacher", "what it is", "accuracy", *columns), lines)


def _papers(*measured: tuple[Accuracy, Accuracy]) -> str:
    """Accuracy and calibration error, as measured with equal trust and where what papers assume holds."""
    lines = []
    for rule, twin, paper, claim in PAPERS:
        cells = [paper, rule, f"{measured[0][0][rule].mean():.3f}", twin]
        for both in measured:
            difference, miss = (mean_interval(scores[rule] - scores[twin]) for scores in both)
            cells += [exact(difference), exact(miss), _sign(difference if claim == "accuracy" else miss, claim)]
        lines.append(cells)
    found = ("minus twin", "calibration error minus twin", "claim's sign")
    return markdown(("paper", "rule", "accuracy", "its twin", *found, *(f"{what}, {HELD}" for what in found)), lines)


def papers_table(
    papers: Sequence[tuple[str, str, str]], control: str, accuracy: Accuracy, known: Accuracy, held: str
) -> str:
    """Papers' rules against a control and against their twins, these a second time where what papers assume holds.

    Args:
        papers: the rule, its twin, and the paper.
        control: what all are compared with.
        accuracy: by teacher.
        known: the same where the assumptions hold; perhaps not of all.
        held: what that is, for the heading.
    """
    lines = []
    for rule, twin, paper in papers:
        over = exact(mean_interval(accuracy[rule] - accuracy[control]))
        cells = [paper, rule, f"{accuracy[rule].mean():.3f}", over, twin]
        for scores in (accuracy, known):
            found = mean_interval(scores[rule] - scores[twin]) if rule in scores else None
            cells += ["", ""] if found is None else [exact(found), seen(found.low, found.high)]
        lines.append(cells)
    head = ("paper", "rule", "accuracy", f"minus {control}", "its twin", "minus twin", "claim's sign")
    return markdown((*head, f"minus twin, {held}", "claim's sign"), lines)


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
