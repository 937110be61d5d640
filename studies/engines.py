"""What there is to gain on the Open-Ended ids with several data engines, and what reading the engines' answers is worth.

python -m kdgym.studies.engines --measure     measure all teachers, write docs/datagen.json, and the tables
python -m kdgym.studies.engines               write the tables of docs/datagen.md anew from docs/datagen.json
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from kdgym.cli.errors import run_command
from kdgym.console import Threads, set_threads
from kdgym.evaluation import compare
from kdgym.evaluation.report import exact, markdown
from kdgym.evaluation.statistics import mean_interval
from kdgym.registration import find
from kdgym.studies.distillation import each_teacher, write
from kdgym.teaching import Teacher

IDS = tuple(f"kdgym/DataGen-{task}-OpenEnded-v1" for task in ("Math", "VQA", "Reasoning"))
EPISODES = 64
READER = "vet_engines"  # the only rule that reads what engines say
Scores = npt.NDArray[np.float64]


def constant(share: float, engine: str = "") -> type[Teacher]:
    """A teacher that does not look: it spends this share of every allowance on real items, of one engine or of any."""

    class Constant(Teacher):
        def act(self, observation: Any) -> list[str]:
            money = [int(share * json.loads(text)["items"]) for text in observation]
            chosen = {"engine": engine} if engine else {}
            return [json.dumps([{"draw": n, **chosen}] if n else []) for n in money]

    return Constant


CONSTANT: dict[str, Any] = {
    "no teaching": "no teaching",
    "random_real": "random_real",
    "random_real, half the money": constant(0.5),
    "random_real, a quarter of the money": constant(0.25),
    "random_real, one engine": constant(1, "A"),
    "random_real, one engine, half the money": constant(0.5, "A"),
    "random_real, one engine, a quarter of the money": constant(0.25, "A"),
}


def measure() -> dict[str, Any]:
    """Test accuracy of 64 unseen students under every teacher, on every id."""
    measured: dict[str, Any] = {}
    with each_teacher() as advance:
        for env_id in IDS:
            entry = find(env_id)
            names = [entry.published, *entry.teachers, *entry.upper_bounds]
            found = compare(env_id, {**CONSTANT, **{name: name for name in names}}, EPISODES, progress=advance)
            measured[env_id] = {result.agent: result.after.round(6).tolist() for result in found}
    return measured


def tables(measured: dict[str, Any]) -> dict[str, str]:
    """Markdown tables by the name of their place."""
    scores = {env_id: {name: np.array(v) for name, v in rows.items()} for env_id, rows in measured.items()}
    return {"engines": _teachers(scores), "engines-gain": _gains(scores)}


def _teachers(scores: dict[str, dict[str, Scores]]) -> str:
    head = ["teacher", *(env_id.split("-")[1] for env_id in scores)]
    first = next(iter(scores.values()))
    order = sorted(first, key=lambda name: -float(first[name].mean()))
    rows = [[_marked(name), *(f"{of[name].mean():.3f}" for of in scores.values())] for name in order]
    return markdown(head, rows)


def _gains(scores: dict[str, dict[str, Scores]]) -> str:
    """What separates the upper bound, the best rule, the best that does not read, and the best that does not look."""
    bounds = find(IDS[0]).upper_bounds
    rows = []
    for env_id, of in scores.items():
        rules = [name for name in of if name not in bounds]
        best = _best(of, rules)
        blind, still = _best(of, [name for name in rules if name != READER]), _best(of, list(CONSTANT))
        pairs = ((_best(of, list(bounds)), best), (best, still), (READER, blind))
        rows.append([env_id.split("-")[1], *(f"{a} - {b}: {exact(mean_interval(of[a] - of[b]))}" for a, b in pairs)])
    return markdown(
        ["task", "room above the best rule", "best rule over the best constant", "what reading is worth"], rows
    )


def _best(of: dict[str, Scores], names: list[str]) -> str:
    return max(names, key=lambda name: float(of[name].mean()))


def _marked(name: str) -> str:
    return f"{name} *" if name in find(IDS[0]).upper_bounds else name


def main(
    measure_all: Annotated[bool, typer.Option("--measure", help="Measure all teachers anew.")] = False,
    threads: Threads = 1,
) -> None:
    """Measure, or only write the tables."""
    set_threads(threads)
    write("datagen", measure() if measure_all else None, tables)


if __name__ == "__main__":
    run_command(main)
