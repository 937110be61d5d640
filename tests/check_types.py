"""Type-check kdgym as users import it.

The folders ``envs`` and ``agents`` import as ``kdgym.envs`` and ``kdgym.agents``, which a type checker does not learn from an
editable install. So mypy gets a tree of links that looks like the installed package.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "kdgym"
        package.mkdir()
        for path in (ROOT / "kdgym").iterdir():
            (package / path.name).symlink_to(path)
        for name in ("envs", "agents"):
            (package / name).symlink_to(ROOT / name)
        command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "-p", "kdgym"]
        cache = ["--cache-dir", str(ROOT / ".mypy_cache")]
        return subprocess.call([*command, *cache], cwd=folder, env={**os.environ, "MYPYPATH": folder})


if __name__ == "__main__":
    sys.exit(main())
