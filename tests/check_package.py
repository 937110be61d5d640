"""Types and import contracts of kdgym as users import it.

The folders ``envs``, ``agents`` and ``studies`` import as ``kdgym.envs``, ``kdgym.agents`` and ``kdgym.studies``, which neither
a type checker nor an import linter learns from an editable install. So both get a tree that looks like the installed package.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
SETTINGS = str(ROOT / "pyproject.toml")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("kdgym", "envs", "agents", "studies"):
            place = Path(folder, "kdgym", "" if name == "kdgym" else name)
            shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        # -S leaves out the editable install, which would be found before this tree.
        linter = "from importlinter.cli import lint_imports_command as lint; lint()"
        path = {"PYTHONPATH": os.pathsep.join([folder, sysconfig.get_path("purelib")])}
        imports = [sys.executable, "-S", "-c", linter, SETTINGS, "--no-logo", "--no-cache"]
        failed = subprocess.call(imports, cwd=folder, env={**os.environ, **path})
        types = [sys.executable, "-m", "mypy", "--config-file", SETTINGS, "-p", "kdgym"]
        cache = ["--cache-dir", str(ROOT / ".mypy_cache")]
        return failed or subprocess.call([*types, *cache], cwd=folder, env={**os.environ, "MYPYPATH": folder})


if __name__ == "__main__":
    sys.exit(main())
