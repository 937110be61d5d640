"""One small protocol for everything that answers conversations, and a transcript a person can read."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from kdgym.untrusted import without_keys

UNIX = "http+unix://"
Conversation = list[dict[str, str]]  # messages with a "role" and a "content", as in OpenAI's API


class UnreachableError(ConnectionError):
    """A language model gives no answers, and asking again would not help: its address, its name or the key is wrong."""


@dataclass(frozen=True)
class Answer:
    """What came back for one conversation.

    Attributes:
        text: the answer; empty if there was none, and incomplete if ``error`` says so.
        error: why the text cannot be relied on; empty if it can.
        prompt_tokens, completion_tokens: as the model counted them.
        attempts: requests made.
        seconds: wall time, retries included.
        failed: no answer came from the model. An unusable answer is the model's own, and has not failed.
    """

    text: str
    error: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    attempts: int = 1
    seconds: float = 0.0
    failed: bool = False


def checked_address(url: str) -> str:
    """An address that may be kept and shown.

    Raises:
        ValueError: it holds what may be secret: a user, a password, or what stands behind ``?`` or ``#``; or it is none.
    """
    try:
        host = urlsplit(url).netloc.rpartition("@")[2]
    except ValueError as error:
        raise ValueError(f"The address of a language model cannot be read: {error}.") from None
    if set(url) & set("@?#"):
        raise ValueError(
            f"The address of the language model at {host!r} has a user, a password, or something behind ? or #. Addresses are "
            "kept in files, so give it without; a key belongs into the environment variable OPENAI_API_KEY."
        )
    return url


def parsed(answer: Answer, kind: type[BaseModel]) -> Any:
    """An answer's JSON as a ``kind``; None if it is unusable."""
    if answer.error:
        return None
    try:
        return kind.model_validate_json(answer.text)
    except ValidationError:
        return None


class Chat(Protocol):
    """Answers a batch of conversations. What goes wrong is said in the answers, but `UnreachableError` if none ever comes."""

    def answer(
        self, conversations: list[Conversation], schema: dict[str, Any] | None = None, max_tokens: int = 512
    ) -> list[Answer]:
        """One answer a conversation, in order.

        Args:
            conversations: what was said so far.
            schema: JSON schema that the answers are constrained to.
            max_tokens: longest answer.
        """


class Tally:
    """A `Chat` that answers nothing, to find out how much a teacher would ask. Two characters are a token, as in numbers."""

    def answer(
        self, conversations: list[Conversation], schema: dict[str, Any] | None = None, max_tokens: int = 512
    ) -> list[Answer]:
        """See `Chat.answer`."""
        lengths = [sum(len(message["content"]) for message in said) for said in conversations]
        return [Answer("", "nobody was asked", length // 2, attempts=0, failed=True) for length in lengths]


class Transcript:
    """A JSONL file: one line a record, on disk as soon as it is written. Records are appended to what is there.

    A line is written at once, or not at all: what a full disk leaves of one is cut off again. Keys are in none
    (`kdgym.untrusted`).

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path

    def write(self, record: dict[str, Any]) -> None:
        """Append a JSON-serialisable record."""
        line = without_keys(json.dumps(record, ensure_ascii=False) + "\n").encode(errors="backslashreplace")
        with self.path.open("a+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size and (file.seek(-1, os.SEEK_END), file.read(1))[1] != b"\n":  # another process died in its line
                line = b"\n" + line
            if file.write(line) != len(line):
                file.truncate(size)
                raise OSError(f"The transcript {self.path} cannot be written: there is no space left.")
