"""Pictures of what teachers reach. Matplotlib without a window."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kdgym.catalogue import roles
from kdgym.evaluation.agents import NO_TEACHING
from kdgym.evaluation.raw import RawResult
from kdgym.evaluation.statistics import mean_interval
from kdgym.registration import find
from kdgym.storage import write_atomically

# Colour-blind safe (Okabe and Ito). Controls are grey; a role has its marker, and seven colours later the line changes.
_COLOURS = ("#D55E00", "#56B4E9", "#009E73", "#E69F00", "#0072B2", "#CC79A7", "#882255")
_GREYS, _LINES = ("0.3", "0.45", "0.55", "0.65", "0.75"), ("-", "--", "-.", (0, (1, 1)))
_MARKERS = {"control": "s", "published rule": "D", "upper bound": "*", "train it first": "^", "language model": "v"}


def write_figure(figure: Figure, path: Path) -> None:
    """Write a picture, atomically; the ending of ``path`` chooses the format, png without one.

    Raises:
        ValueError: there is no such format.
    """
    content = io.BytesIO()  # of a file that is cut short not every format's writer takes notice
    figure.savefig(content, format=path.suffix[1:] or "png")
    write_atomically(path, content.getvalue())


class Picture(Figure):
    """A figure that a notebook shows, whichever backend Matplotlib has."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height), dpi=150, layout="constrained")
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        self.savefig(png, format="png")
        return png.getvalue()

    def written(self, path: Path | str | None) -> Picture:
        """This picture, after it was written to ``path``, if there is one."""
        if path is not None:
            write_figure(self, Path(path))
        return self


@dataclass(frozen=True)
class Style:
    """How a teacher is drawn: colour, marker and line, as Matplotlib names them."""

    colour: str
    marker: str
    line: Any


def styles(env_id: str, names: Sequence[str]) -> dict[str, Style]:
    """How teachers are drawn, by their roles and places in the table, whichever others are in the picture.

    Args:
        env_id: where they taught.
        names: of the teachers; those that are not in the table come behind it, in their order.
    """
    table = {NO_TEACHING: "control", **roles(find(env_id).group)}
    ordered = {**table, **{name: "" for name in names if name not in table}}
    controls = [name for name, role in ordered.items() if role == "control"]
    others = [name for name in ordered if name not in controls]
    grey = {name: Style(_GREYS[i % len(_GREYS)], "s", ":") for i, name in enumerate(controls)}
    return grey | {
        name: Style(_COLOURS[i % 7], _MARKERS.get(ordered[name], "o"), _LINES[i // 7 % len(_LINES)])
        for i, name in enumerate(others)
    }


def result_picture(result: RawResult, path: Path | str | None = None) -> Picture:
    """One teacher's learning curve: the mean score a step, with its 95 % interval.

    Args:
        result: of the teacher.
        path: where the picture goes, if anywhere; its ending chooses the format.
    """
    figure = Picture(6, 4)
    axes, steps = figure.subplots(), range(result.curve.shape[1])
    scores = [mean_interval(scores) for scores in result.curve.T]
    style = styles(result.env_id, [_base(result)])[_base(result)]
    axes.fill_between(
        steps, [s.low for s in scores], [s.high for s in scores], color=style.colour, alpha=0.2, linewidth=0
    )
    axes.plot(steps, [s.mean for s in scores], color=style.colour, marker=style.marker, markevery=[-1])
    axes.set_title(f"{_label(result)} on {result.env_id}", fontsize=10)
    axes.set_xlabel("step")
    axes.set_ylabel(
        f"{find(result.env_id).measure.replace('test', 'validation')}\n(mean of {len(result.seeds)} students, 95 % interval)"
    )
    axes.spines[["top", "right"]].set_visible(False)
    return figure.written(path)


def comparison_picture(results: Sequence[RawResult], control: RawResult, path: Path | str | None = None) -> Picture:
    """A picture of a comparison: gain over the control with 95 % intervals, and beside it learning curves; or, where tasks are
    done at a cost, success against money.

    Args:
        results: in the order of the table, best first.
        control: what the differences are taken to.
        path: where the picture goes, if anywhere; its ending chooses the format.
    """
    figure = Picture(11, 0.42 * len(results) + 2.4)
    left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
    drawn = styles(control.env_id, [_base(result) for result in results])
    left.axvline(0, color="0.6", linewidth=1)
    for row, result in enumerate(results):
        gain, style = mean_interval(result.after - control.after), drawn[_base(result)]
        left.plot([gain.low, gain.high], [row, row], color=style.colour, linewidth=3, solid_capstyle="butt")
        left.plot(gain.mean, row, style.marker, color=style.colour)
        left.annotate(
            f"{gain.mean:+.2f}", (gain.high, row), (6, 0), textcoords="offset points", va="center", fontsize=8
        )
    left.set_yticks(range(len(results)), [_label(result) for result in results])
    left.invert_yaxis()
    left.margins(x=0.15)
    entry, students = find(control.env_id), f"{len(control.seeds)} unseen students"
    left.set_xlabel(f"{entry.measure}, difference to {control.agent}\n(paired, 95 % interval)")
    if entry.tradeoff:
        _pareto(right, results, drawn, entry.tradeoff)
        figure.suptitle(f"{control.env_id}: {students}")
    else:
        _curves(right, results, drawn, entry.measure)
        figure.suptitle(f"{control.env_id}: what {students} learned")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure.written(path)


def _curves(axes: Axes, results: Sequence[RawResult], drawn: Mapping[str, Style], measure: str) -> None:
    for result in results:
        if result.curve.shape[1] > 1:
            style = drawn[_base(result)]
            line = {"color": style.colour, "linestyle": style.line, "marker": style.marker, "markevery": [-1]}
            axes.plot(result.curve.mean(0), label=result.agent, **line)
    axes.set_xlabel("step")
    axes.set_ylabel(measure.replace("test", "validation"))
    axes.legend(fontsize=7, frameon=False)


def _pareto(axes: Axes, results: Sequence[RawResult], drawn: Mapping[str, Style], tradeoff: Mapping[str, str]) -> None:
    """What is wanted against what it costs, with 95 % intervals; a line through those whom no other beats in both."""
    wanted, cost = tradeoff
    places = {r.agent: (mean_interval(r.extras[cost]), mean_interval(r.extras[wanted])) for r in results}
    for result in results:
        spent, got = places[result.agent]
        style = drawn[_base(result)]
        axes.plot([spent.low, spent.high], [got.mean] * 2, color=style.colour, linewidth=1.5)
        axes.plot([spent.mean] * 2, [got.low, got.high], color=style.colour, linewidth=1.5)
        axes.plot(spent.mean, got.mean, style.marker, color=style.colour, markersize=10 if style.marker == "*" else 6)
        axes.annotate(
            _label(result), (spent.mean, got.mean), (7, 5), textcoords="offset points", fontsize=8, color=style.colour
        )
    teachers = sorted((s.mean, g.mean) for r in results if not r.upper_bound for s, g in [places[r.agent]])
    front = [(s, g) for i, (s, g) in enumerate(teachers) if all(g > before for _, before in teachers[:i])]
    axes.plot(*zip(*front, strict=True), color="0.6", linewidth=1, linestyle=":", zorder=0)
    axes.margins(0.2)
    axes.set_xlabel(f"{tradeoff[cost]}\n(mean, 95 % interval; dotted: beaten in both by none)")
    axes.set_ylabel(tradeoff[wanted])


def _base(result: RawResult) -> str:
    """The teacher's name, without the file of a trained one."""
    return result.agent.partition(":")[0]


def _label(result: RawResult) -> str:
    return f"{_base(result)} (upper bound)" if result.upper_bound else _base(result)
