"""Comparisons as tables and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


def comparison_table(results: Sequence[Result], control: Result) -> Table:
    """One row an agent, best first: score, and paired differences to the control and to the row below."""
    table = Table(title=f"{control.env_id}, {len(control.seeds)} unseen students, test split")
    table.add_column("teacher")
    for name in (
        "score",
        "IQM",
        f"minus {control.agent} [95 %]",
        "minus next row [95 %]",
        "P(better than next)",
        "items",
        "money",
    ):
        table.add_column(name, justify="right")
    rows = ranked(results)
    for result, below in zip(rows, [*rows[1:], None], strict=True):
        label = f"{result.agent} [dim](upper bound)[/dim]" if result.upper_bound else result.agent
        against = "" if below is None else str(mean_interval(result.after - below.after))
        better = "" if below is None else f"{probability_of_improvement(result.after, below.after):.2f}"
        table.add_row(
            label,
            f"{result.after.mean():.3f}",
            f"{interquartile_mean(result.after):.3f}",
            "" if result is control else str(mean_interval(result.after - control.after)),
            against,
            better,
            f"{result.cost['student_training']['items'].mean():,.0f}",
            f"{result.cost['data_engine']['money'].mean():,.0f}",
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
                "detectable_difference": smallest_detectable_difference(result.after - control.after),
            }
            for result, below in zip(rows, [*rows[1:], None], strict=True)
        ],
        "records": [result.to_json() for result in rows],
    }


def headroom_table(results: Sequence[Result], control: Result, best: Result, roles: dict[str, str]) -> Table:
    """What there is to win: every row's share of the way from the control to the best upper bound."""
    table = Table(title=f"Headroom of {control.env_id}, {len(control.seeds)} unseen students, test split")
    for name in ("row", "teacher", "score", f"minus {control.agent} [95 %]", "share of headroom"):
        table.add_column(name, justify="left" if name in ("row", "teacher") else "right")
    room = float((best.after - control.after).mean())
    for result in sorted(results, key=lambda r: r.after.mean()):
        gain = mean_interval(result.after - control.after)
        table.add_row(
            roles[result.agent], result.agent, f"{result.after.mean():.3f}", str(gain), f"{gain.mean / room:.0%}"
        )
    return table
