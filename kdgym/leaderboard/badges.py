"""Badges: what verifiers found, signed; and the log of all their findings, which no submitter can shorten.

A badge lies in the submitter's file, so it can be deleted there. Therefore every finding is a line of ``verifications.jsonl``
beside the boards, too. Each line is signed by who wrote it and has the SHA-256 of the line before. `read_log` notices a line
that was altered, moved, inserted, or removed in the middle. It cannot notice that the last lines are missing: the history of
the repository shows that.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

import kdgym
from kdgym.leaderboard.record import Badge, Record
from kdgym.leaderboard.submit import today
from kdgym.storage import write_atomically
from kdgym.untrusted import printable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY = "KDGYM_VERIFIER_KEY"  # environment variable: 32 bytes in hex
VERIFIERS, LOG = "verifiers.json", "verifications.jsonl"
_START = "0" * 64  # what the first line of a log has in place of a hash
_EARLIER = re.compile(
    r"(?:gain over \w+|score) of \d+ new students is (?P<found>[+-]\d+\.\d+); the claim of (?P<claimed>[+-]\d+\.\d+) predicts "
)
_Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_PRIME = 2**255 - 19  # Ed25519: its field, and the constant of its curve
_CURVE = -121665 * pow(121666, -1, _PRIME) % _PRIME


@dataclass(frozen=True)
class Finding:
    """What a level found.

    Attributes:
        passed: whether the record is what it says; None where more students are needed to say so.
        text: in a sentence.
        claimed, found, students: level 2: the claimed gain or score, that of new students, and how many these were.
    """

    passed: bool | None
    text: str
    claimed: float | None = None
    found: float | None = None
    students: int | None = None


class Logged(BaseModel):
    """A line of the log.

    Attributes:
        env_id, file: of the record.
        claim: SHA-256 of `Record.claim`.
        badge: what was found.
        previous: SHA-256 of the line before, zeros in the first one.
        writer: public key of who wrote this line: the badge's verifier, or who entered a badge that was there before the log.
        signature: of the writer, over all of that.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    env_id: str
    file: str
    claim: _Hex
    badge: Badge
    previous: _Hex
    writer: _Hex
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]

    def line(self) -> bytes:
        """As it is written, without the line's end."""
        return _plain(self.model_dump())

    def signed(self) -> bytes:
        """What the signature is over."""
        return _plain(self.model_dump(exclude={"signature"}))


# --- signing ---------------------------------------------------------------------------------------------------------


def award(record: Record, level: int, finding: Finding) -> Record:
    """The record with a badge that says what was found, in place of an older one of this level by the same verifier.

    Raises:
        ValueError: the verifier's key is not set, or is not 32 bytes in hex; or the finding is undecided.
    """
    if finding.passed is None:
        raise ValueError(f"Nothing is signed while level {level} is undecided: {finding.text}.")
    key = _key()
    verifier = _public(key)
    said = {
        "level": level, "passed": finding.passed, "finding": finding.text[:2000], "version": kdgym.__version__,
        "day": today(), "verifier": verifier, "claimed": finding.claimed, "found": finding.found,
        "students": finding.students,
    }  # fmt: skip
    said = {name: value for name, value in said.items() if value is not None}
    badge = Badge(**said, signature=key.sign(_signed(record, said)).hex())  # type: ignore[arg-type]
    others = [b for b in record.badges if (b.level, b.verifier) != (level, verifier)]
    return record.model_copy(update={"badges": [*others, badge]})


def is_genuine(record: Record, badge: Badge) -> bool:
    """Whether the badge's verifier signed it for this very record."""
    return _is_signed(_signed(record, badge.model_dump(exclude={"signature"})), badge.verifier, badge.signature)


def known_verifiers(folder: Path) -> dict[str, str]:
    """Verifiers whose badges count on the boards of a folder: public key -> name, from ``verifiers.json``; none without it.

    Raises:
        ValueError: the file is not such a table; or a key is one for which signatures can be made without a secret.
    """
    file = folder / VERIFIERS
    if not file.is_file():
        return {}
    try:
        known = TypeAdapter(dict[_Hex, str]).validate_json(file.read_bytes())
    except ValidationError as error:
        raise ValueError(
            f"{file} is not a table of public keys (64 hexadecimal digits) and names: {error.errors()[0]['msg']}."
        ) from error
    for key in known:
        if _is_of_small_order(key):
            raise ValueError(
                f"{file}: the key {key} is a point of small order. Anybody can sign for it; remove it from the table."
            )
    return known


def badge_text(path: Path, level: int, finding: Finding) -> str:
    """A line for people."""
    verdict = {True: "passed", False: "FAILED", None: "undecided"}[finding.passed]
    return f"{printable(path.name, 120)}, level {level}: {verdict}: {finding.text}."


def _key() -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    text = os.environ.get(KEY, "")
    try:
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(text))
    except ValueError as error:
        raise ValueError(f"To sign badges, set {KEY} to 32 bytes in hex (64 digits); it has {len(text)}.") from error


def _public(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()


def _signed(record: Record, said: dict[str, Any]) -> bytes:
    return record.claim() + b"\n" + json.dumps(said, sort_keys=True).encode()


def _is_signed(content: bytes, key: str, signature: str) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(bytes.fromhex(signature), content)
    except (InvalidSignature, ValueError):
        return False
    return True


def _is_of_small_order(key: str) -> bool:
    """Whether a public key is one of the eight points whose multiples are eight points at most, also written unreduced.

    The y of such a point is 1, -1, 0, or a root of d y^4 + 2 y^2 - 1, whose double has y = 0.
    """
    y = (int.from_bytes(bytes.fromhex(key), "little") & (2**255 - 1)) % _PRIME
    return y in (0, 1, _PRIME - 1) or (_CURVE * y**4 + 2 * y**2 - 1) % _PRIME == 0


# --- the log ---------------------------------------------------------------------------------------------------------


def boards_of(record_path: Path) -> Path | None:
    """The folder of the boards that a record lies in: the nearest one above that has ``verifiers.json``."""
    return next((folder for folder in record_path.resolve().parents if (folder / VERIFIERS).is_file()), None)


def append(folder: Path, record_path: Path, record: Record, badge: Badge) -> None:
    """Write a finding into the log of the boards in a folder.

    Raises:
        ValueError: see `enter`.
    """
    enter(folder, [(record_path, record, badge)])


def enter(folder: Path, findings: Iterable[tuple[Path, Record, Badge]]) -> None:
    """Write findings into the log of a folder: the record's file, the record, and its badge, of each.

    Raises:
        ValueError: the log is damaged; the key is not set; or it is not that of a verifier in ``verifiers.json``.
    """
    key = _key()
    with FileLock(folder / f".{LOG}.lock"):
        log, writer = read_log(folder), _public(key)
        if writer not in known_verifiers(folder):
            raise ValueError(f"The key {writer} is not in {folder / VERIFIERS}; add it there to write into the log.")
        for path, record, badge in findings:
            said: dict[str, Any] = {
                "env_id": record.env_id, "file": path.name, "claim": _claim(record), "badge": badge,
                "previous": _hash(log[-1].line()) if log else _START, "writer": writer,
            }  # fmt: skip
            unsigned = Logged(**said, signature="0" * 128)
            log.append(unsigned.model_copy(update={"signature": key.sign(unsigned.signed()).hex()}))
        write_atomically(folder / LOG, b"".join(entry.line() + b"\n" for entry in log))


def read_log(folder: Path) -> list[Logged]:
    """The findings in the log of a folder, oldest first; none if there is no log.

    Raises:
        ValueError: a line was altered, moved, inserted or removed, or its writer is no verifier of the folder.
    """
    file = folder / LOG
    known, log, previous = known_verifiers(folder), [], _START
    for number, line in enumerate(file.read_bytes().splitlines() if file.is_file() else [], 1):
        place = f"{file}, line {number}"
        try:
            entry = Logged.model_validate_json(line)
        except ValidationError as error:
            raise ValueError(f"{place} is not a finding: {error.errors()[0]['msg']}.") from error
        if entry.previous != previous:
            raise ValueError(f"{place} does not follow the line before: lines were removed, moved or altered.")
        if entry.writer not in known:
            raise ValueError(f"{place} is by {entry.writer}, who is not in {VERIFIERS}.")
        if entry.line() != line or not _is_signed(entry.signed(), entry.writer, entry.signature):
            raise ValueError(f"{place} is not what its writer signed.")
        log.append(entry)
        previous = _hash(line)
    return log


def trusted_badges(record: Record, log: Sequence[Logged], verifiers: Iterable[str]) -> list[Badge]:
    """The badges of a record that count: genuine, by these verifiers, from the file and from the log, by level.

    Of one level and verifier the newest counts: that of the latest day, and of one day the last of the log. So a finding
    that failed counts also where it was deleted from the file.

    Args:
        record: the submission.
        log: of its folder, from `read_log`.
        verifiers: public keys, from `known_verifiers`.
    """
    claim, known = _claim(record), set(verifiers)
    logged = [entry.badge for entry in log if entry.claim == claim]
    newest = {}
    for badge in sorted([*record.badges, *logged], key=lambda badge: badge.day):  # stable: a day's order is kept
        if badge.verifier in known and is_genuine(record, badge):
            newest[badge.level, badge.verifier] = badge
    return sorted(newest.values(), key=lambda badge: badge.level)


def differences(file: str, record: Record, log: Sequence[Logged], verifiers: Iterable[str]) -> list[str]:
    """What the log says of a record and its file does not, and the other way round, in sentences."""
    mine = [entry for entry in log if (entry.env_id, entry.file) == (record.env_id, file)]
    claim, counted = _claim(record), trusted_badges(record, log, verifiers)
    problems = [
        f"the badge of level {badge.level} by {badge.verifier[:8]} was removed from the file; the log says "
        f"{'passed' if badge.passed else 'FAILED'}"
        for badge in counted
        if badge not in record.badges
    ]
    logged = [entry.badge for entry in mine if entry.claim == claim]
    problems += [
        f"the badge of level {badge.level} by {badge.verifier[:8]} is not in the log; run: kdgym leaderboard log"
        for badge in counted
        if badge not in logged
    ]
    if mine and mine[-1].claim != claim:
        problems.append("the record was changed since it was last verified")
    return problems


def unlogged(file: str, record: Record, log: Sequence[Logged], verifiers: Iterable[str]) -> list[Badge]:
    """Genuine badges of known verifiers that the log does not have, such as those from before there was a log."""
    entered = [entry.badge for entry in log if (entry.env_id, entry.file) == (record.env_id, file)]
    known = set(verifiers)
    return [b for b in record.badges if b.verifier in known and b not in entered and is_genuine(record, b)]


def found_gain(badge: Badge) -> tuple[float, float] | None:
    """Claimed and found gain, or score, of a badge of level 2; None where it names none, as the re-run broke down.

    Earlier badges have them in their sentence.
    """
    if badge.level != 2:
        return None
    if badge.claimed is not None and badge.found is not None:
        return badge.claimed, badge.found
    said = _EARLIER.match(badge.finding)
    return (float(said["claimed"]), float(said["found"])) if said else None


def _claim(record: Record) -> str:
    return _hash(record.claim())


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _plain(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
