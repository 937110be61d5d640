"""The boards as a static site: one page of all boards, one a submission; nothing is fetched from anywhere."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable, Collection, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from kdgym.evaluation.statistics import Interval, mean_interval
from kdgym.leaderboard.board import Board, Row, read_boards
from kdgym.leaderboard.card import Card, read_cards
from kdgym.leaderboard.record import Record
from kdgym.leaderboard.submit import open_board
from kdgym.spaces import WordedBox, space_from_plain
from kdgym.storage import write_atomically
from kdgym.tasks.base import UnreadableError

_INK = "#010203"  # stands for the page's text colour, so that pictures follow light and dark
# Okabe and Ito's colours, told apart by colour-blind eyes, and dark enough for white.
_COLOURS = {"control": "#767676", "published": "#0072B2", "oracle": "#A65E00", "rule": "#00795C", "rl": "#B64F00",
            "learned": "#7A4FB6", "llm": "#A3497C", "human": "#3A6EA5"}  # fmt: skip
_LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8B6914")
_MARKS = {
    "control": "s",
    "published": "D",
    "oracle": "*",
    "rule": "o",
    "rl": "^",
    "learned": "<",
    "llm": "v",
    "human": "P",
}
_CURVES = 6  # drawn at most, beside the control's


def build_site(
    folder: Path, ids: Collection[str] = (), progress: Callable[[int, int], None] = lambda pages, total: None
) -> Path:
    """Write ``site/`` beside the records; returns its first page.

    Args:
        folder: of the boards.
        ids: the boards on it; all, if none is given.
        progress: called after every page with the number of pages done since, and of all.

    Raises:
        ValueError: see `kdgym.leaderboard.board.read_boards`.
    """
    boards, site = read_boards(folder, ids), folder / "site"
    pages = Environment(
        loader=PackageLoader("kdgym.leaderboard", "pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    script = (files("kdgym.leaderboard") / "pages" / "index.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    cards = read_cards(folder)
    parts = [
        {
            "card": json.dumps(cards.get(board.entry.id, {}), indent=1),
            "board": board,
            "pareto": _pareto(board),
            "curves": _curves(board),
            "scale": _scale(board),
        }
        for board in boards
    ]
    data = {board.entry.id: {row.stem: np.round(row.scores, 5).tolist() for row in _all(board)} for board in boards}
    first = pages.get_template("index.html").render(
        parts=parts,
        data=htmlsafe_json_dumps(data, allow_nan=False),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
    )
    write_atomically(site / "index.html", first.encode())
    for board in boards:
        for row in _all(board):
            page = pages.get_template("submission.html").render(
                board=board, row=row, curve=_curves(board, [row]), lesson=_lesson(row, cards.get(board.entry.id, {})),
                ledger=_ledger(row), written=written_items(row.record),
            )  # fmt: skip
            write_atomically(site / board.entry.id / f"{row.stem}.html", page.encode())
            progress(1, sum(len(_all(board)) for board in boards))
    return site / "index.html"


def _all(board: Board) -> list[Row]:
    return board.rows + board.persons


def written_items(record: Record) -> tuple[int, int] | None:
    """How many training items the teacher wrote, and how many of those are problems held out for examinations.

    The environment refuses these: students never learn them. None where teachers do not write, and without the packages that
    the board's task needs.
    """
    if record.trace is None or record.trace.kind != "text":
        return None
    try:
        task = open_board(record.env_id, 1, record.agent.settings).task
    except ImportError:
        return None

    @cache
    def held_out(problem: str) -> bool:
        try:
            task.read_problem(json.loads(problem))
        except UnreadableError as error:
            return error.reason == "held_out"
        return False

    problems = [json.dumps(p) for step in record.trace.actions() for text in step for p in _problems(text)]
    return len(problems), sum(map(held_out, problems))


def _problems(text: str) -> list[Any]:
    """Problems of a lesson's items, whatever else it is."""
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        return []
    found = [item.get("problem") for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    return [problem for problem in found if isinstance(problem, str | dict)]


# --- pictures --------------------------------------------------------------------------------------------------------


def _scale(board: Board) -> tuple[float, float]:
    """Ends of the drawn intervals' axis."""
    ends = [end for row in board.rows if row.gain for end in (row.gain.low, row.gain.high)]
    low, high = min(0.0, *ends, 0.0), max(0.0, *ends, 0.0)
    return low - 0.02, high + 0.02


def _pareto(board: Board) -> Markup:
    """Gain over the control against cost: money where agents spend different amounts of it, else the student's training."""
    rows = [row for row in board.rows if row.counts]
    money = [row.money for row in rows]
    costs, what = (
        (money, "money") if max(money) > 1.05 * np.median(money) else ([row.flops for row in rows], "training, FLOPs")
    )
    gains = [0.0 if row.gain is None else row.gain.mean for row in rows]
    figure, axes = _axes(f"{what}, a student", f"gain over {board.control_name}")
    best = []
    for row, cost, gain in zip(rows, costs, gains, strict=True):
        axes.plot(cost, gain, _MARKS[row.kind], color=_COLOURS[row.kind], ms=7)
        if not any(c <= cost and g > gain for c, g in zip(costs, gains, strict=True)):  # nobody gains more for less
            best.append((cost, gain, row.record.agent.name))
    _name_points(axes, best)
    return _svg(figure, f"What students gained over {board.control_name} and what that cost, on {board.entry.id}")


def _name_points(axes: Any, points: list[tuple[float, float, str]]) -> None:
    """Write names to the left of points, where there is room, and those of a side above each other."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    line, last = 0.05 * (top - bottom), {True: -np.inf, False: -np.inf}
    for x, y, name in sorted(points, key=lambda point: point[1]):
        has_room = x > left + (right - left) / 4
        last[has_room] = height = max(y, last[has_room] + line)
        axes.annotate(
            name, (x, height), (-6, -3) if has_room else (5, 6), textcoords="offset points",
            ha="right" if has_room else "left", fontsize=7, color=_INK,
        )  # fmt: skip


def _curves(board: Board, rows: Sequence[Row] | None = None) -> Markup:
    """Score over the lesson of the best rows, or of some, beside the control's."""
    control, best = board.control, [row for row in board.rows if row.counts][:_CURVES]
    shown = [row for row in (best if rows is None else rows) if row is not control]
    figure, axes = _axes("step", "validation score")
    for row in [control, *shown]:
        bands = _bands(tuple(map(tuple, row.record.outcome.curve)))
        if len(bands) < 2:  # nobody taught
            bands = bands * len(control.record.outcome.curve[0])
        (line,) = axes.plot(
            [band.mean for band in bands], label=row.record.agent.name, lw=2, ls="--" if row is control else "-"
        )
        axes.fill_between(
            range(len(bands)), [b.low for b in bands], [b.high for b in bands], color=line.get_color(), alpha=0.12, lw=0
        )
    axes.legend(fontsize=7, frameon=False, labelcolor=_INK)
    names = ", ".join(row.record.agent.name for row in [control, *shown])
    return _svg(figure, f"Validation score over the lesson on {board.entry.id}: {names}")


@cache
def _bands(curve: tuple[tuple[float, ...], ...]) -> list[Interval]:
    """Mean over students and its interval at every step."""
    return [mean_interval(column) for column in np.array(curve).T]


def _lesson(row: Row, card: Card) -> Markup | None:
    """What was decided at each step, mean over the students, by the names that the board's card knows; None of texts."""
    trace = row.record.trace
    if trace is None or trace.kind == "text":
        return None
    done, space = np.stack(trace.actions()), space_from_plain(card["actions"]) if "actions" in card else None
    if isinstance(space, WordedBox) and trace.kind == "box":
        decisions = space.decisions(done, card["skills"])
    else:
        decisions = {f"entry {i}": done[..., i] for i in range(done.shape[2])}
    names, values = list(decisions), np.stack([done.mean(1) for done in decisions.values()])
    figure, axes = _axes("step", "", height=max(1.6, 0.2 * len(names) + 0.9))
    picture = axes.imshow(values, aspect="auto", cmap="cividis", interpolation="nearest")
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.tick_params(length=0)
    bar = figure.colorbar(picture, ax=axes, shrink=0.9)
    bar.ax.tick_params(colors=_INK, labelsize=7)
    bar.outline.set_visible(False)
    return _svg(figure, f"What {row.record.agent.name} decided over the lesson: {', '.join(names)}")


def _ledger(row: Row) -> list[tuple[str, dict[str, float]]]:
    """Who spent what, mean over students; actors that spent nothing are left out."""
    cost = row.record.outcome.cost
    means = {actor: {unit: float(np.mean(values)) for unit, values in units.items()} for actor, units in cost.items()}
    return [(actor, units) for actor, units in means.items() if any(units.values())]


def _axes(x: str, y: str, height: float = 3.2) -> tuple[Figure, Any]:
    figure = Figure(figsize=(6.4, height), layout="constrained")
    axes = figure.subplots()
    axes.set_prop_cycle(color=list(_LINES))
    axes.set_xlabel(x, color=_INK, fontsize=8)
    axes.set_ylabel(y, color=_INK, fontsize=8)
    axes.tick_params(colors=_INK, labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)
    axes.patch.set_alpha(0)
    figure.patch.set_alpha(0)
    return figure, axes


def _svg(figure: Figure, said: str) -> Markup:
    """The picture as an element of a page, with words for those who do not see it."""
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "kdgym", "font.family": "sans-serif"}):
        file = io.StringIO()
        FigureCanvasSVG(figure).print_svg(file, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    drawn = file.getvalue()
    drawn = drawn[drawn.index("<svg") :].replace(_INK, "currentColor")
    # Names are checked by the record's schema and escaped by matplotlib; the words are escaped here.
    return Markup('<div class="picture" role="img" aria-label="{}">{}</div>').format(said, Markup(drawn))
