"""Draw the README's result from the leaderboard's records, and print its table: ``python docs/draw_result.py``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kdgym.evaluation.plots import write_figure
from kdgym.evaluation.statistics import mean_interval
from kdgym.leaderboard.record import load_record

HERE = Path(__file__).parent
BOARD = HERE.parent / "leaderboards" / "kdgym" / "DataGen-Math-v0"
CONTROL = "uniform"
TEACHERS = {  # of the board -> what it does
    "lookahead": "upper bound: tries plans on copies of the student, knows the clean sources",
    "adaptive_source": "best rule: also finds out which sources to trust",
    "ppo": "Stable-Baselines3 PPO, 100,000 steps",
    "target_proportional": "the teacher above: buys what will be tested",
    CONTROL: "control: the same of everything",
    "no teaching": "nothing is bought",
}
COLOURS = ("#CC79A7", "#009E73", "#E69F00", "#56B4E9", "0.6", "0.75")  # colour-blind safe (Okabe and Ito)


def table() -> list[str]:
    """The rows as they stand in the README, best first."""
    control = _scores(CONTROL)
    rows = ["| teacher | minus uniform | what it does |", "|---|---|---|"]
    for name, rule in TEACHERS.items():
        gain = "0" if name == CONTROL else str(mean_interval(_scores(name) - control)).replace(",", ", ")
        rows.append(f"| {name} | {gain} | {rule} |")
    return rows


def draw(path: Path) -> None:
    """Accuracies with 95 % intervals, readable on a phone."""
    figure = Figure(figsize=(5, 2.9), dpi=200, layout="constrained")
    axes = figure.subplots()
    for row, (name, colour) in enumerate(zip(TEACHERS, COLOURS, strict=True)):
        score = mean_interval(_scores(name))
        axes.barh(row, score.mean, color=colour, height=0.62)
        axes.plot([score.low, score.high], [row, row], color="black", linewidth=1.5)
        axes.annotate(f"{score.mean:.2f}", (score.high, row), (5, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(TEACHERS)), list(TEACHERS))
    axes.invert_yaxis()
    axes.set_xlim(0, 0.76)
    axes.set_xlabel("accuracy on the targets, hidden test")
    axes.set_title("What 64 unseen students learned", fontsize=12)
    axes.spines[["top", "right"]].set_visible(False)
    FigureCanvasAgg(figure)
    write_figure(figure, path)


def _scores(name: str) -> np.ndarray:
    """Every student's test accuracy after the last step, [S]."""
    return np.array(load_record(BOARD / f"{name.replace('_', '-').replace(' ', '-')}--kdgym.json").outcome.after)


if __name__ == "__main__":
    draw(HERE / "result.png")
    sys.stdout.write("\n".join(table()) + "\n")
