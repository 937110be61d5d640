"""The picture of a comparison of teachers. Matplotlib without a window."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kdgym.evaluation.protocol import Result
from kdgym.evaluation.statistics import mean_interval
from kdgym.registration import find

_CONTROLS = ("no teaching", "random", "uniform", "no_feedback", "always_auto")


def comparison_picture(results: Sequence[Result], control: Result, path: Path) -> None:
    """Write a picture of a comparison: gain over the control with 95 % intervals, and beside it learning curves; or, where
    tasks are done at a cost, success against money.

    Args:
        results: in the order of the table, best first.
        control: what the differences are taken to.
        path: where the picture goes; its ending chooses the format.
    """
    figure = Figure(figsize=(11, 0.42 * len(results) + 2.4), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
    colours = [_colour(result) for result in results]
    left.axvline(0, color="0.6", linewidth=1)
    for row, (result, colour) in enumerate(zip(results, colours, strict=True)):
        gain = mean_interval(result.after - control.after)
        left.plot([gain.low, gain.high], [row, row], color=colour, linewidth=3, solid_capstyle="butt")
        left.plot(gain.mean, row, "o", color=colour)
        left.annotate(
            f"{gain.mean:+.2f}", (gain.high, row), (6, 0), textcoords="offset points", va="center", fontsize=8
        )
    left.set_yticks(range(len(results)), [_label(result) for result in results])
    left.invert_yaxis()
    left.margins(x=0.15)
    measure, students = find(control.env_id).measure, f"{len(control.seeds)} unseen students"
    left.set_xlabel(f"{measure}, difference to {control.agent}\n(paired, 95 % interval)")
    if "money" in control.extras:
        _pareto(right, results)
        figure.suptitle(f"{control.env_id}: {students}")
    else:
        _curves(right, results)
        figure.suptitle(f"{control.env_id}: what {students} learned")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure)
    figure.savefig(path)


def _curves(axes: Axes, results: Sequence[Result]) -> None:
    for result in results:
        if result.curve.shape[1] > 1:
            style = "--" if result.upper_bound else "-"
            axes.plot(result.curve.mean(0), color=_colour(result), label=result.agent, linestyle=style)
    axes.set_xlabel("step")
    axes.set_ylabel("validation accuracy on the targets")
    axes.legend(fontsize=7, frameon=False)


def _pareto(axes: Axes, results: Sequence[Result]) -> None:
    """Success against money with 95 % intervals; a line through those whom no other beats in both."""
    places = {r.agent: (mean_interval(r.extras["money"]), mean_interval(r.extras["success"])) for r in results}
    for result in results:
        money, success = places[result.agent]
        colour, marker = _colour(result), "*" if result.upper_bound else "o"
        axes.plot([money.low, money.high], [success.mean] * 2, color=colour, linewidth=1.5)
        axes.plot([money.mean] * 2, [success.low, success.high], color=colour, linewidth=1.5)
        axes.plot(money.mean, success.mean, marker, color=colour, markersize=10 if result.upper_bound else 6)
        axes.annotate(
            _label(result), (money.mean, success.mean), (7, 5), textcoords="offset points", fontsize=8, color=colour
        )
    teachers = sorted((m.mean, s.mean) for r in results if not r.upper_bound for m, s in [places[r.agent]])
    front = [(m, s) for i, (m, s) in enumerate(teachers) if all(s > before for _, before in teachers[:i])]
    axes.plot(*zip(*front, strict=True), color="0.6", linewidth=1, linestyle=":", zorder=0)
    axes.margins(0.2)
    axes.set_xlabel(
        "money of a task, in units of what a success is worth\n(mean, 95 % interval; dotted: no teacher beats these in both)"
    )
    axes.set_ylabel("share of tasks done")


def _label(result: Result) -> str:
    name = result.agent.partition(":")[0]  # not the file of a trained one
    return f"{name} (upper bound)" if result.upper_bound else name


def _colour(result: Result) -> str:
    """Colour-blind safe (Okabe and Ito): grey controls, one colour a teacher by name, stable between pictures."""
    if result.agent in _CONTROLS:
        return "0.55" if result.agent in ("uniform", "no_feedback") else "0.75"
    palette = {
        "target_proportional": "#56B4E9",
        "weakest_skill": "#D55E00",
        "learning_progress": "#E69F00",
        "constant": "#0072B2",
        "adaptive_source": "#009E73",
        "informed": "#CC79A7",
        "lookahead": "#882255",
        "thinktuning": "#D55E00",
        "thinktuning_plain": "#E69F00",
        "adaptive_hint": "#009E73",
        "full_solutions": "#56B4E9",
        "luffy": "#0072B2",
        "feedback_ppo": "#CC79A7",
        "feedback_lookahead": "#882255",
        "always_paired": "#E69F00",
        "always_coach": "#009E73",
        "always_stepwise": "#CC79A7",
        "atlas": "#D55E00",
        "uncertainty_lane": "#56B4E9",
        "linucb": "#0072B2",
        "lane_oracle": "#882255",
    }
    return palette.get(result.agent.partition(":")[0], "black")
