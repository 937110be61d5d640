"""The teachers that have names: what they do and where they fit, by the table and their files, without importing them."""

from __future__ import annotations

import ast
import inspect
import re
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from kdgym.plugins import Registry
from kdgym.registration import environments

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
    """A teacher that comes with kdgym or another package.

    Attributes:
        module: where it is defined: ``kdgym.agents.<family>.<file>``.
        file: of that module.
        kind: the name of its class there: ``Agent``, or of a preset its own name in capitals.
        groups: of ids that it fits, beside those whose rows name it; of kdgym's own there are none.
    """

    module: str
    file: Path
    kind: str = "Agent"
    groups: tuple[str, ...] = ()


@cache
def _own() -> dict[str, Packaged]:
    """Every teacher that comes with kdgym, by its name, which is unique over all families."""
    spec = find_spec("kdgym.agents")
    assert spec is not None and spec.submodule_search_locations is not None
    found: dict[str, Packaged] = {}
    for file in sorted(Path(spec.submodule_search_locations[0]).glob("*/[!_]*.py")):
        module = f"kdgym.agents.{file.parent.name}.{file.stem}"
        if file.stem == "presets":
            kinds = [node.name for node in _parsed(file).body if isinstance(node, ast.ClassDef)]
            found |= {re.sub("(?<!^)(?=[A-Z])", "_", kind).lower(): Packaged(module, file, kind) for kind in kinds}
        else:
            found[file.stem] = Packaged(module, file)
    return found


def _located(where: str, groups: Iterable[str] = ()) -> Packaged:
    """The teacher at ``module:Class``, not imported; groups that are not given are those that its class names."""
    module, _, kind = where.partition(":")
    spec = find_spec(module)
    if spec is None or spec.origin is None or not kind:
        raise ValueError(f"There is no module {module}." if kind else f"{where!r} names no class; give module:Class.")
    file = Path(spec.origin)
    for node in _class(file, kind).body:
        if not groups and isinstance(node, ast.Assign | ast.AnnAssign) and re.match(r"groups\b", ast.unparse(node)):
            groups = ast.literal_eval(node.value or "()")
    return Packaged(module, file, kind, (groups,) if isinstance(groups, str) else tuple(groups))


AGENTS = Registry("kdgym.agents", "teacher", _own, lambda point: _located(point.value))


def register_agent(name: str, where: str, groups: Iterable[str] = ()) -> None:
    """Give a teacher of another package a name, for the command line and for rows of environments.

    A package that is installed names it in the entry-point group ``kdgym.agents`` instead; its class may say ``groups``.

    Args:
        name: for ``--agent``, for example.
        where: ``module:Class``; see `kdgym.teaching.Teacher`. It is imported when the teacher is wanted.
        groups: of ids that it fits (`Entry.group`), beside those whose rows name it; without any, it is tried anywhere.

    Raises:
        ValueError: there is a teacher of that name, or no such class.
        ImportError: there is no such package, or it cannot be imported.
    """
    AGENTS.add(name, _located(where, groups))


def packaged() -> dict[str, Packaged]:
    """The teachers that have names, kdgym's own first. One that cannot be used is left out, with a warning."""
    return AGENTS.usable()


@cache
def _parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _class(file: Path, name: str) -> ast.ClassDef:
    for node in _parsed(file).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return node
    raise ValueError(f"{file} defines no class {name}.")


def agent_names() -> list[str]:
    """The names of teachers."""
    return sorted(packaged())


def rule(agent: str) -> str:
    """What a packaged teacher does: the first paragraph of its docstring, in one line; empty without one."""
    teacher = AGENTS[agent]
    if teacher.kind != "Agent":
        return _first_paragraph(ast.get_docstring(_class(teacher.file, teacher.kind)) or "")
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
    entries = [entry for entry in environments() if entry.group == group]
    for column, role in _ROLES.items():
        for entry in entries:
            names = getattr(entry, column)
            for name in (names,) if isinstance(names, str) else names:
                found.setdefault(name, role)
    for name, teacher in packaged().items():
        if group in teacher.groups:
            found.setdefault(name, _ROLES["others"])
    return found


def groups(agent: str) -> list[str]:
    """The groups whose ids a packaged teacher fits; empty if it stands in no row of the table."""
    return [group for group in dict.fromkeys(entry.group for entry in environments()) if agent in roles(group)]


def require_fit(env_id: str, agent: str) -> None:
    """Refuse a packaged teacher that cannot teach there; of a person's own file or zip, the environment will speak.

    Args:
        env_id: the environment; one that is not in the table is not judged.
        agent: see `kdgym.evaluation.load_agent`.

    Raises:
        ValueError: the teacher is of another group of ids, or has to be trained first.
    """
    name, _, file = agent.partition(":")
    homes, entries = groups(name), {entry.id: entry for entry in environments()}
    if not homes or env_id not in entries:
        return
    here = entries[env_id]
    if here.group not in homes:
        example = next(entry.id for entry in entries.values() if entry.group in homes)
        raise ValueError(
            f"The teacher {name} belongs to {' and '.join(homes)} ({example}, for example) and does not fit {env_id}; "
            f"kdgym list {env_id} shows those that fit."
        )
    if name in here.trained and not file:
        raise ValueError(
            f"The teacher {name} has to be trained first: kdgym train {env_id} --agent {name} --out DIR; "
            f"then give {name}:FILE, with the file that it prints."
        )
