"""``kdgym compare`` (``evaluate`` is another name for it) and ``headroom``: what teachers are worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kdgym.catalogue import require_fit
from kdgym.console import (
    AGENT_HELP,
    LANGUAGE_MODEL,
    BaseUrl,
    EnvId,
    Json,
    Model,
    Settings,
    Threads,
    console,
    parse_settings,
    progress_bar,
    set_threads,
    write_json,
)
from kdgym.registration import find

Episodes = Annotated[int, typer.Option(help="Student seeds, the same for every teacher.", min=2)]
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
TokenBudget = Annotated[
    float | None,
    typer.Option(help="Tokens after which it is not asked again.", rich_help_panel=LANGUAGE_MODEL),
]
SecondsBudget = Annotated[
    float | None,
    typer.Option(help="Seconds of waiting after which it is not asked again.", rich_help_panel=LANGUAGE_MODEL),
]
TranscriptFile = Annotated[
    Path | None,
    typer.Option("--transcript", help="Append all prompts and answers (JSONL).", rich_help_panel=LANGUAGE_MODEL),
]


def _misconceptions(text: str) -> dict[str, Any]:
    """The setting of that name; nothing for 0, as not every family has it."""
    wanted = int(text) if text.isdecimal() else tuple(name.strip() for name in text.split(",") if name.strip())
    return {"misconceptions": wanted} if wanted else {}


@progress_bar()  # making students may take long as well
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
    import gymnasium as gym

    from kdgym.evaluation import NO_TEACHING, encoding, load_agent
    from kdgym.evaluation import evaluate as let_teach

    find(id)
    for agent in agents:
        require_fit(id, agent)
    students: dict[str, Any] = {}  # one, by how its actions are encoded
    for agent in agents:  # a file or a class that does not fit, or a missing package, is told before the work begins
        chosen = {**encoding(agent), **settings}
        actions = chosen.get("actions", "")
        if actions not in students:
            students[actions] = gym.make_vec(id, num_envs=1, **chosen).unwrapped
        if agent != NO_TEACHING:
            load_agent(agent, students[actions], options=options)
    steps = next(iter(students.values())).steps
    results = []
    given = {"retention": retention, "placebo": placebo, "options": options, **settings}
    with progress_bar() as bar:
        total = bar.add_task("all teachers", total=len(agents) * episodes * steps)
        for agent in agents:
            bar.update(total, description=agent)
            results.append(let_teach(id, agent, episodes, progress=lambda n: bar.advance(total, n), **given))
            if agent == NO_TEACHING:
                bar.advance(total, episodes * steps)
        bar.update(total, description="done")
    return results


def compare(
    id: EnvId,
    agents: Annotated[
        str | None,
        typer.Option(
            "--agents", "--agent", help=f"Teachers, separated by commas; all that fit, if left out. {AGENT_HELP}"
        ),
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
    from kdgym.evaluation.report import comparison_json, comparison_table, extras_tables, ranked
    from kdgym.students import is_language_model

    set_threads(threads)
    entry = find(id)
    if agents is None:
        chosen = [*entry.controls, entry.published, *entry.teachers, *entry.upper_bounds]
    else:
        chosen = [name.strip() for name in agents.split(",") if name.strip()]
    names = list(dict.fromkeys([entry.controls[0], *chosen]))
    learner = {"student": student} if student else {}  # a family has its own, where nobody says
    twins = entry.placebo and is_language_model(student or "") if placebo is None else placebo
    given = parse_settings(settings, device=device, **learner, **_misconceptions(misconceptions))
    asking: dict[str, Any] = {"base_url": base_url, "model": model, "transcript": transcript}
    asking |= {"token_budget": token_budget, "seconds_budget": seconds_budget}
    options = {name: value for name, value in asking.items() if value is not None}
    results = _evaluate(id, names, episodes, retention, twins, options, **given)
    control = results[0]
    for table in (comparison_table(results, control), *extras_tables(results)):
        console.print(table)
    for result in results:
        if result.remarks:
            console.print(f"{result.agent}: " + ", ".join(f"{n} {what}" for what, n in result.remarks.items()) + ".")
    if picture is not None:
        from kdgym.evaluation.plots import comparison_picture

        comparison_picture(ranked(results), control, picture)
        console.print(f"Picture: {picture}")
    write_json(json_file, comparison_json(results, control))


def headroom(
    id: EnvId, episodes: Episodes = 64, json_file: Json = None, device: Device = "cpu", threads: Threads = 0
) -> None:
    """Show how much a good teacher can gain: no teaching, the controls, the published rule, and the upper bounds."""
    from kdgym.evaluation import NO_TEACHING
    from kdgym.evaluation.report import comparison_json, headroom_table

    set_threads(threads)
    entry = find(id)
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
    write_json(json_file, comparison_json(results, control))
