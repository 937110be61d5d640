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
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from kdgym.llm.commands import app as models
from kdgym.registration import ENVIRONMENTS, Entry, find
from kdgym.wrappers.cli import app as snapshots

app = typer.Typer(
    no_args_is_help=True, add_completion=False, rich_markup_mode="markdown", help="A gym for teacher agents."
)
app.add_typer(snapshots, name="snapshots")
app.add_typer(models, name="models")
console = Console()

EnvId = Annotated[str, typer.Argument(metavar="ID", help="Environment id, for example kdgym/DataGen-Math-v0.")]
Episodes = Annotated[int, typer.Option(help="Student seeds, the same for every teacher.", min=2)]
Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all results there, per seed.")]
Device = Annotated[str, typer.Option(help="Torch device of the students: cpu, cuda, ...")]
Threads = Annotated[int, typer.Option(help="Torch threads; 0 leaves torch's choice.", min=0)]
BaseUrl = Annotated[
    str | None,
    typer.Option(help="Where a teacher's language model is: an endpoint (.../v1), or transformers or vllm in process."),
]
Model = Annotated[str | None, typer.Option(help="Name of the language model there.")]
TokenBudget = Annotated[float | None, typer.Option(help="Tokens after which the language model is not asked again.")]
SecondsBudget = Annotated[float | None, typer.Option(help="Waiting time after which it is not asked again.")]
TranscriptFile = Annotated[Path | None, typer.Option("--transcript", help="Append all prompts and answers (JSONL).")]
AGENT_HELP = "A name (see kdgym list), a file like mine.py, NAME:FILE for a trained one, or an SB3 zip."


def _bar() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console)


def _set_threads(threads: int) -> None:
    if threads:
        torch.set_num_threads(threads)


def _options(**given: Any) -> dict[str, Any]:
    """What was given of the options of teachers."""
    return {name: value for name, value in given.items() if value is not None}


def _evaluate(
    id: str, agents: list[str], episodes: int, device: str, options: dict[str, Any] | None = None
) -> list[Any]:
    """Evaluate every agent on the same students, with a progress bar."""
    from kdgym.evaluation import NO_TEACHING, agent_module, evaluate

    find(id)
    for agent in agents:
        if agent != NO_TEACHING and not agent.endswith(".zip"):
            agent_module(agent.partition(":")[0])  # a wrong name is told before the work begins, not after
    steps = gym.make_vec(id, num_envs=1).unwrapped.steps  # type: ignore[attr-defined]
    results = []
    with _bar() as bar:
        total = bar.add_task("all teachers", total=len(agents) * episodes * steps)
        for agent in agents:
            bar.update(total, description=agent)
            done = evaluate(
                id, agent, episodes, progress=lambda n: bar.advance(total, n), options=options, device=device
            )
            results.append(done)
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
    agent: Annotated[str, typer.Option(help="A teacher that can be trained: ppo, constant, or your file.")] = "ppo",
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
        with _bar() as bar:
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
    compare(id, agent, episodes, None, json_file, device, threads, *asked)


@app.command()
def compare(
    id: EnvId,
    agents: Annotated[
        str | None, typer.Option(help=f"Teachers, separated by commas; all that fit, if left out. {AGENT_HELP}")
    ] = None,
    episodes: Episodes = 64,
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
    from kdgym.report import comparison_json, comparison_table, ranked

    _set_threads(threads)
    entry: Entry = find(id)
    if agents is None:
        chosen = [*entry.controls, entry.published, *entry.teachers, *entry.upper_bounds]
    else:
        chosen = [name.strip() for name in agents.split(",") if name.strip()]
    names = list(dict.fromkeys([entry.controls[0], *chosen]))
    options = _options(
        base_url=base_url,
        model=model,
        transcript=transcript,
        token_budget=token_budget,
        seconds_budget=seconds_budget,
    )
    results = _evaluate(id, names, episodes, device, options)
    control = results[0]
    console.print(comparison_table(results, control))
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
    results = _evaluate(id, list(roles), episodes, device)
    control = next(result for result in results if result.agent == entry.controls[0])
    best = max((result for result in results if result.upper_bound), key=lambda result: result.after.mean())
    console.print(headroom_table(results, control, best, roles))
    _write_json(json_file, comparison_json(results, control))


@app.command()
def watch(
    id: EnvId,
    agent: Annotated[str, typer.Option(help=AGENT_HELP)] = "adaptive_source",
    seed: Annotated[int, typer.Option(help="Seed of the student.", min=0)] = 0,
    picture: Annotated[Path | None, typer.Option(help="Write the finished lesson there (png).")] = None,
) -> None:
    """Watch one lesson live: the student's skill profile, step by step."""
    from kdgym.core.lesson import lesson_panel
    from kdgym.evaluation import decide, introduce, load_agent

    find(id)
    envs: Any = gym.make_vec(id, num_envs=1, pool="evaluation", autoreset=False)
    teacher: Any = load_agent(agent, envs, seed=seed)
    observation, _ = envs.reset(seed=seed)
    introduce(teacher, envs, observation)
    finished = False
    with Live(lesson_panel(envs.lesson(0)), console=console, refresh_per_second=8) as live:
        while not finished:
            observation, _, terminated, truncated, _ = envs.step(decide(teacher, envs, observation))
            finished = bool((terminated | truncated).all())
            live.update(lesson_panel(envs.lesson(0)))
    if picture is not None:
        from matplotlib.image import imsave

        picture.parent.mkdir(parents=True, exist_ok=True)
        imsave(picture, envs.frame(0))
        console.print(f"Picture: {picture}")


def main() -> None:
    """Run the command; what a user did wrong is said in a sentence, not in a traceback."""
    try:
        app()
    except (ValueError, OSError, gym.error.Error) as error:
        Console(stderr=True).print(f"[bold red]Error:[/] {error}", highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()
