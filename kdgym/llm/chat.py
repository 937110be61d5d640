"""One small protocol for everything that answers conversations, and a transcript a person can read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

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


class Transcript:
    """A JSONL file: one line a record, on disk as soon as it is written. Records are appended to what is there.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path

    def write(self, record: dict[str, Any]) -> None:
        """Append a JSON-serialisable record."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
