"""A submission that arrives as a pull request: one commit or more that add one record, and change nothing else."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path, PurePosixPath

from kdgym.leaderboard.names import reserved
from kdgym.leaderboard.record import Record, load_record
from kdgym.leaderboard.verify import RESERVED

_ONE = "A submission adds one record under leaderboards/ and changes nothing else"


def submitted_record(repository: Path, base: str, head: str, folder: str = "leaderboards") -> Record:
    """The record that a branch adds. Nothing of the branch is checked out or run.

    Args:
        repository: a git repository that has both commits.
        base: the branch that it is for.
        head: the branch that is submitted.
        folder: of the boards, in the repository.

    Raises:
        ValueError: the branch changes something else, or the file is no record of the board where it lies; or there is no such
            commit.
    """
    path, blob = _added_file(repository, base, head)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / path.name
        file.write_bytes(_git(repository, "cat-file", "blob", blob))
        record = load_record(file)
    place = PurePosixPath(folder, record.env_id, record.file_name())
    if path != place:
        raise ValueError(f"{path} is a record that belongs into {place}.")
    if record.badges:
        raise ValueError(f"{path} has badges already; those who verify it will add theirs.")
    if record.agent.kind in RESERVED:
        raise ValueError(
            f"{path} is of kind {record.agent.kind}, which is for kdgym's own teachers; give another --kind."
        )
    if (own := reserved(record.agent)) is not None:
        raise ValueError(f"{path}: {own} is a name of kdgym's own; give another --name or --authors.")
    return record


def _added_file(repository: Path, base: str, head: str) -> tuple[PurePosixPath, str]:
    """Path and blob of the one file that a branch adds since it left ``base``."""
    told = _git(repository, "diff", "--raw", "--no-renames", "--no-abbrev", "-z", f"{base}...{head}", "--").decode()
    parts = told.split("\0")[:-1]
    changes = list(zip(parts[::2], parts[1::2], strict=True))
    for what, path in changes:
        _, mode, _, blob, status = what.split(" ")
        if status != "A":
            raise ValueError(f"{_ONE}; this one changes or removes {path}.")
        if mode != "100644" or not path.endswith(".json"):
            raise ValueError(f"{_ONE}; {path} is none (an ordinary file, mode 644, that ends in .json).")
    if len(changes) != 1:
        raise ValueError(f"{_ONE}; this one adds {len(changes)} files: {', '.join(path for _, path in changes[:5])}.")
    return PurePosixPath(path), blob


def _git(repository: Path, *words: str) -> bytes:
    done = subprocess.run(["git", "-C", str(repository), *words], capture_output=True, check=False)
    if done.returncode:
        raise ValueError(f"git {words[0]} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
