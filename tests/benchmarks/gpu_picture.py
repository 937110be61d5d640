"""The pictures of a report of `gpu.py`, drawn from its JSON alone."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdgym.storage import write_atomically

LABELS = {"kernel": "kernel, on the processor", "eager": "torch, eager", "recorded": "torch, recorded (on a GPU)"}
COLOURS = {"kernel": "C3", "eager": "C0", "recorded": "C2"}


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw what there is to draw: ``NAME-populations.png`` and ``NAME-language.png`` beside ``path``, NAME.json."""
    machine = report.get("machine", {})
    where = f"{machine.get('device', 'a device')} and {machine.get('processor', 'a processor')}"
    for name, picture, drawn in (
        ("populations", _populations, "kernel_steps_per_s"),
        ("language", _language, "updates_per_s"),
    ):
        results = report["parts"].get(name, {}).get("results", {})
        rows = [row for row in results.get("rows", []) if drawn in row]
        if rows:
            figure = Figure(figsize=(9.6, 4), dpi=120, layout="constrained")
            picture(figure, rows)
            threads = machine.get("threads")
            tiny = "tiny sizes, no measurement: " if report.get("quick") else ""
            figure.suptitle(f"{tiny}{where}, {threads} thread{'s' * (threads != 1)}", fontsize=9)
            image = io.BytesIO()
            figure.savefig(image, format="png")
            write_atomically(path.with_name(f"{path.stem}-{name}.png"), image.getvalue())


def _populations(figure: Figure, rows: list[dict[str, Any]]) -> None:
    left, right = figure.subplots(1, 2)
    for name, label in LABELS.items():
        mine = [row for row in rows if f"{name}_steps_per_s" in row]
        if not mine:
            continue
        students = [row["students"] for row in mine]
        _line(left, students, [row[f"{name}_steps_per_s"] for row in mine], label=label, color=COLOURS[name])
        if name != "kernel":
            for limit, style in (("matmul", "-"), ("copy", "--")):
                of = {"matmul": "a matrix product's FLOP/s", "copy": "a copy's bytes/s"}[limit]
                shares = [row[f"{name}_share_of_{limit}"] for row in mine]
                _line(right, students, shares, label=f"{name}: of {of}", color=COLOURS[name], linestyle=style)
    left.set_yscale("log")
    left.set_ylabel("students' steps per second")
    right.set_ylabel("share of the device's limit")
    right.set_ylim(0, 1.4 * right.get_ylim()[1])  # room for the legend
    _over_students(left, right)


def _language(figure: Figure, rows: list[dict[str, Any]]) -> None:
    left, right = figure.subplots(1, 2)
    students = [row["students"] for row in rows]
    _line(left, students, [row["updates_per_s"] for row in rows], label="LoRA population", color="C0")
    single = [row["updates_per_s_of_single_runs"] for row in rows]
    _line(left, students, single, label="single runs of PEFT, packed", color="C1")
    left.set_yscale("log")
    left.set_ylabel("students' updates per second")
    ratios = [row["population_to_single_runs"] for row in rows]
    _line(right, students, ratios, label="speed, in single runs", color="C0")
    base = [row["seconds_to_base_both"] for row in rows]
    _line(right, students, base, label="time, in passes of the base alone", color="C4")
    right.set_ylabel("ratio of the population")
    right.set_ylim(bottom=0)
    _over_students(left, right)


def _line(axes: Axes, x: list[int], y: list[float], **style: Any) -> None:
    axes.plot(x, y, marker="o", **style)


def _over_students(*both: Axes) -> None:
    for axes in both:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("students in the population")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
