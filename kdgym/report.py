"""Comparisons as tables and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from kdgym.evaluation import Result
from kdgym.statistics import (
    Interval,
    interquartile_mean,
    mean_interval,
    probability_of_improvement,
    smallest_detectable_difference,
)


def ranked(results: Sequence[Result]) -> list[Result]:
    """Best first, by mean score after the last step."""
    return sorted(results, key=lambda result: -result.after.mean())


def _table(title: str, columns: Sequence[str]) -> Table:
    """A table that fits a terminal of 80 columns; all but the text columns are numbers."""
    table = Table(
        title=title,
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption="* upper bound: sees or does more than a teacher may",
        expand=False,
    )
    for name in columns:
        text = name in ("teacher", "row")
        table.add_column(name, justify="left" if text else "right", overflow="fold", no_wrap=not text)
    return table


def _name(result: Result) -> str:
    return f"{result.agent} *" if result.upper_bound else result.agent


def comparison_table(results: Sequence[Result], control: Result) -> Table:
    """One row an agent, best first: score, and paired differences (95 % intervals) to the control and to the row below."""
    title = f"{control.env_id}: test accuracy on the targets, {len(control.seeds)} unseen students"
    table = _table(title, ("teacher", "mean", "IQM", f"minus {control.agent}", "minus next row"))
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


def placebo_table(results: Sequence[Result]) -> Table:
    """What was learned, apart from adaptation to the format: mean scores of twins, and paired differences."""
    table = _table("A twin's lessons had their content destroyed", ("teacher", "before", "format", "learned", "after"))
    for result in ranked(results):
        twin = result.besides["placebo"]
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


def comparison_json(results: Sequence[Result], control: Result) -> dict[str, Any]:
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
            }
            for result, below in zip(rows, [*rows[1:], None], strict=True)
        ],
        "records": [result.to_json() for result in rows],
    }


def headroom_table(results: Sequence[Result], control: Result, best: Result, roles: dict[str, str]) -> Table:
    """What there is to win: every row's share of the way from the control to the best upper bound."""
    title = f"Headroom of {control.env_id}, {len(control.seeds)} unseen students, test split"
    table = _table(title, ("row", "teacher", "mean", f"minus {control.agent}", "of headroom"))
    room = float((best.after - control.after).mean())
    for result in reversed(ranked(results)):
        gain = mean_interval(result.after - control.after)
        share = f"{gain.mean / room:.0%}" if room > 0 else ""
        table.add_row(roles[result.agent], _name(result), f"{result.after.mean():.2f}", str(gain), share)
    return table
