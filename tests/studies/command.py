"""How tests run a study, as a person does who types ``python -m kdgym.studies.NAME``."""

from __future__ import annotations

from typing import Any

import typer
from typer.testing import CliRunner, Result


def study(module: Any, *arguments: str) -> Result:
    """Run a study in this process; what it raises is in the result."""
    app = typer.Typer(add_completion=False)
    app.command()(module.main)
    return CliRunner(env={"COLUMNS": "100"}).invoke(app, list(arguments))
