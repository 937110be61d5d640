"""The teachers that come with kdgym: what they do and where they fit, by the table and their files, without importing them."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import tokenize
from pathlib import Path

import kdgym.agents
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


def agent_names() -> list[str]:
    """The teachers that come with kdgym."""
    return sorted(module.name for module in pkgutil.iter_modules(kdgym.agents.__path__))


def rule(agent: str) -> str:
    """What a packaged teacher does: the first paragraph of its module's docstring, in one line; empty without one."""
    with tokenize.open(Path(kdgym.agents.__path__[0]) / f"{agent}.py") as file:
        tokens = tokenize.generate_tokens(file.readline)
        first = next(token for token in tokens if token.type not in (tokenize.COMMENT, tokenize.NL))
    docstring = ast.literal_eval(first.string) if first.type == tokenize.STRING else ""
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
