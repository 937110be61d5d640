"""Rows of a data set: files of JSON Lines, JSON, CSV and Parquet, folders of them, and what `datasets` has in its cache."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

Row = dict[str, Any]
CACHED = "hf:"  # in front of the name of a data set in the cache of `datasets`


def read_rows(source: str) -> Iterator[tuple[str, Row]]:
    """All rows, each with the place where it stands.

    Args:
        source: a file; a folder, of which every file that can be read is; or ``hf:NAME`` or ``hf:NAME:CONFIGURATION``.

    Raises:
        FileNotFoundError: there is nothing of that name that can be read.
        ValueError: a file is damaged, or the data set is not in the cache.
    """
    if source.startswith(CACHED):
        yield from _cached(source.removeprefix(CACHED))
        return
    path, kinds = Path(source).expanduser(), (*_TEXT, ".parquet")
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    files = [file for file in found if file.suffix.lower() in kinds and file.is_file()]
    if not files:
        raise FileNotFoundError(
            f"{source!r} is no file of {', '.join(kinds)}, and no folder with one; give such a path, or hf:NAME."
        )
    for file in files:
        number = 0
        try:
            for number, row in enumerate(_read(file), 1):
                if row is not None:
                    if not isinstance(row, dict) or None in row:
                        raise ValueError("a row is an object with names, or has as many fields as the header")
                    yield f"{file}, row {number}", row
        except (ValueError, csv.Error, RecursionError) as error:
            raise ValueError(
                f"{file} cannot be read after row {number} ({error}). Mend what follows, or leave it out."
            ) from None


def _read(file: Path) -> Iterator[Any]:
    """Rows; None for an empty line."""
    if file.suffix.lower() == ".parquet":
        from pyarrow import parquet

        yield from parquet.read_table(file).to_pylist()
    else:
        with open(file, encoding="utf-8-sig", newline="") as lines:
            yield from _TEXT[file.suffix.lower()](lines)


_TEXT: dict[str, Callable[[TextIO], Iterable[Any]]] = {
    ".jsonl": lambda lines: (json.loads(line) if line.strip() else None for line in lines),
    ".json": lambda file: content if isinstance(content := json.load(file), list) else [content],
    ".csv": lambda lines: csv.DictReader(lines, strict=True),
}


def _cached(named: str) -> Iterator[tuple[str, Row]]:
    """Every split, as it was when the data set was loaded last; nothing is downloaded."""
    from datasets.packaged_modules.cache.cache import Cache

    name, _, configuration = named.partition(":")
    try:
        chosen = {"config_name": configuration or None, "version": "auto", "hash": "auto"}
        splits = Cache(repo_id=name, dataset_name=name.rpartition("/")[2], **chosen).as_dataset()
    except ValueError as error:
        why = " ".join(str(error).split())
        raise ValueError(
            f"{CACHED}{named} cannot be used: {why}. Load it once by datasets.load_dataset, online."
        ) from None
    for split, rows in splits.items():
        yield from ((f"{name}, {split}, row {number}", row) for number, row in enumerate(rows, 1))


def text_of(cell: Any) -> str:
    """A cell as text, without blanks around it; empty where there is nothing, or what is none: NaN, lists, half characters."""
    if not isinstance(cell, str | int | float | Decimal) or (not isinstance(cell, str) and not math.isfinite(cell)):
        return ""
    text = str(cell).strip()
    return "" if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text) else text
