"""The gallery of teachers: rule, paper, kind and best board, by their docstrings, the table of registration and the boards."""

from __future__ import annotations

import re
from dataclasses import dataclass

import boards
from common import FAMILIES, ROOT, slug, table

from kdgym.catalogue import groups, packaged, roles, rule
from kdgym.registration import ENVIRONMENTS

PAPER = re.compile(r"\s*\(([^()]*\b(?:19|20)\d\d\b[^()]*)\)")  # in brackets, with its year
# Folders of teachers that are no family, or that serve more or less than one; the others are named as their families.
OWN = {
    "any_family": "Any family",
    "datagen": "DataGen, Skill-List",
    "open_ended": "DataGen, Open-Ended",
    "skill_tree": "DataGen, Skill-Tree",
    "feedback": "Feedback and Tutoring",
}
FOLDERS = OWN | {family: title for family, title in FAMILIES.items() if family not in OWN}
ABOUT = """# Teachers

These teachers come with kdgym. `kdgym compare ID --agents NAME` lets one teach. Below a name stands what kind of teacher it is,
and its best result on the open [leaderboards](boards.md): 0 % is the control, 100 % the best upper bound of that board.
A name leads to the code.

`kdgym list ID` shows which teachers fit an id. A tutorial shows how to
[write your own](tutorials/adaptive-teacher.md).

"""


@dataclass(frozen=True)
class Standing:
    """Where a teacher stands best: share of the way from the control to the upper bound, in percent, and the board."""

    headroom: int
    env_id: str


def standings() -> dict[str, Standing]:
    """The best open board of every teacher that stands on one."""
    best: dict[str, Standing] = {}
    for entry in ENVIRONMENTS:
        rows = [] if entry.closed or entry.id not in boards.sections() else boards.sections()[entry.id][0]
        for row in rows:
            name, share = re.match(r"\[(.*?)\]", row["agent"]), re.fullmatch(r"(-?\d+) %", row["headroom"])
            if name and share and int(share[1]) > best.get(name[1], Standing(-1000, "")).headroom:
                best[name[1]] = Standing(int(share[1]), entry.id)
    return best


def pages() -> dict[str, str]:
    text, best, teachers = ABOUT, standings(), packaged()
    for folder, title in FOLDERS.items():
        names = [name for name, teacher in teachers.items() if teacher.module.split(".")[2] == folder]
        text += f"## {title}\n\n" + table(
            ("teacher", "rule"),
            [(f"{link(name)} {role(name)}{standing(best.get(name))}", described(name)) for name in sorted(names)],
        )
    return {"teachers.md": text}


def link(name: str) -> str:
    """The name with an anchor of its own, and its code."""
    file = packaged()[name].file.resolve().relative_to(ROOT)
    return f"[`{name}`](../{file.as_posix()}){{ #{name} }}<br>"


def described(name: str) -> str:
    """Its rule, and below it the papers."""
    said = rule(name)
    papers = "; ".join(PAPER.findall(said))
    return PAPER.sub("", said) + (f"<br><small>{papers}</small>" if papers else "")


def role(name: str) -> str:
    """What it is in the groups that it fits; the first of them where it is several things."""
    return next((roles(group)[name] for group in groups(name)), "")


def standing(found: Standing | None) -> str:
    return (
        f"<br>{found.headroom} % on [{found.env_id.partition('/')[2]}](environments/{slug(found.env_id)})"
        if found
        else ""
    )
