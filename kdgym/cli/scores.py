"""``kdgym compare`` (``evaluate`` is another name for it) and ``headroom``: what teachers are worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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

if TYPE_CHECKING:
    from kdgym.evaluation import Comparison

Episodes = Annotated[int, typer.Option(help="Number of students; every teacher gets the same ones.", min=2)]
Device = Annotated[str, typer.Option(help="Torch device of the students: cpu, cuda, ...")]
Misconceptions = Annotated[
    str, typer.Option(metavar="N|NAMES", help="Wrong rules that students begin with: how many, or names, by commas.")
]
Retention = Annotated[int, typer.Option(metavar="ITEMS", help="Unrelated training, then a test of retention.", min=0)]
Student = Annotated[
    str | None,
    typer.Option(
        help="The student: hf: and a directory, a prepared model or a hub id. A tiny transformer, if left out."
    ),
]
Placebo = Annotated[
    bool | None,
    typer.Option(help="Also teach twins whose items have no content. On by default for language models."),
]
TokenBudget = Annotated[
    float | None, typer.Option(help="Tokens after which it is not asked again.", rich_help_panel=LANGUAGE_MODEL)
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


def _estimate(id: str, agent: str, episodes: int, asking: dict[str, Any], **given: Any) -> None:
    """Print what a language model will be asked: two students are taught without asking it, and the counts scaled up."""
    import warnings

    from kdgym.evaluation import evaluate
    from kdgym.evaluation.agents import attribute

    if "base_url" not in (attribute(agent, "options") or ()):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that there was no answer
        found = evaluate(id, agent, 2, options={"model": asking["model"], "base_url": "tally"}, **given)
    questions, tokens = found.remarks["questions"] / 2 * episodes, found.cost["teacher"]["tokens"].mean() * episodes
    console.print(
        f"{agent}: about {questions:,.0f} questions with {tokens:,.0f} tokens, answers not counted.", highlight=False
    )


def _compare(id: str, agents: list[str], episodes: int, **given: Any) -> Comparison:
    """`kdgym.compare` with a progress bar."""
    from kdgym.evaluation import compare

    with progress_bar() as bar:
        task = bar.add_task("all teachers", total=None)

        def advance(agent: str, done: int, total: int) -> None:
            bar.update(task, description=agent, completed=done, total=total)

        return compare(id, agents, episodes, progress=advance, **given)


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
    """Compare teachers on the same students, seeds and budget: paired differences with 95 % intervals."""
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
    if {"base_url", "model"} <= options.keys() and not (is_language_model(student or "") or entry.needs_model):
        for name in names:
            _estimate(id, name, episodes, options, **given)
    found = _compare(id, names, episodes, retention=retention, placebo=twins, options=options, **given)
    for part in found.report():
        console.print(part)
    if picture is not None:
        found.plot(picture)
        console.print(f"Picture: {picture}")
    write_json(json_file, found.to_json())


def headroom(
    id: Annotated[str | None, typer.Argument(help="Environment id, see kdgym list.", show_default=False)] = None,
    episodes: Annotated[int, typer.Option(help="Number of students; every teacher gets the same ones.", min=4)] = 64,
    agents: Annotated[
        str, typer.Option("--agents", "--agent", help="Further teachers, by commas: NAME:FILE of trained ones.")
    ] = "",
    from_records: Annotated[
        bool, typer.Option("--from-records", help="Read the board's records; measure nothing.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Of all boards with records; writes the table of --page.")
    ] = False,
    boards: Annotated[Path, typer.Option(help="Folder of the leaderboards.")] = Path("leaderboards"),
    page: Annotated[Path, typer.Option(help="Page that --all writes, and a JSON file beside it.")] = Path(
        "docs/room.md"
    ),
    json_file: Json = None,
    device: Device = "cpu",
    threads: Threads = 0,
) -> None:
    """Show how much a good teacher can gain: untaught, best control, constant, rule and learned teacher, upper bound.

    The best of a kind is chosen on one half of the students and scored on the other half, and the other way round.
    """
    from kdgym.evaluation.headroom import room, teachers_of
    from kdgym.evaluation.report import room_remarks, room_table

    if (id is None) != everything:
        raise ValueError("Give the id of one environment, or --all for all that have records.")
    if from_records or everything:
        from kdgym.leaderboard.room import rooms_of, write_page

        found = rooms_of(boards, [id] if id else [])
    else:
        set_threads(threads)
        extra = [name.strip() for name in agents.split(",") if name.strip()]
        kinds = teachers_of(find(id or ""), extra)
        scores = {result.agent: result.after for result in _compare(id or "", list(kinds), episodes, device=device)}
        found = [room(id or "", "measured now", scores, kinds)]
    for each in found:
        console.print(room_table(each))
        for line in room_remarks(each):
            console.print(line)
    if everything:
        write_page(found, page)
        console.print(f"Page: {page}")
    write_json(json_file, found[0].to_json() if id else {"environments": [each.to_json() for each in found]})
