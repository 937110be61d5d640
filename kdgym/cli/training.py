"""``kdgym train``."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import typer

from kdgym.catalogue import require_fit
from kdgym.console import EnvId, Hyper, Settings, Threads, console, parse_settings, progress_bar, set_threads
from kdgym.registration import find


def train(
    id: EnvId,
    out: Annotated[Path, typer.Option(help="Directory of result, checkpoint and TensorBoard log.")],
    agent: Annotated[
        str, typer.Option(help="A teacher that can be trained: ppo, maskable_ppo, learned, constant, or your file.")
    ] = "ppo",
    steps: Annotated[int, typer.Option(help="Environment steps, over all students.", min=1)] = 100_000,
    seed: Annotated[int, typer.Option(help="Seed of teacher and students.", min=0)] = 0,
    settings: Settings = None,
    hyper: Hyper = None,
    device: Annotated[str | None, typer.Option(help="Torch device of students and policy: cpu, cuda, ...")] = None,
    threads: Threads = 0,
) -> None:
    """Train a teacher. A run that was stopped (ctrl-C, kill) goes on from its last checkpoint when called again."""
    from kdgym.evaluation import agent_class, agent_module

    find(id)
    require_fit(id, f"{agent}:{out}")
    set_threads(threads)
    learn = getattr(agent_class(agent), "train", None) or getattr(agent_module(agent), "train", None)
    if learn is None:
        raise ValueError(f"The agent {agent!r} has nothing to train; neither its class nor its module defines train.")
    given = parse_settings(settings, **({"device": device} if device else {}))
    taken = inspect.signature(learn).parameters
    if hyper and "hyper" not in taken:
        raise ValueError(f"The teacher {agent} has no hyper-parameters to choose; leave --hyper out.")
    if given and "settings" not in taken:
        raise ValueError(f"The teacher {agent} trains on the environment as it is; leave --set and --device out.")
    options = {"settings": given} if given else {}
    if hyper:
        options["hyper"] = parse_settings(hyper, "--hyper")
    try:
        with progress_bar() as bar:
            task = bar.add_task(agent, total=steps)

            def report(done: int, text: str) -> None:
                bar.update(task, completed=min(done, steps), description=f"{agent}: {text}")

            path = learn(id, steps, out, seed=seed, report=report, **options)
    except KeyboardInterrupt:
        console.print(f"Stopped. The same command goes on from the last checkpoint in {out}.")
        raise typer.Exit(130) from None
    console.print(f"Trained: {path}")
    same = "".join(f" --set {pair}" for pair in settings or ())
    console.print(f"Score it: kdgym evaluate {id} --agent {agent}:{path}{same}")
    if (out / "tensorboard").is_dir():
        console.print(f"Curves:   tensorboard --logdir {out / 'tensorboard'}")
