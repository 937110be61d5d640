"""A submission: one small JSON file with what was done, what came of it, and who has checked it."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from kdgym.core.ledger import ACTORS, UNITS
from kdgym.leaderboard.trace import LONGEST, Trace
from kdgym.registration import ID_PATTERN, find
from kdgym.storage import write_atomically
from kdgym.untrusted import printable

LARGEST = 8 * 1024**2  # bytes of a file
_MOST_KEYS = 50  # of one JSON object; a record's have 19 at most
LEVELS = ("checked", "replayed", "re-run", "reproduced")
_NAME = r"[A-Za-z0-9À-ɏ][A-Za-z0-9À-ɏ ._+@'()-]*"
_ROUNDING = 1e-6  # scores are sums of 32-bit shares: 1.00000003 has been seen


def _is_name(name: str) -> str:
    """Names are shown in terminals and on pages: no control characters, no invisible or direction-changing ones."""
    if not re.fullmatch(_NAME, name):
        raise ValueError(
            f"the name is {name!r}; give Latin letters, digits, blanks and ._+@'()-, and a letter or digit first"
        )
    if unicodedata.normalize("NFKC", name) != name:
        raise ValueError(
            f"the name {name!r} is not in Unicode's form NFKC; give {unicodedata.normalize('NFKC', name)!r}"
        )
    return name


def _is_a_day(day: str) -> str:
    if not 2025 <= date.fromisoformat(day).year <= 2100:
        raise ValueError(f"the day is {day}; it lies in the years 2025 to 2100")
    return day


_Name = Annotated[
    str, Field(min_length=1, max_length=60, json_schema_extra={"pattern": f"^{_NAME}$"}), AfterValidator(_is_name)
]
_ModelName = Annotated[str, Field(max_length=120, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+@:/()-]*$")]
_Text = Annotated[str, Field(max_length=2000)]
_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Day = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), AfterValidator(_is_a_day)]
# The first wrong value ends the reading of a list: a file of millions would take gigabytes to be reported in full.
_Students = Field(min_length=1, max_length=10_000, fail_fast=True)
_Scores = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], _Students]
_Amounts = Annotated[list[Annotated[float, Field(ge=0, le=1e30, allow_inf_nan=False)]], _Students]
_Skills = Field(max_length=10_000, fail_fast=True)
_Counts = Annotated[list[Annotated[list[Annotated[int, Field(ge=0, le=10**9)]], _Skills]], _Students]
_Points = Field(min_length=1, max_length=LONGEST + 1, fail_fast=True)
_Curve = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], _Points]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


_Part = TypeVar("_Part", bound=_Model)


Kind = Literal["rule", "rl", "learned", "llm", "human", "control", "published", "oracle"]


class AgentCard(_Model):
    """Who taught.

    Attributes:
        name, authors: as shown.
        kind: ``rule``, ``rl`` (trained by reward), ``learned`` (trained by other means, such as imitation), ``llm``, ``human``,
            or what stands on every board: ``control``, ``published`` (the rule of the system that the environment is after)
            and ``oracle`` (an upper bound).
        source: the code, one Python file; None of a person and of who does not teach.
        sha256: of the source, or None.
        weights: sha256 of the file of a trained one, which a re-run has to be given.
        model: the language model's name at its endpoint, or None; provider and date belong into the disclosures.
        settings: of the environment, where the agent asks for one.
    """

    name: _Name
    authors: Annotated[list[_Name], Field(min_length=1, max_length=20)]
    kind: Kind
    source: Annotated[str, Field(max_length=200_000)] | None
    sha256: _Hash | None
    weights: _Hash | None = None
    model: _ModelName | None = None
    settings: dict[str, str] = {}

    @field_validator("settings")
    @classmethod
    def _only_encodings(cls, settings: dict[str, str]) -> dict[str, str]:
        if settings and settings not in ({"actions": "box"}, {"actions": "discrete"}):
            raise ValueError("an agent may choose the encoding of its actions and nothing else of the environment")
        return settings

    @model_validator(mode="after")
    def _hash_fits(self) -> AgentCard:
        if self.sha256 != (None if self.source is None else hashlib.sha256(self.source.encode()).hexdigest()):
            raise ValueError("sha256 is not that of the source")
        return self


class Conditions(_Model):
    """Where it was done.

    Attributes:
        kdgym, python, torch, numpy: versions.
        threads: of torch.
        device, processor: what computed; equal bits are promised to equal ones.
        seconds: it took by the wall clock, of a machine that may have had other things to do; None if nobody looked.
    """

    kdgym: _Text
    python: _Text
    torch: _Text
    numpy: _Text
    threads: Annotated[int, Field(ge=1, le=100_000)]
    device: _Text
    processor: _Text
    seconds: Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)] | None = None


class Outcome(_Model):
    """What came of it, one entry a student seed; see `kdgym.evaluation.Result`.

    Attributes:
        seeds: of the students, each once.
        before, after: scores, [S].
        right, asked: answers by skill, [S, K].
        curve: validation scores, [S, steps + 1]; [S, 1] of who does not teach.
        cost: every actor of the ledger -> every unit -> amounts, [S].
    """

    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]], _Students]
    before: _Scores
    after: _Scores
    right: _Counts
    asked: _Counts
    curve: Annotated[list[_Curve], _Students]
    cost: dict[str, dict[str, _Amounts]]

    @model_validator(mode="after")
    def _fit(self) -> Outcome:
        students = len(self.seeds)
        if len(set(self.seeds)) != students:
            raise ValueError("a student seed is there twice")
        if set(self.cost) != set(ACTORS) or any(set(units) != set(UNITS) for units in self.cost.values()):
            raise ValueError(f"cost needs the actors {', '.join(ACTORS)}, and of each {', '.join(UNITS)}")
        columns: dict[str, Any] = {name: getattr(self, name) for name in ("before", "after", "right", "asked", "curve")}
        for actor, units in self.cost.items():
            columns |= {f"cost of {actor}, {unit}": values for unit, values in units.items()}
        for name, values in columns.items():
            if len(values) != students:
                raise ValueError(f"{name} has {len(values)} entries for {students} students")
        if len({len(counts) for counts in (*self.right, *self.asked)}) != 1:
            raise ValueError("right and asked are not of the same skills for all students")
        if len({len(scores) for scores in self.curve}) != 1:
            raise ValueError("the curves are not equally long")
        for right, asked in zip(self.right, self.asked, strict=True):
            if any(r > a for r, a in zip(right, asked, strict=True)):
                raise ValueError("more answers are right than were asked")
        return self


class Disclosures(_Model):
    """What a reader should know.

    Attributes:
        attempts: episodes with these student seeds before this one was chosen, this one included.
        test_seen: whether the test split was looked at.
        training: how the teacher was made: steps, tokens, money, seeds.
        notes: anything else.
    """

    attempts: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    test_seen: bool = False
    training: _Text = ""
    notes: _Text = ""


class Badge(_Model):
    """What a verifier found; signed over the record and everything here.

    Attributes:
        level: 0 checked, 1 replayed, 2 re-run, 3 reproduced or disputed by a third party.
        passed: whether the claim held.
        finding: in words.
        version, day: of kdgym, and when.
        verifier: public key, Ed25519, hex.
        claimed, found, students: level 2: the claimed gain (or score) and that of so many new students; None in badges of
            November 2026, which have them in words only.
        signature: hex.
    """

    level: Annotated[int, Field(ge=0, le=3)]
    passed: bool
    finding: _Text
    version: _Text
    day: _Day
    verifier: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    claimed: Annotated[float, Field(allow_inf_nan=False)] | None = None
    found: Annotated[float, Field(allow_inf_nan=False)] | None = None
    students: Annotated[int, Field(ge=1, le=10_000)] | None = None
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]

    @model_serializer(mode="wrap")
    def _without_missing(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Earlier badges were signed without the numbers."""
        return {name: value for name, value in write(self).items() if value is not None}


def file_name(agent: str, authors: Sequence[str]) -> str:
    """Of an agent's record in a board's folder."""
    name, by = (re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") for text in (agent, "-".join(authors)))
    return f"{name or 'agent'}--{by[:40] or 'anonymous'}.json"


class Record(_Model):
    """A submission."""

    schema_version: Literal[1] = 1
    env_id: Annotated[str, Field(pattern=ID_PATTERN)]
    day: _Day
    agent: AgentCard
    conditions: Conditions
    outcome: Outcome
    trace: Trace | None
    disclosures: Disclosures
    badges: Annotated[list[Badge], Field(max_length=100, fail_fast=True)] = []

    @model_validator(mode="after")
    def _fit(self) -> Record:
        outcome, (low, high) = self.outcome, find(self.env_id).score_range
        for name, scores in (
            ("before", outcome.before),
            ("after", outcome.after),
            *(("curve", c) for c in outcome.curve),
        ):
            if not low - _ROUNDING <= min(scores) <= max(scores) <= high + _ROUNDING:
                raise ValueError(
                    f"{name} has scores from {min(scores):g} to {max(scores):g}; those of {self.env_id} lie from {low:g} to "
                    f"{high:g}"
                )
        students, points = len(outcome.seeds), len(outcome.curve[0])
        if self.trace is None and points != 1:
            raise ValueError(f"the curves have {points} points; without a trace of actions there is 1")
        if self.trace is not None and (self.trace.students != students or self.trace.steps >= points):
            raise ValueError(
                f"the trace has {self.trace.steps} steps of {self.trace.students} students; the curves have {points} points "
                f"of {students} students, and need one more than there are steps"
            )
        return self

    def claim(self) -> bytes:
        """What a signature is for: everything but the badges."""
        said = self.model_dump(exclude={"badges"})
        if said["conditions"]["seconds"] is None:  # older records were signed without it
            del said["conditions"]["seconds"]
        return json.dumps(said, sort_keys=True, ensure_ascii=True).encode()

    def file_name(self) -> str:
        """Where it goes in the board's folder."""
        return file_name(self.agent.name, self.agent.authors)

    def save(self, path: Path) -> None:
        """Write it, atomically."""
        write_atomically(path, (json.dumps(self.model_dump(mode="json"), separators=(",", ":")) + "\n").encode())


def load_record(path: Path) -> Record:
    """Read a submission. What it returns can be shown: pages and statistics refuse nothing of it.

    Raises:
        ValueError: it is not there, too large, a link, or does not fit the schema, or its trace does not unpack; the message
            says where.
    """
    if not path.exists() and not path.is_symlink():
        raise ValueError(f"{printable(path)}: file not found.")
    if path.is_symlink() or not path.is_file():
        raise ValueError(f"{printable(path)} is a link or a folder; a record is a file.")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{printable(path)} has {path.stat().st_size} bytes; {LARGEST} are allowed.")
    try:
        text = path.read_bytes().decode()
        json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        record = Record.model_validate_json(text)
        if record.trace is not None:
            record.trace.actions()
    except ValidationError as error:
        raise ValueError(f"{printable(path.name)}: {_explained(error)}") from error
    except RecursionError as error:
        raise ValueError(f"{printable(path.name)}: it is nested too deeply; a record has five levels.") from error
    except ValueError as error:  # no JSON, or a trace that is none
        raise ValueError(f"{printable(path.name)}: {printable(error)}") from error
    return record


def checked(part: type[_Part], **fields: Any) -> _Part:
    """A part of a record from what a person gave.

    Raises:
        ValueError: a field does not fit the schema; the message says which, and why.
    """
    try:
        return part(**fields)
    except ValidationError as error:
        raise ValueError(_explained(error)) from error


def _explained(error: ValidationError) -> str:
    """The first of what is wrong, in one line."""
    found = error.errors()[0]
    place = ".".join(map(str, found["loc"])) or "the whole"
    return printable(f"{place}: {found['msg'].removeprefix('Value error, ')}.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of two equal keys readers take one or the other, so there may not be two."""
    found = dict(pairs)
    if len(pairs) > _MOST_KEYS:
        raise ValueError(f"a JSON object has {len(pairs)} keys; {_MOST_KEYS} are allowed.")
    if len(found) < len(pairs):
        raise ValueError("a key is there twice in one JSON object.")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON.")
