"""Finds links of a built site that lead nowhere, and what is loaded from other hosts: ``python check_links.py FOLDER``."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("link", "href")}
LOADED_RELATIONS = {"stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "modulepreload"}


class Parts(HTMLParser):
    """What of a page can be linked to, what it links to, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        for name in ("href", "src"):
            if name in given:
                is_loaded = (tag, name) in LOADED and (tag != "link" or given.get("rel") in LOADED_RELATIONS)
                (self.loaded if is_loaded else self.links).append(given[name])


def problems(folder: Path) -> list[str]:
    """One line a link that leads nowhere, and a thing that is loaded from another host.

    Args:
        folder: of the built site.
    """
    pages = {file.resolve(): Parts(file.read_text(encoding="utf-8")) for file in sorted(folder.rglob("*.html"))}
    found = []
    for file, page in pages.items():
        where = file.relative_to(folder.resolve())
        if where.name == "404.html":  # its links are absolute: it is shown at any address
            continue
        found += [f"{where} loads {url}" for url in page.loaded if urlsplit(url).netloc]
        for link in dict.fromkeys(page.links + page.loaded):
            said = broken(link, file, pages)
            found += [f"{where} links to {link}: {said}"] if said else []
    for sheet in sorted(folder.rglob("*.css")):
        outside = re.findall(r"(?:url\(|@import )[\"']?((?:https?:)?//[^)\"']+)", sheet.read_text(encoding="utf-8"))
        found += [f"{sheet.relative_to(folder)} loads {url}" for url in outside]
    return found


def broken(link: str, file: Path, pages: dict[Path, Parts]) -> str:
    """Why a link of a page leads nowhere; empty if it leads somewhere, or to another host."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return ""
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    target = target / "index.html" if target.is_dir() else target
    if not target.is_file():
        return "there is no such file"
    if parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
        return "there is no such place in the page"
    return ""


if __name__ == "__main__":
    all_found = problems(Path(sys.argv[1]))
    print("\n".join(all_found) or "All links lead somewhere, and nothing is loaded from other hosts.")  # noqa: T201
    sys.exit(bool(all_found))
