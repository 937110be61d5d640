"""The teachers that come with kdgym: what they do and where they fit, by the table and their files, without importing them."""

from __future__ import annotations

import ast
import inspect
import re
import tokenize
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from kdgym.registration import ENVIRONMENTS, find

OWN_AGENT = "__own_agent__"  # global of a module that is a person's own agent: how the command line was given it
# Roles of a group's teachers, by the columns of the table; a teacher in several has the first.
_ROLES = {
    "controls": "control",
    "published": "published rule",
    "upper_bounds": "upper bound",
    "teachers": "rule",
    "trained": "train it first",
    "asking": "language model",
    "others": "also fits",
}


@dataclass(frozen=True)
class Packaged:
    """A teacher that comes with kdgym.

    Attributes:
        file: where it is defined.
        kind: the name of its class there: ``Agent``, or of a preset its own name in capitals.
    """

    file: Path
    kind: str = "Agent"

    @property
    def module(self) -> str:
        """``kdgym.agents.<family>.<file>``."""
        return f"kdgym.agents.{self.file.parent.name}.{self.file.stem}"


@cache
def packaged() -> dict[str, Packaged]:
    """Every teacher that comes with kdgym, by its name, which is unique over all families."""
    spec = find_spec("kdgym.agents")
    assert spec is not None and spec.submodule_search_locations is not None
    found: dict[str, Packaged] = {}
    for file in sorted(Path(spec.submodule_search_locations[0]).glob("*/[!_]*.py")):
        if file.stem == "presets":
            kinds = [node.name for node in _parsed(file).body if isinstance(node, ast.ClassDef)]
            found |= {re.sub("(?<!^)(?=[A-Z])", "_", kind).lower(): Packaged(file, kind) for kind in kinds}
        else:
            found[file.stem] = Packaged(file)
    return found


@cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def agent_names() -> list[str]:
    """The teachers that come with kdgym."""
    return sorted(packaged())


def rule(agent: str) -> str:
    """What a packaged teacher does: the first paragraph of its docstring, in one line; empty without one."""
    teacher = packaged()[agent]
    if teacher.kind != "Agent":
        (preset,) = [node for node in _parsed(teacher.file).body if getattr(node, "name", "") == teacher.kind]
        return _first_paragraph(ast.get_docstring(preset) or "")  # type: ignore[arg-type]  # it is a class
    with tokenize.open(teacher.file) as file:
        tokens = tokenize.generate_tokens(file.readline)
        first = next(token for token in tokens if token.type not in (tokenize.COMMENT, tokenize.NL))
    docstring = ast.literal_eval(first.string) if first.type == tokenize.STRING else ""
    return _first_paragraph(docstring)


def _first_paragraph(docstring: str) -> str:
    return " ".join(inspect.cleandoc(docstring).split("\n\n")[0].split())


def roles(group: str) -> dict[str, str]:
    """The teachers that fit a group's ids, and what each is there: control, published rule, upper bound, ..."""
    found: dict[str, str] = {}
    for column, role in _ROLES.items():
        for entry in ENVIRONMENTS:
            names = getattr(entry, column) if entry.group == group else ()
            for name in (names,) if isinstance(names, str) else names:
                found.setdefault(name, role)
    return found


def groups(agent: str) -> list[str]:
    """The groups whose ids a packaged teacher fits; empty if it stands in no row of the table."""
    return [group for group in dict.fromkeys(entry.group for entry in ENVIRONMENTS) if agent in roles(group)]


def require_fit(env_id: str, agent: str) -> None:
    """Refuse a packaged teacher that cannot teach there; of a person's own file or zip, the environment will speak.

    Args:
        env_id: the environment; one that is not in the table is not judged.
        agent: see `kdgym.evaluation.load_agent`.

    Raises:
        ValueError: the teacher is of another group of ids, or has to be trained first.
    """
    name, _, file = agent.partition(":")
    homes = groups(name)
    if not homes or env_id not in {entry.id for entry in ENVIRONMENTS}:
        return
    here = find(env_id)
    if here.group not in homes:
        example = next(entry.id for entry in ENVIRONMENTS if entry.group in homes)
        raise ValueError(
            f"The teacher {name} belongs to {' and '.join(homes)} ({example}, for example) and does not fit {env_id}; "
            f"kdgym list {env_id} shows those that fit."
        )
    if name in here.trained and not file:
        raise ValueError(
            f"The teacher {name} has to be trained first: kdgym train {env_id} --agent {name} --out DIR; "
            f"then give {name}:FILE, with the file that it prints."
        )
