"""A submission: one small JSON file with what was done, what came of it, and who has checked it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
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
from kdgym.leaderboard.trace import Trace
from kdgym.registration import ID_PATTERN
from kdgym.storage import write_atomically

LARGEST = 8 * 1024**2  # bytes of a file
LEVELS = ("checked", "replayed", "re-run", "reproduced")
# Names are shown in terminals and on pages: no control characters, no invisible or direction-changing ones.
_Name = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[A-Za-z0-9À-ɏ][A-Za-z0-9À-ɏ ._+@'()-]*$")]
_ModelName = Annotated[str, Field(max_length=120, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+@:/()-]*$")]
_Text = Annotated[str, Field(max_length=2000)]
_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Shares = list[Annotated[float, Field(allow_inf_nan=False)]]
_Counts = list[list[Annotated[int, Field(ge=0)]]]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AgentCard(_Model):
    """Who taught.

    Attributes:
        name, authors: as shown.
        kind: ``rule``, ``rl`` (trained), ``llm``, ``human``, or what stands on every board: ``control``, ``published`` (the
            rule of the system that the environment is after) and ``oracle`` (an upper bound).
        source: the code, one Python file; None of a person and of who does not teach.
        sha256: of the source, or None.
        weights: sha256 of the file of a trained one, which a re-run has to be given.
        model: the language model's name at its endpoint, or None; provider and date belong into the disclosures.
        settings: of the environment, where the agent asks for one.
    """

    name: _Name
    authors: Annotated[list[_Name], Field(min_length=1, max_length=20)]
    kind: Literal["rule", "rl", "llm", "human", "control", "published", "oracle"]
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
    threads: Annotated[int, Field(ge=1)]
    device: _Text
    processor: _Text
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class Outcome(_Model):
    """What came of it, one entry a student seed; see `kdgym.evaluation.Result`."""

    seeds: list[int]
    before: _Shares
    after: _Shares
    right: _Counts
    asked: _Counts
    curve: list[_Shares]
    cost: dict[str, dict[str, _Shares]]

    @model_validator(mode="after")
    def _fit(self) -> Outcome:
        students = len(self.seeds)
        columns: dict[str, Any] = {name: getattr(self, name) for name in ("before", "after", "right", "asked", "curve")}
        for actor, units in self.cost.items():
            if actor not in ACTORS or set(units) != set(UNITS):
                raise ValueError(f"cost has the actor {actor!r} with {sorted(units)}")
            columns |= {f"cost of {actor}, {unit}": values for unit, values in units.items()}
        for name, values in columns.items():
            if len(values) != students:
                raise ValueError(f"{name} has {len(values)} entries for {students} students")
        for right, asked in zip(self.right, self.asked, strict=True):
            if len(right) != len(asked) or any(r > a for r, a in zip(right, asked, strict=True)):
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

    attempts: Annotated[int, Field(ge=1)] = 1
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
    day: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")]
    verifier: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    claimed: Annotated[float, Field(allow_inf_nan=False)] | None = None
    found: Annotated[float, Field(allow_inf_nan=False)] | None = None
    students: Annotated[int, Field(ge=1)] | None = None
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
    day: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")]
    agent: AgentCard
    conditions: Conditions
    outcome: Outcome
    trace: Trace | None
    disclosures: Disclosures
    badges: list[Badge] = []

    @field_validator("day")
    @classmethod
    def _is_a_day(cls, day: str) -> str:
        date.fromisoformat(day)
        return day

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
    """Read a submission.

    Raises:
        ValueError: it is not there, too large, a link, or does not fit the schema; the message says where.
    """
    if not path.exists() and not path.is_symlink():
        raise ValueError(f"{path}: file not found.")
    if path.is_symlink() or not path.is_file():
        raise ValueError(f"{path} is a link or a folder; a record is a file.")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} has {path.stat().st_size} bytes; {LARGEST} are allowed.")
    try:
        return Record.model_validate_json(path.read_bytes())
    except ValidationError as error:
        found = error.errors()[0]
        place = ".".join(map(str, found["loc"])) or "the whole"
        raise ValueError(f"{path.name}: {place}: {found['msg']}.") from error
