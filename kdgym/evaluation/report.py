"""Comparisons as tables and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from kdgym.evaluation.headroom import KINDS, LEAST, Kind, Room
from kdgym.evaluation.raw import MOST_FAILED, RawResult
from kdgym.evaluation.statistics import (
    Interval,
    auroc_interval,
    interquartile_mean,
    log_scores,
    mean_interval,
    probability_of_improvement,
    ratio_interval,
    smallest_detectable_difference,
)
from kdgym.registration import find


def ranked(results: Sequence[RawResult]) -> list[RawResult]:
    """Best first, by mean score after the last step."""
    return sorted(results, key=lambda result: -result.after.mean())


_BOUND = "* upper bound: sees or does more than a teacher may"


def _table(title: str, columns: Sequence[str], caption: str = _BOUND) -> Table:
    """A table that fits a terminal of 80 columns; all but the text columns are numbers."""
    table = Table(
        title=title,
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption=caption,
        expand=False,
    )
    for name in columns:
        text = name in ("teacher", "row")
        table.add_column(name, justify="left" if text else "right", overflow="fold", no_wrap=not text)
    return table


def _name(result: RawResult) -> str:
    name = (
        f"{result.agent} *" if result.upper_bound else result.agent.partition(":")[0]
    )  # not the file of a trained one
    failed = f"\nfailed questions {100 * result.failed_questions:.0f} %"
    return name + failed if result.failed_questions > MOST_FAILED else name


def remarks(results: Sequence[RawResult]) -> list[str]:
    """What teachers have to say of themselves, a line each."""
    return [
        f"{result.agent}: " + ", ".join(f"{n} {what}" for what, n in result.remarks.items()) + "."
        for result in results
        if result.remarks
    ]


def result_table(result: RawResult) -> Table:
    """One teacher: mean score before and after, and the gain with its 95 % interval."""
    title = f"{result.env_id}: {find(result.env_id).measure}, {len(result.seeds)} unseen students"
    table = _table(title, ("teacher", "before", "after", "IQM after", "gain"))
    scores = result.before.mean(), result.after.mean(), interquartile_mean(result.after)
    gain = mean_interval(result.after - result.before)
    table.add_row(_name(result), *(f"{score:.2f}" for score in scores), str(gain))
    return table


def comparison_table(results: Sequence[RawResult], control: RawResult) -> Table:
    """One row an agent, best first: score, and paired differences (95 % intervals) to the control and to the row below."""
    title = f"{control.env_id}: {find(control.env_id).measure}, {len(control.seeds)} unseen students"
    table = _table(title, ("teacher", "mean", "IQM", f"minus {control.agent}", "minus row below"))
    rows = ranked(results)
    for result, below in zip(rows, [*rows[1:], None], strict=True):
        table.add_row(
            _name(result),
            f"{result.after.mean():.2f}",
            f"{interquartile_mean(result.after):.2f}",
            "" if result is control else str(mean_interval(result.after - control.after)),
            "" if below is None else str(mean_interval(result.after - below.after)),
        )
    return table


def placebo_table(results: Sequence[RawResult]) -> Table:
    """What was learned, apart from adaptation to the format: mean scores of twins, and paired differences."""
    table = _table("A twin's lessons had their content destroyed", ("teacher", "before", "format", "learned", "after"))
    for result in ranked(results):
        twin = result.extras["placebo"]
        table.add_row(
            _name(result),
            f"{result.before.mean():.2f}",
            str(mean_interval(twin - result.before)),
            str(mean_interval(result.after - twin)),
            f"{result.after.mean():.2f}",
        )
    return table


def _as_json(interval: Interval) -> dict[str, float]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}


def comparison_json(results: Sequence[RawResult], control: RawResult) -> dict[str, Any]:
    """Everything the table says, with the raw per-seed records it was computed from."""
    rows = ranked(results)
    return {
        "env_id": control.env_id,
        "control": control.agent,
        "episodes": len(control.seeds),
        "agents": [
            {
                "agent": result.agent,
                "upper_bound": result.upper_bound,
                "score": _as_json(mean_interval(result.after)),
                "iqm": interquartile_mean(result.after),
                "minus_control": _as_json(mean_interval(result.after - control.after)),
                "minus_next": None if below is None else _as_json(mean_interval(result.after - below.after)),
                "better_than_next": None if below is None else probability_of_improvement(result.after, below.after),
                "detectable_difference": smallest_detectable_difference(result.after - control.after),
                **{name: _as_json(interval) for name, interval in extras(result).items()},
                **({"failed_questions": result.failed_questions} if "questions" in result.remarks else {}),
            }
            for result, below in zip(rows, [*rows[1:], None], strict=True)
        ],
        "records": [result.to_json() for result in rows],
    }


def exact(found: Interval) -> str:
    """An interval with three digits."""
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def with_tables(page: str, tables: Mapping[str, str]) -> str:
    """A Markdown page with tables in their places, each between ``<!-- NAME -->`` and the next ``<!-- end -->``.

    Raises:
        ValueError: the page has no such place.
    """
    for name, table in tables.items():
        head, begin, rest = page.partition(f"<!-- {name} -->\n")
        _, end, tail = rest.partition("<!-- end -->")
        if not begin or not end:
            raise ValueError(f"The page has no <!-- {name} --> and <!-- end --> around a table; add these two lines.")
        page = f"{head}{begin}{table}\n{end}{tail}"
    return page


def room_table(found: Room) -> Table:
    """The best of each kind, and paired differences (95 % intervals)."""
    title = f"{found.env_id}: {find(found.env_id).measure}, {found.students} students, {found.source}"
    columns = ("row", "teacher", "mean", "minus", "difference")
    table = _table(title, columns, caption="Chosen on one half of the students, scored on the other half.")
    for kind, best in found.rows.items():
        difference = found.differences.get(kind)
        apart = ("", "") if difference is None else (difference.lower, exact(difference.interval))
        table.add_row(KINDS[kind], Text(" / ".join(best.teachers)), f"{best.scores.mean():.3f}", *apart)
    return table


def room_remarks(found: Room) -> list[str]:
    """Whether the thresholds hold, a line each."""
    questions: dict[Kind, str] = {
        "rule": "rule above static and control",
        "bound": "upper bound above rule and learned",
    }
    lines = []
    for kind, what in questions.items():
        difference = found.differences.get(kind)
        verdict = "nothing to compare" if difference is None else "yes" if difference.is_room else "no"
        lines.append(f"At least {LEAST} with an interval above 0, {what}: {verdict}.")
    return lines


def extras(result: RawResult) -> dict[str, Interval]:
    """What else was measured, over students: of misconceptions, of the diagnosis, of retention."""
    measured, intervals = result.extras, {}
    if "held" in measured:
        held = measured["held"]
        for name in ("expression_before", "expression", "cured"):
            intervals[name] = mean_interval((measured[name] * held).sum(1) / held.sum(1))
        intervals["harm"] = mean_interval(measured["harm"])
        if "belief" in measured and not held.all():
            intervals["auroc"] = auroc_interval(held, measured["belief"])
            intervals["log_score"] = mean_interval(log_scores(held, measured["belief"]))
            base_rate = np.full(held.shape, held.mean())  # what a teacher says that knows only how many there are
            intervals["log_score_base_rate"] = mean_interval(log_scores(held, base_rate))
    if "retained_before" in measured:
        before, after = measured["retained_before"], measured["retained_after"]
        intervals["retained_before"], intervals["retained_after"] = mean_interval(before), mean_interval(after)
        if before.any():
            intervals["retention"] = ratio_interval(after, before)
    if tradeoff := find(result.env_id).tradeoff:
        wanted, cost = tradeoff
        intervals |= {name: mean_interval(measured[name]) for name in tradeoff}
        intervals[f"per_{cost}"] = ratio_interval(measured[wanted], measured[cost])
    return intervals


_EXTRAS = {  # title -> heading -> what `extras` calls it
    "Misconceptions, test split: wrong rules followed, share cured, share of what was right harmed": {
        "followed": "expression", "cured": "cured", "harm": "harm"},
    "Diagnosis: who began with which misconception": {
        "AUROC": "auroc", "log score": "log_score", "base rate": "log_score_base_rate"},
    "Targets, test split, before and after unrelated training": {
        "before": "retained_before", "after": "retained_after", "retention": "retention"},
}  # fmt: skip


def extras_tables(results: Sequence[RawResult]) -> list[Table]:
    """Tables of what else was measured, with 95 % intervals: placebo twins, misconceptions, diagnosis, retention."""
    measured = {result.agent: extras(result) for result in results}
    tables = [placebo_table(results)] if all("placebo" in result.extras for result in results) else []
    weighed = {}
    if tradeoff := find(results[0].env_id).tradeoff:
        wanted, cost = tradeoff
        title = f"{wanted}: {tradeoff[wanted]}; {cost}: {tradeoff[cost]}"
        weighed = {title: {wanted: wanted, cost: cost, f"{wanted}/{cost}": f"per_{cost}"}}
    for title, columns in {**weighed, **_EXTRAS}.items():
        rows = [result for result in ranked(results) if next(iter(columns.values())) in measured[result.agent]]
        if rows:
            tables.append(_table(title, ("teacher", *columns)))
        for result in rows:
            found = measured[result.agent]
            tables[-1].add_row(
                _name(result), *(found[name].unsigned() if name in found else "" for name in columns.values())
            )
    return tables
