"""``kdgym train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kdgym.catalogue import require_fit
from kdgym.console import EnvId, Threads, console, progress_bar, set_threads
from kdgym.registration import find


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
    from kdgym.evaluation import agent_class, agent_module

    find(id)
    require_fit(id, f"{agent}:{out}")
    set_threads(threads)
    learn = getattr(agent_class(agent), "train", None) or getattr(agent_module(agent), "train", None)
    if learn is None:
        raise ValueError(f"The agent {agent!r} has nothing to train; neither its class nor its module defines train.")
    try:
        with progress_bar() as bar:
            task = bar.add_task(agent, total=steps)

            def report(done: int, text: str) -> None:
                bar.update(task, completed=min(done, steps), description=f"{agent}: {text}")

            path = learn(id, steps, out, seed=seed, report=report)
    except KeyboardInterrupt:
        console.print(f"Stopped. The same command goes on from the last checkpoint in {out}.")
        raise typer.Exit(130) from None
    console.print(f"Trained: {path}")
    console.print(f"Score it: kdgym evaluate {id} --agent {agent}:{path}")
    if (out / "tensorboard").is_dir():
        console.print(f"Curves:   tensorboard --logdir {out / 'tensorboard'}")
