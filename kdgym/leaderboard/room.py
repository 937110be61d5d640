"""Room to win by the records of boards, and the page that shows it for all environments."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

from kdgym.catalogue import agent_names
from kdgym.evaluation import NO_TEACHING
from kdgym.evaluation.headroom import KINDS, LEAST, Kind, Room, kinds_of, room
from kdgym.evaluation.report import exact, with_tables
from kdgym.leaderboard.board import Board, read_boards
from kdgym.leaderboard.names import OWN, markdown
from kdgym.storage import write_atomically


def rooms_of(folder: Path, ids: Collection[str] = ()) -> list[Room]:
    """What there is to win on the boards that have records; only some, if ids are given. Only records count that a verifier
    replayed, see `kdgym.leaderboard.board`.

    Raises:
        ValueError: see `read_boards`.
    """
    return [_room(board) for board in read_boards(folder, ids)]


def _room(board: Board) -> Room:
    counted = [row for row in board.rows if row.counts and (row.kind != "oracle" or row.is_own)]
    scores, kinds, packaged = {}, {}, {NO_TEACHING, *agent_names()}
    for row in counted:
        agent = row.record.agent
        own = agent.authors == [OWN] and agent.name in packaged
        name = agent.name if own else f"{agent.name} by {', '.join(agent.authors)}"
        scores[name], kinds[name] = row.scores, kinds_of(agent.name, row.kind, is_own=own)
    return room(board.entry.id, f"{len(scores)} records", scores, kinds)


def write_page(rooms: Sequence[Room], page: Path) -> None:
    """Put a table of all environments between the marks of a page, and their numbers into a JSON file beside it.

    Raises:
        ValueError: the page has no marks.
    """
    text = with_tables(page.read_text(encoding="utf-8"), {"room": table(rooms)})
    write_atomically(page, text.encode())
    found = json.dumps([each.to_json(raw=False) for each in rooms], indent=1) + "\n"
    write_atomically(page.with_suffix(".json"), found.encode())


def table(rooms: Sequence[Room]) -> str:
    """Markdown, a line an environment."""
    columns = ("environment", "students", *KINDS.values())
    last = ("rule minus static or control", f"at least {LEAST}", "bound minus rule or learned", f"at least {LEAST}")
    lines = [f"| {' | '.join((*columns, *last))} |", "|---" * (len(columns) + len(last)) + "|"]
    for each in rooms:
        cells = [each.env_id, str(each.students), *(_best(each, kind) for kind in KINDS)]
        for kind in ("rule", "bound"):
            found = each.differences.get(kind)
            cells += ["", ""] if found is None else [exact(found.interval), "yes" if found.is_room else "no"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _best(each: Room, kind: Kind) -> str:
    best = each.rows.get(kind)
    if best is None:
        return ""
    names = "" if kind == "untaught" else " " + " / ".join(markdown(name) for name in best.teachers)
    return f"{best.scores.mean():.3f}{names}"
