"""The ``kdgym`` command."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import gymnasium as gym
import torch
import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from kdgym.classroom.cli import app as classroom
from kdgym.console import (
    AGENT_HELP,
    BaseUrl,
    EnvId,
    Model,
    Settings,
    Threads,
    console,
    parse_settings,
    progress_bar,
)
from kdgym.lanes.cli import app as lanes
from kdgym.leaderboard.cli import app as leaderboard
from kdgym.leaderboard.cli import export, submit, teach, verify
from kdgym.llm.commands import app as models
from kdgym.registration import ENVIRONMENTS, Entry, find
from kdgym.wrappers.cli import app as snapshots

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", help="A gym for teacher agents."
)
for name, commands in (
    ("snapshots", snapshots),
    ("models", models),
    ("classroom", classroom),
    ("lanes", lanes),
    ("leaderboard", leaderboard),
    ("export", export),
):
    app.add_typer(commands, name=name)
for command in (submit, verify, teach):
    app.command()(command)

Episodes = Annotated[int, typer.Option(help="Student seeds, the same for every teacher.", min=2)]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all results there, per seed.")]
Device = Annotated[str, typer.Option(help="Torch device of the students: cpu, cuda, ...")]
Misconceptions = Annotated[
    str, typer.Option(metavar="N|NAMES", help="Wrong rules every student begins with: how many, or which, by commas.")
]
Retention = Annotated[int, typer.Option(metavar="ITEMS", help="Unrelated training, to see what is retained.", min=0)]
Student = Annotated[
    str | None,
    typer.Option(
        help="Who learns: hf: and a directory, a prepared model or a hub id; a tiny transformer, if left out."
    ),
]
Placebo = Annotated[
    bool | None,
    typer.Option(help="Teach twins the same without content, to tell learning from format; usual for language models."),
]
TokenBudget = Annotated[float | None, typer.Option(help="Tokens after which the language model is not asked again.")]
SecondsBudget = Annotated[float | None, typer.Option(help="Waiting time after which it is not asked again.")]
TranscriptFile = Annotated[Path | None, typer.Option("--transcript", help="Append all prompts and answers (JSONL).")]


def _set_threads(threads: int) -> None:
    if threads:
        torch.set_num_threads(threads)


def _misconceptions(text: str) -> dict[str, Any]:
    """The setting of that name; nothing for 0, as not every family has it."""
    wanted = int(text) if text.isdecimal() else tuple(name.strip() for name in text.split(",") if name.strip())
    return {"misconceptions": wanted} if wanted else {}


def _options(**given: Any) -> dict[str, Any]:
    """What was given of the options of teachers."""
    return {name: value for name, value in given.items() if value is not None}


def _evaluate(
    id: str,
    agents: list[str],
    episodes: int,
    retention: int = 0,
    placebo: bool = False,
    options: dict[str, Any] | None = None,
    **settings: Any,
) -> list[Any]:
    """Evaluate every agent on the same students, with a progress bar."""
    from kdgym.evaluation import NO_TEACHING, agent_module, encoding, evaluate, load_agent

    find(id)
    for agent in agents:  # a wrong name, or a file that does not fit, is told before the work begins, not after
        if agent.endswith(".zip") or ":" in agent:
            load_agent(agent, gym.make_vec(id, num_envs=1, **{**encoding(agent), **settings}), options=options)  # type: ignore[arg-type]
        elif agent != NO_TEACHING:
            agent_module(agent)
    steps = gym.make_vec(id, num_envs=1, **settings).unwrapped.steps  # type: ignore[attr-defined]
    results = []
    given = {"retention": retention, "placebo": placebo, "options": options, **settings}
    with progress_bar() as bar:
        total = bar.add_task("all teachers", total=len(agents) * episodes * steps)
        for agent in agents:
            bar.update(total, description=agent)
            results.append(evaluate(id, agent, episodes, progress=lambda n: bar.advance(total, n), **given))
            if agent == NO_TEACHING:
                bar.advance(total, episodes * steps)
        bar.update(total, description="done")
    return results


def _write_json(path: Path | None, content: dict[str, Any]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content) + "\n")
        console.print(f"Results: {path}")


@app.command("list")
def list_() -> None:
    """Show every environment and every teacher that comes with kdgym."""
    from kdgym.evaluation import agent_module, agent_names

    table = Table("environment", "what the teacher does", box=None, header_style="bold")
    for entry in ENVIRONMENTS:
        table.add_row(entry.id, entry.summary)
    console.print(table)
    table = Table("teacher", "its rule", box=None, header_style="bold")
    for name in agent_names():
        table.add_row(name, " ".join((agent_module(name).__doc__ or "").split("\n\n")[0].split()))
    console.print()
    console.print(table)


@app.command()
def train(
    id: EnvId,
    out: Annotated[Path, typer.Option(help="Directory of result, checkpoint and TensorBoard log.")],
    agent: Annotated[
        str, typer.Option(help="A teacher that can be trained: ppo, maskable_ppo, constant, or your file.")
    ] = "ppo",
    steps: Annotated[int, typer.Option(help="Environment steps, over all students.", min=1)] = 100_000,
    seed: Annotated[int, typer.Option(help="Seed of teacher and students.", min=0)] = 0,
    threads: Threads = 0,
) -> None:
    """Train a teacher. A run that was stopped (ctrl-C, kill) goes on from its last checkpoint when called again."""
    from kdgym.evaluation import agent_module

    find(id)
    _set_threads(threads)
    module = agent_module(agent)
    if not hasattr(module, "train"):
        raise ValueError(f"The agent {agent!r} has nothing to train; its module defines no train function.")
    try:
        with progress_bar() as bar:
            task = bar.add_task(agent, total=steps)

            def report(done: int, text: str) -> None:
                bar.update(task, completed=min(done, steps), description=f"{agent}: {text}")

            path = module.train(id, steps, out, seed=seed, report=report)
    except KeyboardInterrupt:
        console.print(f"Stopped. The same command goes on from the last checkpoint in {out}.")
        raise typer.Exit(130) from None
    console.print(f"Trained: {path}")
    console.print(f"Score it: kdgym evaluate {id} --agent {agent}:{path}")
    if (out / "tensorboard").is_dir():
        console.print(f"Curves:   tensorboard --logdir {out / 'tensorboard'}")


@app.command()
def evaluate(
    id: EnvId,
    agent: Annotated[str, typer.Option(help=AGENT_HELP)],
    episodes: Episodes = 64,
    misconceptions: Misconceptions = "0",
    retention: Retention = 0,
    student: Student = None,
    placebo: Placebo = None,
    settings: Settings = None,
    json_file: Json = None,
    device: Device = "cpu",
    threads: Threads = 0,
    base_url: BaseUrl = None,
    model: Model = None,
    transcript: TranscriptFile = None,
    token_budget: TokenBudget = None,
    seconds_budget: SecondsBudget = None,
) -> None:
    """Score one teacher on unseen students, against the control at the same budget."""
    asked = (base_url, model, transcript, token_budget, seconds_budget)
    learns = (misconceptions, retention, student, placebo, settings)
    compare(id, agent, episodes, *learns, None, json_file, device, threads, *asked)


@app.command()
def compare(
    id: EnvId,
    agents: Annotated[
        str | None, typer.Option(help=f"Teachers, separated by commas; all that fit, if left out. {AGENT_HELP}")
    ] = None,
    episodes: Episodes = 64,
    misconceptions: Misconceptions = "0",
    retention: Retention = 0,
    student: Student = None,
    placebo: Placebo = None,
    settings: Settings = None,
    picture: Annotated[Path | None, typer.Option(help="Write a picture there (png, svg or pdf).")] = None,
    json_file: Json = None,
    device: Device = "cpu",
    threads: Threads = 0,
    base_url: BaseUrl = None,
    model: Model = None,
    transcript: TranscriptFile = None,
    token_budget: TokenBudget = None,
    seconds_budget: SecondsBudget = None,
) -> None:
    """Compare teachers: same students, same seeds, same budget; paired differences with 95 % intervals."""
    from kdgym.report import besides_tables, comparison_json, comparison_table, ranked
    from kdgym.students import is_language_model

    _set_threads(threads)
    entry: Entry = find(id)
    if agents is None:
        chosen = [*entry.controls, entry.published, *entry.teachers, *entry.upper_bounds]
    else:
        chosen = [name.strip() for name in agents.split(",") if name.strip()]
    names = list(dict.fromkeys([entry.controls[0], *chosen]))
    learner = {"student": student} if student else {}  # a family has its own, where nobody says
    items = entry.family.startswith("datagen")  # lessons of items have content that can be destroyed
    twins = items and is_language_model(student or "") if placebo is None else placebo
    given = parse_settings(settings, device=device, **learner, **_misconceptions(misconceptions))
    options = _options(
        base_url=base_url,
        model=model,
        transcript=transcript,
        token_budget=token_budget,
        seconds_budget=seconds_budget,
    )
    results = _evaluate(id, names, episodes, retention, twins, options, **given)
    control = results[0]
    for table in (comparison_table(results, control), *besides_tables(results)):
        console.print(table)
    for result in results:
        if result.remarks:
            console.print(f"{result.agent}: " + ", ".join(f"{n} {what}" for what, n in result.remarks.items()) + ".")
    if picture is not None:
        from kdgym.plots import comparison_picture

        comparison_picture(ranked(results), control, picture)
        console.print(f"Picture: {picture}")
    _write_json(json_file, comparison_json(results, control))


@app.command()
def headroom(
    id: EnvId, episodes: Episodes = 64, json_file: Json = None, device: Device = "cpu", threads: Threads = 0
) -> None:
    """Show what there is to win: no teaching, the controls, the published rule, and the upper bounds."""
    from kdgym.evaluation import NO_TEACHING
    from kdgym.report import comparison_json, headroom_table

    _set_threads(threads)
    entry: Entry = find(id)
    roles = {
        NO_TEACHING: "floor",
        **dict.fromkeys(entry.controls, "control"),
        entry.published: "published rule",
        **dict.fromkeys(entry.upper_bounds, "upper bound"),
    }
    results = _evaluate(id, list(roles), episodes, device=device)
    control = next(result for result in results if result.agent == entry.controls[0])
    best = max((result for result in results if result.upper_bound), key=lambda result: result.after.mean())
    console.print(headroom_table(results, control, best, roles))
    _write_json(json_file, comparison_json(results, control))


@app.command()
def interference(
    id: EnvId,
    students: Annotated[int, typer.Option(help="Base students, each a copy a skill.", min=2)] = 64,
    items: Annotated[int, typer.Option(help="Right items of the one skill that a copy practises.", min=1)] = 640,
    picture: Annotated[Path | None, typer.Option(help="Write a picture there (png, svg or pdf).")] = None,
    json_file: Json = None,
    threads: Threads = 0,
) -> None:
    """Show what practising one skill does to every other: transfer and interference, as a matrix."""
    from kdgym.interference import measure_interference
    from kdgym.report import interference_table

    find(id)
    _set_threads(threads)
    with progress_bar() as bar:
        done = bar.add_task("skills practised", total=None)
        result = measure_interference(id, students, items, lambda i, n: bar.update(done, completed=i, total=n))
    console.print(interference_table(result))
    if picture is not None:
        from kdgym.plots import interference_picture

        interference_picture(result, picture)
        console.print(f"Picture: {picture}")
    _write_json(json_file, result.to_json())


@app.command()
def discover(
    id: EnvId,
    encoder: Annotated[str, typer.Option(help="How problems are compared: tfidf or minilm.")] = "tfidf",
    clusters: Annotated[
        int | None, typer.Option(help="How many skills; by their silhouette, if left out.", min=2)
    ] = None,
) -> None:
    """Find an environment's skills without labels, and how well they agree with its own (adjusted Rand index)."""
    from kdgym.report import discovery_table
    from kdgym.tasks import make_task
    from kdgym.tasks.discovery import agreement
    from kdgym.tasks.discovery import discover as find_skills

    task = make_task(find(id).settings["task"])
    with console.status("Reading problems ..."):
        found = find_skills(task, clusters, encoder)  # type: ignore[arg-type]  # checked there
    console.print(discovery_table(found))
    agreed = f"adjusted Rand index {agreement(task, found):.3f}, silhouette {found.silhouette:.3f}"
    console.print(f"{len(found.sizes)} skills found by {encoder}, {len(task.skills)} by label: {agreed}")


@app.command()
def watch(
    id: EnvId,
    agent: Annotated[str | None, typer.Option(help=f"{AGENT_HELP} The published rule, if left out.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the student.", min=0)] = 0,
    picture: Annotated[Path | None, typer.Option(help="Write the finished lesson there (png).")] = None,
) -> None:
    """Watch one lesson live: the student's skill profile, step by step."""
    from kdgym.evaluation import decide, encoding, introduce, load_agent

    entry = find(id)
    name = agent or entry.published
    envs: Any = gym.make_vec(id, num_envs=1, pool="evaluation", autoreset=False, **encoding(name))
    teacher: Any = load_agent(name, envs, seed=seed)
    observation, _ = envs.reset(seed=seed)
    introduce(teacher, envs, observation)
    finished = False
    with Live(envs.panel(0), console=console, refresh_per_second=8) as live:
        while not finished:
            observation, _, terminated, truncated, _ = envs.step(decide(teacher, envs, observation))
            finished = bool((terminated | truncated).all())
            live.update(envs.panel(0))
    if picture is not None:
        from matplotlib.image import imsave

        picture.parent.mkdir(parents=True, exist_ok=True)
        imsave(picture, envs.frame(0))
        console.print(f"Picture: {picture}")


def main() -> None:
    """Run the command; what a user did wrong is said in a sentence, not in a traceback."""
    try:
        app()
    except (ValueError, OSError, ImportError, gym.error.Error) as error:
        Console(stderr=True).print(f"[bold red]Error:[/] {error}", highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
