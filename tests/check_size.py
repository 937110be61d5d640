"""Print lines of code per folder, and refuse a library that outgrows its budget: what is added has to be named, or paid for.

Lines of code are those that hold more than comments and docstrings. A change that needs more raises `BUDGET` and says why.
"""

from __future__ import annotations

import ast
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).parent.parent
BUDGET = 25_720
LIBRARY = ("kdgym", "envs", "agents", "studies")
_NOTHING = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def python_lines(path: Path) -> int:
    """Lines that hold code."""
    with tokenize.open(path) as file:
        tokens = [t for t in tokenize.generate_tokens(file.readline) if t.type not in _NOTHING]
    lines = {line for t in tokens for line in range(t.start[0], t.end[0] + 1)}
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            docstring = node.body[0]
            lines -= set(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    return len(lines)


def c_lines(path: Path) -> int:
    """Lines that hold code; comments stand in lines of their own, or behind code."""
    inside, count = False, 0
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.strip()
        inside = inside or text.startswith("/*")
        count += bool(text) and not inside and not text.startswith("//")
        inside = inside and "*/" not in text
    return count


def main() -> int:
    total = 0
    for folder in (*LIBRARY, "tests"):
        files = [path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".c", ".h")]
        lines = sum(python_lines(path) if path.suffix == ".py" else c_lines(path) for path in files)
        total += lines if folder in LIBRARY else 0
        print(f"{folder:8} {lines:6} lines of code in {len(files):3} files")  # noqa: T201
    print(f"library  {total:6} lines of code, {BUDGET} are allowed")  # noqa: T201
    return int(total > BUDGET)


if __name__ == "__main__":
    sys.exit(main())
