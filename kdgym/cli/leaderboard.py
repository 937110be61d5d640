"""``kdgym submit``, ``kdgym verify`` and the ``kdgym leaderboard`` commands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdgym.catalogue import require_fit
from kdgym.console import (
    BaseUrl,
    EnvId,
    Model,
    Settings,
    console,
    counter,
    parse_settings,
    progress_bar,
    set_threads,
)
from kdgym.registration import ENVIRONMENTS, find

if TYPE_CHECKING:
    from kdgym.leaderboard.badges import Finding, Logged
    from kdgym.leaderboard.record import Record


def submit(
    agent: Annotated[
        str, typer.Argument(help="A name, a file like mine.py, NAME:FILE for a trained one, or an SB3 zip.")
    ],
    env: Annotated[str, typer.Option(help="The board: an environment id.")],
    name: Annotated[str, typer.Option(help="Name of the teacher on the board.")],
    authors: Annotated[str, typer.Option(help="Names of the authors, separated by commas.")],
    kind: Annotated[str, typer.Option(help="Kind of teacher: rule, rl, learned, llm or human.")] = "rule",
    base_url: BaseUrl = None,
    model: Model = None,
    attempts: Annotated[int, typer.Option(help="Number of your attempts on these students, with this one.", min=1)] = 1,
    training: Annotated[str, typer.Option(help="How the teacher was made: steps, tokens, money, seeds.")] = "",
    boards: Annotated[Path, typer.Option(help="Folder of the leaderboards.")] = Path("leaderboards"),
) -> None:
    """Let an agent teach a board's students, and write its actions and their scores into one small file."""
    find(env)
    require_fit(env, agent)  # before anything is imported that takes seconds
    from kdgym.leaderboard.board import where_boards_are
    from kdgym.leaderboard.record import Disclosures, checked
    from kdgym.leaderboard.submit import make_record

    set_threads(1)  # records are made and replayed by one thread, so that sums have one order
    if kind not in ("rule", "rl", "learned", "llm", "human"):
        raise ValueError(
            f"kind is {kind!r}; give rule, rl (trained by reward), learned (by other means), llm or human."
        )
    with progress_bar() as bar:
        record = make_record(
            env, agent, name, [author.strip() for author in authors.split(",")], kind=kind,  # type: ignore[arg-type]
            model=model, options={"base_url": base_url, "model": model} if base_url else None,
            disclosures=checked(Disclosures, attempts=attempts, training=training),
            progress=counter(bar, name),
        )  # fmt: skip
    path = boards / env / record.file_name()
    record.save(path)
    mean = sum(record.outcome.after) / len(record.outcome.after)
    console.print(f"{mean:.3f} on average, {path.stat().st_size / 1024:.0f} KiB: {path}", soft_wrap=True)
    console.print(f"Verify it:  kdgym verify {path}", soft_wrap=True)
    if any(other != path for other in path.parent.glob("*.json")):
        given = "" if boards == _FOLDER else f" --boards {boards}"
        console.print(f"Its row:    kdgym leaderboard build --ids {env}{given}", soft_wrap=True)
    else:
        console.print(f"{path.parent} has no other records to compare it with. {where_boards_are(env)}", soft_wrap=True)
    console.print(
        "Publish it: a pull request that adds this file, and no other, to kdgym's repository.", soft_wrap=True
    )


def verify(
    file: Annotated[Path, typer.Argument(help="A submission.")],
    level: Annotated[
        int,
        typer.Option(
            help="0: the file is sound; 1: its actions replay; 2: the agent itself teaches new students.", min=0, max=2
        ),
    ] = 1,
    students: Annotated[
        int | None,
        typer.Option(
            help="Number of students: if left out, 8 are replayed (all of them on another kind of machine), and up to 32 new "
            "ones are taught.",
            min=1,
        ),
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Level 2: the file that a trained agent needs.")] = None,
    exact: Annotated[bool, typer.Option(help="Level 1: equal bits also on another kind of machine.")] = False,
    base_url: Annotated[
        str | None, typer.Option(help="Level 2: where the model of a language model's teacher is, http://.../v1.")
    ] = None,
    sign: Annotated[
        bool, typer.Option(help="Sign what is found (KDGYM_VERIFIER_KEY): in the file, and in its boards' log.")
    ] = False,
) -> None:
    """Check a submission, level by level. Exit code 1 if a check fails, and 2 if it is undecided."""
    from kdgym.leaderboard.record import load_record
    from kdgym.leaderboard.rerun import rerun
    from kdgym.leaderboard.verify import check, replay

    set_threads(1)
    record = load_record(file)
    levels: list[_Level] = [
        lambda record, _: check(record),
        lambda record, progress: replay(record, students or 8, progress, exact),
        lambda record, progress: rerun(record, students, weights, progress=progress, base_url=base_url),
    ]
    for number, find_out in enumerate(levels[: level + 1]):
        record, passed = _verify_level(file, record, number, find_out, sign)
        _stop_unless(passed)


def _stop_unless(passed: bool | None) -> None:
    """End the command where a level failed (1) or is undecided (2)."""
    if not passed:
        raise typer.Exit(2 if passed is None else 1)


_Level = Callable[["Record", Callable[[int, int], None]], "Finding"]


def _verify_level(path: Path, record: Record, level: int, find_out: _Level, sign: bool) -> tuple[Record, bool | None]:
    """Say what a level finds; where it is to be signed, write it into file and log. The record then, and whether it passed."""
    from kdgym.leaderboard.badges import append, award, badge_text, boards_of

    try:
        with progress_bar() as bar:
            finding = find_out(record, counter(bar, f"{path.name}, level {level}"))
    except RuntimeError as error:  # there is no sandbox, or this agent cannot be run again
        raise ValueError(f"{path.name}, level {level}: {error}") from error
    console.print(badge_text(path, level, finding), soft_wrap=True, markup=False, highlight=False)
    if sign and finding.passed is not None:
        record = award(record, level, finding)
        record.save(path)
        if (boards := boards_of(path)) is not None:
            append(boards, path, record, record.badges[-1])
    return record, finding.passed


def teach(
    id: EnvId,
    name: Annotated[str, typer.Option(help="Name of the teacher on the board.")] = "a person",
    authors: Annotated[str, typer.Option(help="Names of the authors, separated by commas.")] = "anonymous",
    students: Annotated[int, typer.Option(help="Number of students you teach, the first of the board.", min=2)] = 2,
    settings: Settings = None,
    boards: Annotated[
        Path | None, typer.Option(help="Folder of the leaderboards: write a record there.", show_default=False)
    ] = None,
) -> None:
    """Be the teacher yourself: see the students, decide, and keep a record like that of any teacher."""
    from kdgym.leaderboard.human_teacher import HumanTeacher
    from kdgym.leaderboard.names import require_free
    from kdgym.leaderboard.record import AgentCard, checked
    from kdgym.leaderboard.submit import board_seeds, open_board, record_lessons

    set_threads(1)
    find(id)
    given = parse_settings(settings)
    if given and boards is not None:
        raise ValueError("A record is of the board's own settings; leave --set out, or --boards.")
    envs, seeds = open_board(id, students, given), board_seeds(id)[:students]
    who = [author.strip() for author in authors.split(",")]
    card = checked(AgentCard, name=name, authors=who, kind="human", source=None, sha256=None)
    require_free(card)
    record = record_lessons(id, envs, HumanTeacher(envs, console), card, seeds)
    before, after = (sum(scores) / students for scores in (record.outcome.before, record.outcome.after))
    console.print(f"Test score {before:.3f} → {after:.3f} ({after - before:+.3f})", highlight=False)
    if boards is not None:
        path = boards / id / record.file_name()
        record.save(path)
        console.print(f"Your record: {path}", soft_wrap=True)


export = typer.Typer(no_args_is_help=True, help="Export episodes as data sets.")


@export.command("minari")
def export_minari(
    files: Annotated[list[Path], typer.Argument(help="Records of one board.")],
    dataset: Annotated[str, typer.Option(help="Name of the data set, such as kdgym/datagen-math/all-v0.")],
) -> None:
    """Make a Minari data set from records: observations, actions and rewards. The actions are replayed."""
    from kdgym.integrations.minari import export_minari as write
    from kdgym.leaderboard.record import load_record

    set_threads(1)
    records = [load_record(path) for path in files]
    with progress_bar() as bar:
        total = sum(record.trace.steps * record.trace.students for record in records if record.trace)
        task = bar.add_task("replaying", total=total)
        made = write(records, dataset, lambda done: bar.advance(task, done))
    console.print(
        f"{made.total_episodes} lessons, {made.total_steps} steps: minari.load_dataset({made.id!r})", markup=False
    )


app = typer.Typer(no_args_is_help=True, help="Fill, build and check the leaderboards.")
_Boards = Annotated[Path, typer.Option(help="Folder of the leaderboards.")]
_FOLDER = Path("leaderboards")
_Ids = Annotated[str, typer.Option(help="Boards, by commas; all, if left out.")]


def _split(ids: str) -> list[str]:
    """Ids given by commas, each of which there is."""
    return [find(name.strip()).id for name in ids.split(",") if name.strip()]


@app.command()
def fill(
    ids: Annotated[str, typer.Option(help="Boards, by commas; all that need no language model, if left out.")] = "",
    level: Annotated[
        int | None,
        typer.Option(help="Also verify all of them up to this level, and sign (KDGYM_VERIFIER_KEY).", min=0, max=2),
    ] = None,
    boards: _Boards = _FOLDER,
) -> None:
    """Make the missing records of packaged agents. Safe to stop and to call again."""
    from kdgym.leaderboard.board import standing
    from kdgym.leaderboard.record import file_name, load_record
    from kdgym.leaderboard.rerun import rerun
    from kdgym.leaderboard.submit import make_record
    from kdgym.leaderboard.verify import check, replay

    set_threads(1)
    levels: tuple[_Level, ...] = (
        lambda record, _: check(record),
        lambda record, progress: replay(record, progress=progress),
        lambda record, progress: rerun(record, progress=progress),
    )
    chosen = _split(ids) or [entry.id for entry in ENVIRONMENTS if not entry.needs_model]
    wanted = [(env_id, name, kind) for env_id in chosen for name, kind in standing(env_id)]
    wanted.sort(key=lambda record: record[2] == "oracle")  # they try things out on copies, which may take hours
    with progress_bar() as bar:
        task = bar.add_task("", total=len(wanted))
        for env_id, name, kind in wanted:
            bar.update(task, description=f"{env_id}: {name}")
            path = boards / env_id / file_name(name, ["kdgym"])
            if not path.exists():
                with progress_bar() as inner:
                    record = make_record(
                        env_id, name, name, ["kdgym"], kind=kind, progress=counter(inner, "students' steps")
                    )
                record.save(path)
            if level is not None:
                record = load_record(path)
                missing = set(range(level + 1)) - {badge.level for badge in record.badges}
                for number in sorted(missing):  # each is saved at once, those that fail as well
                    record, _ = _verify_level(path, record, number, levels[number], sign=True)
            bar.advance(task)


@app.command()
def build(ids: _Ids = "", boards: _Boards = _FOLDER) -> None:
    """Write the page of the boards, and the cards of new ones."""
    from kdgym.leaderboard.board import build as write
    from kdgym.leaderboard.card import freeze

    built = write(boards, _split(ids))
    freeze(boards, built)
    for env_id in built:
        console.print(env_id)
    console.print(f"Page: {boards / 'README.md'}", soft_wrap=True)


@app.command()
def site(ids: _Ids = "", boards: _Boards = _FOLDER) -> None:
    """Write the boards as a site, to open in a browser; it needs no server."""
    from kdgym.leaderboard.site import build_site

    with progress_bar() as bar:
        page = build_site(boards, _split(ids), counter(bar, "pages"))
    console.print(f"Site: {page}", soft_wrap=True)


@app.command()
def review(
    base: Annotated[str, typer.Argument(help="The branch that a pull request is for, such as origin/main.")],
    head: Annotated[str, typer.Argument(help="The branch that is submitted.")] = "HEAD",
) -> None:
    """Verify the one record that a pull request adds, up to level 2 where that can be done. Exit code 1 if it fails."""
    from kdgym.leaderboard.pull_request import submitted_record
    from kdgym.leaderboard.rerun import rerun
    from kdgym.leaderboard.verify import check, replay

    set_threads(1)
    record = submitted_record(Path(), base, head)
    levels: tuple[_Level, ...] = (
        lambda record, _: check(record),
        lambda record, progress: replay(record, len(record.outcome.seeds), progress),
        lambda record, progress: rerun(record, progress=progress),
    )
    for number, find_out in enumerate(levels):
        try:
            _, passed = _verify_level(Path(record.file_name()), record, number, find_out, sign=False)
        except ValueError as error:
            if number < 2 or not isinstance(error.__cause__, RuntimeError):
                raise
            console.print(f"{error}. Level 2 is left out.", soft_wrap=True, markup=False, highlight=False)
            continue
        _stop_unless(passed)


@app.command()
def drift(ids: _Ids = "", boards: _Boards = _FOLDER) -> None:
    """Measure how far replays here are from records made on other kinds of machine; level 1 allows as much, and no more."""
    import numpy as np

    from kdgym.leaderboard.drift import write_drift
    from kdgym.leaderboard.record import load_record
    from kdgym.leaderboard.submit import processor
    from kdgym.leaderboard.verify import drift_of

    set_threads(1)
    everywhere = [folder.relative_to(boards).as_posix() for folder in sorted(boards.glob("*/*-v*"))]
    for env_id in _split(ids) or everywhere:
        records, replays = [load_record(path) for path in sorted((boards / env_id).glob("*.json"))], []
        for record in records:
            with progress_bar() as bar:
                replays.append(drift_of(record, counter(bar, f"{env_id}: {record.agent.name}")))
        control = find(env_id).controls[0]
        scores = {record.agent.name: np.array(record.outcome.after) for record in records}
        gains = [gained - scores[control][: len(gained)] for name, gained in scores.items() if name != control]
        write_drift(env_id, processor(), replays, gains)
        console.print(env_id)


@app.command()
def log(boards: _Boards = _FOLDER) -> None:
    """Enter badges of known verifiers into the boards' log that are not in it, and sign these lines (KDGYM_VERIFIER_KEY)."""
    from kdgym.leaderboard.badges import LOG, enter, known_verifiers, read_log, unlogged
    from kdgym.leaderboard.record import load_record

    known, entered = known_verifiers(boards), read_log(boards)
    missing = []
    for path in sorted(boards.glob("*/*-v*/*.json")):
        record = load_record(path)
        missing += [(path, record, badge) for badge in unlogged(path.name, record, entered, known)]
    if missing:
        enter(boards, missing)
    console.print(f"{len(missing)} findings entered: {boards / LOG}", soft_wrap=True, markup=False, highlight=False)


@app.command("check")
def check_all(boards: _Boards = _FOLDER) -> None:
    """Check every record and the log, and whether page and cards are up to date. Exit code 1 if a check fails."""
    from kdgym.leaderboard.badges import known_verifiers, read_log
    from kdgym.leaderboard.board import copies
    from kdgym.untrusted import printable

    known, paths = known_verifiers(boards), sorted(boards.glob("*/*-v*/*.json"))
    problems: list[str] = []
    sound: dict[str, dict[str, Record]] = defaultdict(dict)
    try:
        entered = read_log(boards)
    except ValueError as error:
        entered, problems = [], [str(error)]
    with progress_bar() as bar:
        advance = counter(bar, "records")
        for path in paths:
            advance(1, len(paths))
            record, found = _problems(boards, path, entered, known)
            problems += found
            if record is not None:
                sound[record.env_id][path.name] = record
    problems += [f"{env_id}: {copy}" for env_id, records in sound.items() for copy in copies(records)]
    try:
        problems += _stale(boards)
    except ValueError as error:
        if not paths:  # there are no boards here at all
            raise
        problems.append(str(error))
    for problem in problems or ["All records are sound, and the page is up to date."]:
        console.print(printable(problem, 1000), soft_wrap=True, markup=False, highlight=False)
    if problems:
        raise typer.Exit(1)


def _problems(
    boards: Path, path: Path, entered: Sequence[Logged], known: Collection[str]
) -> tuple[Record | None, list[str]]:
    """The record of a file, if it can be read, and what is wrong with it, each in a sentence that begins with its place."""
    from kdgym.leaderboard.badges import badge_text, differences
    from kdgym.leaderboard.record import load_record
    from kdgym.leaderboard.verify import check

    place = path.relative_to(boards)
    try:
        record = load_record(path)
        finding = check(record)
    except (ValueError, RecursionError) as error:
        return None, [f"{place}: {error}"]
    problems = [
        f"{place}: badge {number} is by a verifier who is not in verifiers.json"
        for number, badge in enumerate(record.badges, 1)
        if badge.verifier not in known
    ]
    if place != Path(record.env_id, record.file_name()):
        problems.append(f"{place} is a record of {record.env_id} and belongs into {record.file_name()}")
    problems += [] if finding.passed else [badge_text(path, 0, finding)]
    return record, problems + [f"{place}: {problem}" for problem in differences(path.name, record, entered, known)]


def _stale(boards: Path) -> list[str]:
    """Pages and cards that are not those of the records."""
    import tempfile

    from kdgym.leaderboard.board import build as write
    from kdgym.leaderboard.card import changed_cards

    problems = []
    with tempfile.TemporaryDirectory() as fresh, progress_bar() as bar:
        advance, ids = counter(bar, "boards"), write(boards, out=Path(fresh))
        for env_id in ids:
            advance(1, len(ids))
            problems += changed_cards(boards, [env_id])
        for page in ("README.md", "schema.json"):
            if not (boards / page).is_file() or (Path(fresh) / page).read_bytes() != (boards / page).read_bytes():
                problems.append(f"The page {page} is not that of the records; run: kdgym leaderboard build")
    return problems
