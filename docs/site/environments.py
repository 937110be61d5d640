"""A page an id: by the class docstring, the table of registration, a recorded episode, docs/room.json and the board."""

from __future__ import annotations

import inspect
import json
import re
from importlib import import_module
from typing import Any

import boards
from common import FAMILIES, ROOT, slug, table

from kdgym.catalogue import roles
from kdgym.registration import ENVIRONMENTS, Entry
from kdgym.settings import Settings
from kdgym.tasks import make_task

PROBLEM = 880  # of a task, shown as its example: the one of the README
MOST_NUMBERS, MOST_LETTERS = 6, 600  # shown of an array, and of a text


def pages() -> dict[str, str]:
    return {
        f"environments/{slug(entry.id)}": closed_page(entry) if entry.closed else page(entry) for entry in ENVIRONMENTS
    }


def navigation() -> list[Any]:
    """Families with their open ids, then closed ids."""
    groups = {title: [e for e in ENVIRONMENTS if e.family == name and not e.closed] for name, title in FAMILIES.items()}
    groups["Closed"] = [entry for entry in ENVIRONMENTS if entry.closed]
    return [
        {title: [{entry.id.partition("/")[2]: f"environments/{slug(entry.id)}"} for entry in entries]}
        for title, entries in groups.items()
    ]


def page(entry: Entry) -> str:
    kind = population(entry)
    opening, _, sections = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")
    parts = [
        f"# {entry.id.partition('/')[2]}\n",
        f"{opening}\n",
        f"{summary(entry)}\n",
        f'```python\nimport gymnasium as gym\nimport kdgym\n\nenvs = gym.make_vec("{entry.id}", num_envs=64)\n```\n',
        item(settings_of(entry)),
        sections.replace("``docs/", "``"),
        "## An example\n",
        example(entry),
        "## Settings and their defaults\n",
        "Bold values are set by this id; the others are defaults. The section Arguments says what they mean.\n",
        defaults(entry),
        "## Teachers that fit\n",
        table(("teacher", "role"), [(f"[`{name}`](../teachers.md#{name})", role) for name, role in fitting(entry)]),
        gain(entry),
    ]
    return "\n".join(part for part in parts if part)


def summary(entry: Entry) -> str:
    """The table's summary; where it says "the same", with that of the row above which it means."""
    if not entry.summary.startswith("The same "):
        return entry.summary
    above = ENVIRONMENTS[: ENVIRONMENTS.index(entry)]
    meant = next(other.summary for other in reversed(above) if not other.summary.startswith("The same "))
    return f"{meant} Here the same {entry.summary.removeprefix('The same ')}"


def closed_page(entry: Entry) -> str:
    newer = f"[{entry.newer.partition('/')[2]}]({slug(entry.newer)})"
    return (
        f"# {entry.id.partition('/')[2]} (closed)\n\nScores of this id no longer count: {entry.closed}\n\n"
        f"Use {newer}. The old board stays, so that its records can be checked.\n\n{gain(entry)}"
    )


def gain(entry: Entry) -> str:
    """What there is to gain, and the board; a sentence where no teacher stands there yet."""
    if entry.id not in boards.sections():
        return "## Leaderboard\n\nNo teacher stands on this board yet.\n"
    text = ""
    if entry.id in boards.room():
        text += "## How much can a good teacher gain?\n\nThe best verified teacher of each kind. "
        text += f"Score: {entry.measure}, {entry.episodes} students.\n\n{boards.gains(entry.id)}"
    text += "## Leaderboard\n\n[How to submit](../leaderboards.md), and [what the columns mean](../leaderboards.md#protocol)."
    return f"{text}\n\n{boards.board(entry.id)}"


def fitting(entry: Entry) -> list[tuple[str, str]]:
    return list(roles(entry.group).items())


def population(entry: Entry) -> type:
    kind: type = getattr(import_module(entry.module), entry.population)
    return kind


def settings_type(kind: type) -> type[Settings]:
    """The settings of a population, as the annotations ``config`` and ``course`` of its class name them."""
    for parent in kind.__mro__:
        annotations = inspect.get_annotations(parent)
        for name in ("course", "config"):
            found = re.search(r"\w+Settings", str(annotations.get(name, "")))
            if found:
                settings: type[Settings] = getattr(import_module(parent.__module__), found.group())
                return settings
    raise TypeError(f"{kind.__name__} has no annotation config: ...Settings or course: Course[...Settings].")


def settings_of(entry: Entry) -> Settings:
    return settings_type(population(entry)).parse(entry.settings)


def defaults(entry: Entry) -> str:
    """Every setting of an id, its value, and what is allowed."""
    settings = settings_of(entry)
    values = settings.model_dump(mode="json")
    return settings_table(type(settings), values, changed=set(entry.settings))


def settings_table(kind: type[Settings], values: dict[str, Any], changed: set[str]) -> str:
    """Name, value and what is allowed; changed values are bold."""
    schema = kind.model_json_schema()["properties"]
    rows = []
    for name, field in schema.items():
        value = f"`{json.dumps(values.get(name, field.get('default')))}`"
        rows.append((f"`{name}`", f"**{value}**" if name in changed else value, allowed(field)))
    return table(("setting", "value", "allowed"), rows)


def allowed(field: dict[str, Any]) -> str:
    """What a field of a JSON Schema takes, in words."""
    if "anyOf" in field:
        return " or ".join(allowed(option) for option in field["anyOf"])
    if "enum" in field or "const" in field:
        return ", ".join(f"`{json.dumps(value)}`" for value in field.get("enum", [field.get("const")]))
    words = {
        "integer": "whole number",
        "number": "number",
        "string": "text",
        "boolean": "`true`, `false`",
        "null": "`null`",
    }
    kind = words.get(field.get("type", ""), field.get("type", "any JSON"))
    bounds = [
        ("minimum", "at least"),
        ("exclusiveMinimum", "above"),
        ("maximum", "at most"),
        ("exclusiveMaximum", "below"),
    ]
    return ", ".join([kind, *(f"{word} {field[name]:g}" for name, word in bounds if name in field)])


def item(settings: Settings) -> str:
    """A real problem of the task, where it has problems in words."""
    values = settings.model_dump()
    if "task_options" not in values:
        return ""
    task = make_task(values["task"], **values["task_options"])
    return f"An item, as a student reads it:\n\n```text\n{task.text(PROBLEM % len(task.solution))}\n```\n"


def example(entry: Entry) -> str:
    """What a teacher saw first and then did, in the recorded episode of the tests."""
    recorded = json.loads(
        (ROOT / "tests" / "episodes" / f"{entry.id.partition('/')[2]}.json").read_text(encoding="utf-8")
    )
    seen, reward = [], None
    for line, values in zip(recorded["names"], recorded["values"], strict=True):
        name, _, shape = line.rsplit(" ", 2)
        of_one = values[: len(values) // int(shape.partition("x")[0])]
        if name.startswith("reset.observation"):
            seen.append((name.removeprefix("reset.observation").strip("."), of_one))
        elif name == "step 1.reward":
            reward = of_one[0]
    settings = ", ".join(f"`{name}={value!r}`" for name, value in recorded["settings"].items())
    text = f"From a recorded episode, made short by {settings}. "
    action = recorded["actions"][0]
    if isinstance(action[0], str):
        text += f"The action's reward was {reward:.3f}. The observation:\n\n"
        return f"{text}{quoted(seen[0][1][0])}\nThe action:\n\n{quoted(action[0])}"
    text += f"The action was drawn at random; its reward was {reward:.3f}.\n\n"
    rows = [(f"`{name}`", len(of_one), shortened(of_one)) for name, of_one in seen]
    rows.append(("the action", len(action) // 2, shortened(action[: len(action) // 2])))
    return text + table(("observation", "numbers", "values"), rows)


def quoted(text: str) -> str:
    """JSON that a teacher reads or writes, indented, and cut where it grows long."""
    plain = json.dumps(json.loads(text), indent=1)
    return f"```text\n{plain[:MOST_LETTERS]}{' ...' if len(plain) > MOST_LETTERS else ''}\n```\n"


def shortened(values: list[float]) -> str:
    shown = ", ".join(f"{value:.3g}" for value in values[:MOST_NUMBERS])
    return f"{shown}, ..." if len(values) > MOST_NUMBERS else shown
