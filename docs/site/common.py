"""What the generated pages share: where things are, and how tables are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from kdgym.evaluation.report import markdown

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown, with an empty line below it."""
    return markdown(head, [[cell(part) for part in row] for row in rows]) + "\n\n"


def cell(content: object) -> str:
    """What a table shows in one cell: one line, without the sign that ends a cell."""
    return " ".join(str(content).split()).replace("|", "\\|")


def slug(env_id: str) -> str:
    """The page of an id, below ``environments/``."""
    return f"{env_id.partition('/')[2].lower()}.md"


FAMILIES = {
    "datagen": "DataGen",
    "feedback": "Feedback",
    "orchestrate": "Orchestrate",
    "classroom": "Classroom",
    "snapshot": "Snapshot",
    "distill": "Distill",
    "select": "Select",
    "label": "Label",
}
