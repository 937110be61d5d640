"""The reference: Python by docstrings, the command line by its help, settings and records by their schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from common import ROOT, table
from environments import allowed, settings_table
from typer.main import get_command

from kdgym.cli import app
from kdgym.students import TransformerConfig
from kdgym.students.language.options import LanguageOptions

PACKAGES = ("", "core", "evaluation", "llm", "spaces", "students", "tasks", "teaching", "testing", "wrappers")

INTEGRATIONS = ("minari", "ray", "rllib", "sb3", "sb3_policies")  # others are machinery of these


def navigation() -> list[Any]:
    return [{dotted(name): f"reference/{dotted(name)}.md"} for name in (*PACKAGES, "integrations")]


def dotted(name: str) -> str:
    return f"kdgym.{name}".rstrip(".")


def pages() -> dict[str, str]:
    found = {f"reference/{dotted(name)}.md": package(dotted(name)) for name in PACKAGES}
    found["reference/kdgym.integrations.md"] = integrations()
    rows = [(f"[`{dotted(n)}`]({dotted(n)}.md)", opening(dotted(n))) for n in (*PACKAGES, "integrations")]
    found["reference/python.md"] = "# Python\n\n" + table(("package", "what it holds"), rows)
    return found | {
        "reference/command-line.md": command_line(),
        "reference/settings.md": settings(),
        "reference/record.md": record(),
    }


def opening(name: str) -> str:
    return (import_module(name).__doc__ or "").strip().partition("\n\n")[0]


def package(name: str) -> str:
    """What a package names as public, each with its docstring."""
    public = sorted(import_module(name).__all__)
    return f"# {name}\n\n{opening(name)}\n\n" + "".join(f"::: {name}.{each}\n\n" for each in public)


def integrations() -> str:
    """The modules of this package, whole: each is for one library, which only its users have installed."""
    modules = "".join(f"::: kdgym.integrations.{name}\n\n" for name in INTEGRATIONS)
    return f"# kdgym.integrations\n\n{opening('kdgym.integrations')}\n\n{modules}"


# --- the command line ------------------------------------------------------------------------------------------------


def command_line() -> str:
    parts = ["# Command line\n", "What `kdgym --help` and the help of each command say.\n"]
    for name, command in commands(get_command(app), "kdgym"):
        parts += [f"## `{name}`\n", f"{command.help or ''}\n", parameters(command)]
    return "\n".join(parts)


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The commands that do something, with their full names, in the order of the help."""
    below = getattr(command, "commands", {})
    if not below:
        yield name, command
    for part in command.list_commands(None) if below else ():
        yield from commands(below[part], f"{name} {part}")


def parameters(command: Any) -> str:
    rows = []
    for one in command.params:
        is_option = one.param_type_name == "option"
        names = ", ".join(f"`{name}`" for name in one.opts) if is_option else f"`{(one.metavar or one.name).upper()}`"
        default = "required" if one.required else shown(one.default)
        rows.append((names, default, getattr(one, "help", "") or ""))
    return table(("argument or option", "default", "meaning"), rows) if rows else ""


def shown(default: Any) -> str:
    return "" if default is None or callable(default) else f"`{default}`"


# --- settings and records --------------------------------------------------------------------------------------------


def settings() -> str:
    return (
        "# Settings of students\n\nSettings of an environment stand on its page, below [Environments](../environments.md). "
        "A student's own are given as `student_options`.\n\n"
        f"## Small students\n\n{settings_table(TransformerConfig, {}, set())}"
        f"## Language models\n\n{settings_table(LanguageOptions, {}, set())}"
    )


def record() -> str:
    """The schema of a record, a section a part."""
    schema = json.loads((ROOT / "leaderboards" / "schema.json").read_text(encoding="utf-8"))
    text = "# Format of a record\n\nA row of a [leaderboard](../leaderboards.md) is one JSON file. Its schema is "
    text += "[schema.json](../../leaderboards/schema.json).\n\n"
    for name, part in {"Record": schema, **schema["$defs"]}.items():
        said, _, attributes = part["description"].partition("\n\nAttributes:\n")
        text += f"## {name}\n\n{said}\n\n{fields(part)}"
        text += f"```text\n{attributes.rstrip()}\n```\n\n" if attributes else ""
    return text


def fields(part: dict[str, Any]) -> str:
    rows = []
    for name, field in part["properties"].items():
        kind = part_name(field) or allowed(field)
        rows.append((f"`{name}`", kind, "yes" if name in part.get("required", ()) else ""))
    return table(("field", "type", "required"), rows)


def part_name(field: dict[str, Any]) -> str:
    """The link to another part of the record; empty if the field is none."""
    options = [option["$ref"] for option in (field, *field.get("anyOf", [])) if "$ref" in option]
    names = [option.rpartition("/")[2] for option in options]
    return ", ".join(f"[{name}](#{name.lower()})" for name in names)
