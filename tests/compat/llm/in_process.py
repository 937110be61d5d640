"""Asks `vllm.LLM` and transformers the same questions in one process: ``python in_process.py MODEL FILE.json``.

A process of its own, because vLLM sets up logging and threads for all of it, and its helpers live until it ends.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

from kdgym.llm.local import VLLM, Transformers

ASKED = [[{"role": "user", "content": f"What is {i} + {i % 7 + 3}?"}] for i in range(40)]
PAIR = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}


def main(model: str, file: str) -> None:
    """Write both chats' answers, without and with a schema."""
    chats = VLLM(model, dtype="float32", max_model_len=2048, enforce_eager=True), Transformers(model)
    answers = [
        [[dataclasses.asdict(answer) for answer in chat.answer(ASKED, schema, max_tokens=16)] for chat in chats]
        for schema in (None, PAIR)
    ]
    Path(file).write_text(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
