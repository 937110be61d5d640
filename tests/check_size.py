"""Print lines per folder and refuse files over their budget: a file that outgrows it wants another design."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIMITS = {"envs": 350, "agents": 150, "kdgym": 400, "tests": 400}


def main() -> int:
    failed, total = False, 0
    for folder, limit in LIMITS.items():
        files = [path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in (".py", ".c", ".h")]
        sizes = {path: len(path.read_text().splitlines()) for path in files}
        lines, longest = sum(sizes.values()), max(sizes.values())
        total += lines if folder != "tests" else 0
        print(f"{folder:8} {lines:6} lines in {len(sizes):3} files, longest {longest} of {limit}")  # noqa: T201
        for path, size in sizes.items():
            if size > limit:
                print(f"  {path.relative_to(ROOT)} has {size} lines; {limit} are allowed")  # noqa: T201
                failed = True
    print(f"library  {total:6} lines of about 8000")  # noqa: T201
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
