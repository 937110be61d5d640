"""What the teacher `learned` is worth beside the best rule and the best constant recipe, by three trainings an environment.

python -m kdgym.studies.learned --measure ID     measure that environment, add it to docs/learned.json, and write the tables
python -m kdgym.studies.learned                  write the tables of docs/learned.md anew from docs/learned.json

Trained teachers are expected where the commands in docs/learned.md put them: ``runs/learned/NAME-SEED``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
import numpy as np
import typer

from kdgym.cli.errors import run_command
from kdgym.console import Threads, set_threads
from kdgym.evaluation import evaluate
from kdgym.evaluation.report import exact
from kdgym.evaluation.statistics import mean_interval
from kdgym.integrations.sb3 import SB3Agent
from kdgym.registration import find
from kdgym.spaces import blocks
from kdgym.studies.distillation import FOLDER, each_teacher, write

STUDENTS, FIRST, SEEDS = 128, 6_000_000, (0, 1, 2)  # no setting was chosen on these students
LEARNED = "learned, seed "
# Whom `learned` is compared with: rules, and recipes that never change.
RIVALS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "kdgym/DataGen-Math-v0": (("adaptive_source", "stat"), ("constant", "target_proportional", "uniform")),
    "kdgym/Distill-Images-v0": (
        ("probing_teacher", "agreeing_teacher"),
        (f"recipe_search:{FOLDER}/recipe_search.json", "mcmi", "plain_kd"),
    ),
    "kdgym/Label-Weak-v0": (
        ("probing_source", "bought_source"),
        (f"label_search:{FOLDER}/label_search.json", "majority_vote"),
    ),
    "kdgym/Select-Images-v0": (
        ("probing_scorer", "trying_scorer"),
        ("mini_plm_teacher", "peer_scorer", f"select_search:{FOLDER}/select_search.json"),
    ),
}


def measure(env_id: str, runs: Path) -> dict[str, Any]:
    """Scores of 128 unseen students under every teacher, and the trainings' learning curves."""
    stem = env_id.partition("/")[2]
    rules, constant = RIVALS[env_id]
    agents = {name.partition(":")[0]: name for name in (*rules, *constant, find(env_id).upper_bounds[0])}
    agents |= {f"{LEARNED}{seed}": f"learned:{runs / f'{stem}-{seed}' / 'model.zip'}" for seed in SEEDS}
    scores = {}
    with each_teacher() as advance:
        for done, (name, agent) in enumerate(agents.items()):
            advance(name, done, len(agents))
            scores[name] = evaluate(env_id, agent, STUDENTS, first_seed=FIRST).after.round(6).tolist()
    curves = [json.loads((runs / f"{stem}-{seed}" / "curve.json").read_text()) for seed in SEEDS]
    first = first_actions(env_id, [runs / f"{stem}-{seed}" / "model.zip" for seed in SEEDS])
    return {"scores": scores, "steps": [curve[-1]["steps"] for curve in curves], "curves": curves, "first": first}


def first_actions(env_id: str, teachers: list[Path]) -> list[float]:
    """Chance to trust a good item most, then how many of the students each teacher does so to in its very first action. Nothing
    was tried then, so what is above chance is no adapting. Empty where the environment has no item that is good.
    """
    envs: Any = gym.make_vec(env_id, num_envs=STUDENTS, pool="evaluation")
    observation, _ = envs.reset(seed=list(range(FIRST, FIRST + STUDENTS)))
    hidden = envs.hidden() if hasattr(envs, "hidden") else {}
    if "good" not in hidden:
        return []
    found = [float(hidden["good"].mean())]
    ends = np.cumsum([block.size for block in blocks(envs.single_action_space)])
    for path in teachers:
        agent = SB3Agent.from_zip(path, envs.single_observation_space, envs.single_action_space)
        agent.reset(observation)
        parts = np.split(agent.act(observation), ends[:-1], axis=1)
        (shares,) = (part for part in parts if part.shape == hidden["good"].shape)
        found.append(float(hidden["good"][np.arange(STUDENTS), shares.argmax(1)].mean()))
    return found


def tables(measured: dict[str, Any]) -> dict[str, str]:
    """Markdown tables by the name of their place."""
    return {"results": _results(measured), "first": _first(measured), "curves": _curves(measured)}


def _first(measured: dict[str, Any]) -> str:
    lines = ["| environment | by chance | training 0 | training 1 | training 2 |", "|---" * 5 + "|"]
    for env_id, found in measured.items():
        if found["first"]:
            lines.append(f"| {env_id} | {' | '.join(f'{share:.2f}' for share in found['first'])} |")
    return "\n".join(lines)


def _results(measured: dict[str, Any]) -> str:
    lines = ["| environment | teacher | what it is | score | minus best rule | minus best constant |", "|---" * 6 + "|"]
    for env_id, found in measured.items():
        scores = {name: np.array(values) for name, values in found["scores"].items()}
        rules, constant = ([name.partition(":")[0] for name in names] for names in RIVALS[env_id])
        own = [name for name in scores if name.startswith(LEARNED)]
        scores["learned, mean"] = np.mean([scores[name] for name in own], axis=0)
        rule, fixed = (max(names, key=lambda name: float(scores[name].mean())) for names in (rules, constant))
        what = {fixed: "best constant", rule: "best rule", **dict.fromkeys(own, "learned")}
        what |= {"learned, mean": "mean of the trainings", find(env_id).upper_bounds[0]: "upper bound"}
        for name, role in what.items():
            cells = [
                "" if name == other else exact(mean_interval(scores[name] - scores[other])) for other in (rule, fixed)
            ]
            lines.append(f"| {env_id} | {name} | {role} | {scores[name].mean():.3f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _curves(measured: dict[str, Any]) -> str:
    lines = ["| environment | training | steps: mean return of 64 students of the training pool |", "|---" * 3 + "|"]
    for env_id, found in measured.items():
        for seed, curve in zip(SEEDS, found["curves"], strict=True):
            points = ", ".join(f"{point['steps']:,}: {point['return']:.3f}" for point in curve)
            lines.append(f"| {env_id} | {seed} | {points} |")
    return "\n".join(lines)


def main(
    measure_id: Annotated[str, typer.Option("--measure", help="An environment to measure anew.")] = "",
    runs: Annotated[Path, typer.Option(help="Where the trainings are.")] = Path("runs/learned"),
    threads: Threads = 1,
) -> None:
    """Measure, or only write the tables."""
    set_threads(threads)
    results = FOLDER / "learned.json"
    known = json.loads(results.read_text()) if results.is_file() else {}
    write("learned", {**known, measure_id: measure(measure_id, runs)} if measure_id else None, tables)


if __name__ == "__main__":
    run_command(main)
