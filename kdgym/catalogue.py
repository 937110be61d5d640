"""The teachers that come with kdgym, by their files: none of them is imported to say what there is."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import tokenize
from pathlib import Path

import kdgym.agents


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
