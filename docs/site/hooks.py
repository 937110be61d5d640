"""Hooks of MkDocs: the pages that are made while the site is built, and where links lead.

Pages link as they do on GitHub: to files. Here a link to a page outside of docs/ leads to that page of the site, and a link to
any other file of the repository to its page there.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any

import boards
import environments
import jupytext
import nbformat
import reference
import teachers
from common import ROOT, TUTORIALS, slug
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# Pages of the site that are files of the repository's root; and what else of the repository has a page of its own name.
FROM_ROOT = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "security-policy.md": "SECURITY.md",
}
PAGE_OF = {source: page for page, source in FROM_ROOT.items()} | {
    "leaderboards/README.md": "boards.md",
    "CITATION.cff": "citing.md",
}
CODE = re.compile(r"(^ *```.*?^ *```|`[^`\n]+`)", flags=re.DOTALL | re.MULTILINE)
ID_ROW = re.compile(r"^\| `?(kdgym/[\w-]+-v\d+)`? \|", flags=re.MULTILINE)
LINK = re.compile(r"(\]\(|src=\")<?([^)>\"#:]+)(#[^)>\"]*)?>?(\)|\")")


def on_config(config: Any) -> Any:
    """Enter the generated pages into the navigation, after the page that lists them."""
    sections = {title: entries for section in config.nav for title, entries in section.items()}
    sections["Environments"] += environments.navigation()
    sections["Reference"][1:1] = reference.navigation()
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add what is generated."""
    pages = {page: (ROOT / source).read_text(encoding="utf-8") for page, source in FROM_ROOT.items()}
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    pages["citing.md"] = f'# Citing kdgym\n\n```yaml title="CITATION.cff"\n{citation}```\n'
    pages |= environments.pages() | boards.pages() | teachers.pages() | reference.pages()
    for tutorial in TUTORIALS:
        pages[f"tutorials/{tutorial.stem}.ipynb"] = notebook(tutorial.read_text(encoding="utf-8"))
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, **_: Any) -> str:
    """Lead links where they belong, link ids that open rows of tables, and write nested lists as MkDocs reads them."""
    uri = page.file.src_uri
    origin = FROM_ROOT.get(uri, f"docs/{uri}")
    if uri.startswith("tutorials/"):
        title, rest = markdown.split("\n", 1)
        markdown = f"{title}\n\n[Download as a notebook]({posixpath.basename(uri)[:-3]}.ipynb)\n{rest}"

    def to_page(row: re.Match[str]) -> str:
        page_of_id = posixpath.relpath(f"docs/environments/{slug(row[1])}", posixpath.dirname(origin) or ".")
        return f"| [`{row[1]}`]({page_of_id}) |"

    def lead(link: re.Match[str]) -> str:
        before, target, anchor, after = link.groups()
        found = destination(target, origin, uri, config.repo_url)
        if before.startswith("src"):  # HTML, which MkDocs leaves alone: from the page's address, not from its file
            found = posixpath.relpath(posixpath.join(posixpath.dirname(uri), found), page.url or ".")
        return f"{before}{found}{anchor or ''}{after}"

    # Code stands at odd places of what `split` gives.
    parts = CODE.split(ID_ROW.sub(to_page, markdown))
    parts[::2] = [LINK.sub(lead, indented(part)) for part in parts[::2]]
    return "".join(parts)


def destination(link: str, origin: str, uri: str, repository: str) -> str:
    """What a page has to link to.

    Args:
        link: to a file, from `origin`.
        origin: the page's file in the repository.
        uri: the page's file in the site.
        repository: address of the repository.
    """
    target = posixpath.normpath(posixpath.join(posixpath.dirname(origin), link))
    page = PAGE_OF.get(target) or (target.removeprefix("docs/") if target.startswith("docs/") else None)
    if page:
        return posixpath.relpath(page, posixpath.dirname(uri) or ".")
    if (ROOT / target).exists():
        return f"{repository.rstrip('/')}/{'tree' if (ROOT / target).is_dir() else 'blob'}/main/{target}"
    return link  # the strict build says that there is no such file


def indented(text: str) -> str:
    """Nested lists by four spaces a level, which Python-Markdown asks for; on GitHub two or three are enough."""
    text = re.sub(r"^ {2,3}(?=\S)", " " * 4, text, flags=re.MULTILINE)
    return re.sub(r"^ {5,7}(?=\S)", " " * 8, text, flags=re.MULTILINE)


def notebook(text: str) -> str:
    """A page as a notebook, without its outputs; cells are named by their place, so that equal pages give equal files."""
    book = jupytext.reads(text, fmt="md")
    for place, cell in enumerate(book.cells):
        cell["id"] = f"cell-{place}"
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    written: str = nbformat.writes(book)
    return written
