"""Makes items of reasoning-gym; run as a script, in a process of its own, by `kdgym.tasks.reasoning.pools`.

Some of its datasets walk through sets of words, so what they make depends on Python's hash seed; some print; one executes code.
In a process with the hash seed 0, whose output is caught, an item is a pure function of dataset, settings, seed and index.

It reads lines of JSON, ``{"dataset", "settings", "seed", "items"}``. For each it writes a line of JSON for every item,
``{"problem", "answer", "attributes", "metadata"}``, and at the end ``{"description"}`` or ``{"error"}``. Imports nothing of
kdgym, which would take longer than the work.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import sys
from collections.abc import Iterator
from typing import Any, TextIO

# Where a dataset keeps a right answer that it does not call the answer, because there are others.
EXAMPLES = {
    "graph_color": "possible_answer",
    "propositional_logic": "example_answer",
    "rubiks_cube": "example_correct_answer",
}
_TRIES = 4  # indices looked at for every item wanted, before a dataset counts as exhausted

_FAILURES = 16  # in a row from the beginning, before a dataset counts as broken


def tidy(text: str) -> str:
    """Without blanks at the ends of lines and empty lines around them."""
    return "\n".join(line.rstrip(" \t\r") for line in text.split("\n")).strip("\n")


def _answer(dataset: str, entry: dict[str, Any]) -> str | None:
    found = entry["metadata"].get(EXAMPLES[dataset]) if dataset in EXAMPLES else entry["answer"]
    return found if found is None or isinstance(found, str) else json.dumps(found)


def _attributes(metadata: dict[str, Any]) -> dict[str, float]:
    """What the dataset says makes this item difficult, as numbers; a list counts as its length."""
    attributes = {}
    for name in metadata["difficulty"] if isinstance(metadata.get("difficulty"), dict) else ():
        value = metadata.get(name)
        if isinstance(value, list):
            attributes[name] = float(len(value))
        elif isinstance(value, int | float):
            attributes[name] = float(value)
    return attributes


def make_items(dataset: str, settings: dict[str, Any], seed: int, items: int) -> Iterator[dict[str, Any]]:
    """Up to ``items`` items with different problems, in the order of their indices; indices that fail are passed over."""
    from reasoning_gym.factory import DATASETS, create_dataset

    if dataset not in DATASETS:
        near = difflib.get_close_matches(dataset, DATASETS, n=5, cutoff=0.5) or sorted(DATASETS)
        raise ValueError(f"it has no such dataset; try {', '.join(near)}")
    source = create_dataset(dataset, **settings, seed=seed, size=_TRIES * items)
    seen: set[str] = set()
    failed = 0
    for index in range(_TRIES * items):
        try:
            entry = source[index]
        except Exception:  # a generator may give up on an item; one that always does cannot be used
            failed += 1
            if failed > _FAILURES and not seen:
                raise
            continue
        problem, answer = tidy(entry["question"]), _answer(dataset, entry)
        if problem in seen or answer is None or not tidy(answer).strip():
            continue
        if dataset in EXAMPLES and source.score_answer(answer, entry) != 1.0:
            continue  # some examples are none
        seen.add(problem)
        attributes, metadata = _attributes(entry["metadata"]), entry["metadata"]
        yield {"problem": problem, "answer": tidy(answer), "attributes": attributes, "metadata": metadata}
        if len(seen) == items:
            return


def main(job: dict[str, Any], results: TextIO) -> None:
    from reasoning_gym.factory import DATASETS

    try:
        for item in make_items(**job):
            results.write(json.dumps(item, default=str) + "\n")
        outcome = {"description": " ".join((DATASETS[job["dataset"]][0].__doc__ or "").split("\n")[0].split())}
    except Exception as error:  # of a generator that is not ours, on its way to the person who chose its settings
        outcome = {"error": str(error) or type(error).__name__}
    results.write(json.dumps(outcome) + "\n")
    results.flush()


if __name__ == "__main__":
    pipe = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        for line in sys.stdin:
            main(json.loads(line), pipe)
