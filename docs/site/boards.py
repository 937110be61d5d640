"""All leaderboards, and the parts of them that pages of environments show; by leaderboards/README.md and docs/room.json."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from common import FAMILIES, ROOT, slug, table

from kdgym.evaluation.headroom import KINDS
from kdgym.registration import ENVIRONMENTS

Row = dict[str, str]
Best = dict[str, Any]  # of one kind of teacher: teachers, mean, low, high
COLUMNS = ("rank", "agent", "kind", "score", "gain", "new students", "headroom", "verified")
ABOUT = """# Leaderboards

A board shows what each teacher's students learned in one environment. All teachers of a board teach the same students, with the
same seeds and the same budget. Every row is one file with every action in it, and `kdgym verify` replays it.

```sh
kdgym submit mine.py --env kdgym/DataGen-Math-v0 --name "my teacher" --authors "Ada,Grace"
```

[How to submit, and what is verified](leaderboards.md) has the steps. Pictures are drawn on the scale of scores, from 0 to 1.

<p class="legend">{legend}</p>

"""


@cache
def sections() -> dict[str, tuple[list[Row], str]]:
    """Of every board: its rows by column, and what stands below its table."""
    found = {}
    text = (ROOT / "leaderboards" / "README.md").read_text(encoding="utf-8")
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        env_id = section.split()[0]
        head, _, *lines = [line.strip("| ") for line in section.splitlines() if line.startswith("|")]
        names = [re.sub(r"^gain over .*", "gain", name) for name in head.split(" | ")]
        rows = [dict(zip(names, re.split(r" \| | \|(?= )", line), strict=False)) for line in lines]
        found[env_id] = (rows, section.rpartition("|\n")[2].strip())
    return found


@cache
def room() -> dict[str, dict[str, Best]]:
    """Of every board: the best teacher of each kind."""
    found = json.loads((ROOT / "docs" / "room.json").read_text(encoding="utf-8"))
    return {board["env_id"]: board["rows"] for board in found}


def board(env_id: str) -> str:
    """The table of a board, in the columns that a reader wants first."""
    rows, below = sections()[env_id]
    shown = [[in_site(row.get(name, "")) for name in COLUMNS] for row in rows]
    return table(COLUMNS, shown) + f"{below}\n\n"


def in_site(content: str) -> str:
    """A cell with the links and words of the site; authors are named where they are not kdgym's."""
    content = content.replace("](<", "](<../../leaderboards/").removesuffix(" by kdgym")
    return "upper bound" if content == "oracle" else content


def gains(env_id: str) -> str:
    """The best teacher of each kind, as a table with a picture."""
    kinds = room()[env_id]
    rows = [
        (f"{key(kind)} {KINDS[kind]}", " / ".join(f"`{name}`" for name in best["teachers"]), score(best))
        for kind, best in kinds.items()
    ]
    return f"{bar(env_id)}\n\n" + table(("kind", "teacher", "score, 95 % interval"), rows)


def score(best: Best) -> str:
    return f"{best['mean']:.3f} [{best['low']:.3f}, {best['high']:.3f}]"


def key(kind: str) -> str:
    """The mark of a kind, as it stands in pictures."""
    return f'<svg class="gains key" viewBox="0 0 20 20" aria-hidden="true"><circle class="{kind}" cx="10" cy="10" r="6"/></svg>'


def bar(env_id: str) -> str:
    """A line from 0 to 1 with a mark for the best teacher of each kind, as a picture in the page."""
    marks = {kind: best["mean"] for kind, best in room()[env_id].items()}
    said = ", ".join(f"{KINDS[kind]} {mean:.2f}" for kind, mean in marks.items())
    drawn = "".join(
        f'<circle class="{kind}" cx="{10 + 220 * mean:.1f}" cy="10" r="6"/>' for kind, mean in marks.items()
    )
    return (
        f'<svg class="gains" viewBox="0 0 240 20" role="img" aria-label="{said}"><title>{said}</title>'
        f'<line x1="10" x2="230" y1="10" y2="10"/>{drawn}</svg>'
    )


def pages() -> dict[str, str]:
    """The page of all boards: open ones by family, then closed ones."""
    legend = " ".join(f"<span>{key(kind)}{said}</span>" for kind, said in KINDS.items())
    text = ABOUT.format(legend=legend)
    for family, title in FAMILIES.items():
        text += f"## {title}\n\n" + overview([e.id for e in ENVIRONMENTS if e.family == family and not e.closed])
    closed = overview([e.id for e in ENVIRONMENTS if e.closed])
    text += f"## Closed\n\nScores of these ids no longer count. [Environments](environments.md) says why.\n\n{closed}"
    return {"boards.md": text}


def overview(ids: list[str]) -> str:
    """A row a board, with its picture."""
    rows = []
    for env_id in ids:
        link = f"[{env_id.partition('/')[2]}](environments/{slug(env_id)})"
        best = room().get(env_id, {}).get("rule", {}).get("teachers", [])
        picture = bar(env_id) if env_id in room() else ""
        rows.append((f"{link}<br>{' / '.join(best)}", picture, len(sections().get(env_id, ((), ""))[0])))
    return table(("board, best rule", "scores", "rows"), rows)
