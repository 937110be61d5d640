"""How long a browser takes to open the site from disk with 500 records: until the page has loaded and its scripts have run.

    python tests/benchmarks/site.py [--records 500] [--rounds 7]

The records are those of this repository over again, under other names. The other side is a page of one paragraph.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import statistics
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright
from rich.console import Console

from kdgym.leaderboard.record import load_record
from kdgym.leaderboard.site import build_site

BOARDS = Path(__file__).parent.parent.parent / "leaderboards"
LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "leaderboards"
        shutil.copytree(BOARDS / "kdgym", folder / "kdgym")
        paths = sorted(folder.glob("kdgym/*/*.json"))
        for number, path in zip(range(len(paths), arguments.records), itertools.cycle(paths), strict=False):
            record = load_record(path)
            card = record.agent.model_copy(update={"name": f"{record.agent.name} {number}", "kind": "rule"})
            copy = record.model_copy(update={"agent": card})
            copy.save(path.parent / copy.file_name())
        index = build_site(folder)
        empty = Path(name) / "empty.html"
        empty.write_text("<!doctype html><title>empty</title><p>Nothing.")
        took: dict[Path, list[float]] = {index: [], empty: []}
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for _, path in itertools.product(range(arguments.rounds), took):
                page = browser.new_page()
                page.goto(path.as_uri(), wait_until="load")
                took[path].append(float(page.evaluate(LOADED)))
                page.close()
            browser.close()
        middle = {path.name: statistics.median(times) for path, times in took.items()}
        Console().print(
            f"{len(list(folder.glob('kdgym/*/*.json')))} records, {index.stat().st_size / 2**20:.1f} MiB: loaded after "
            f"{middle['index.html']:.0f} ms, a page of one paragraph after {middle['empty.html']:.0f} ms (medians of "
            f"{arguments.rounds})"
        )


if __name__ == "__main__":
    main()
