"""Answers a second by `vllm.LLM` and by transformers in this process, both as kdgym uses them (`kdgym.llm.local`)."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from devices import in_turn
from report import Part, SkippedError

from kdgym.llm.chat import Chat, Conversation
from kdgym.llm.local import VLLM, Transformers
from kdgym.tasks import make_task

QUESTIONS, QUICK_QUESTIONS = 256, 4
ROUNDS, QUICK_ROUNDS = 3, 1
MOST_TOKENS = 32  # of an answer
LONGEST = 512  # tokens of a conversation
MEMORY = 0.5  # share of the device's for vLLM; the other model needs some as well


def measure(part: Part, device: torch.device, quick: bool) -> None:
    """Answers and tokens a second of each, and the ratio within a round."""
    try:
        import vllm
    except ImportError as error:
        raise SkippedError(
            "vllm is not installed", "pip install vllm, beside kdgym, on a machine with a GPU"
        ) from error
    from gpu_language import write_random_model  # transformers takes seconds to import

    task, number = make_task("Math"), QUICK_QUESTIONS if quick else QUESTIONS
    asked: list[Conversation] = [[{"role": "user", "content": task.text(problem)}] for problem in range(number)]
    with tempfile.TemporaryDirectory() as name:
        folder = str(write_random_model(Path(name) / "base", device, quick))
        limits = {"dtype": "bfloat16", "max_model_len": LONGEST, "gpu_memory_utilization": MEMORY}
        models: dict[str, Chat] = {
            "vllm": VLLM(folder, **limits, enforce_eager=quick),
            "transformers": Transformers(folder, str(device), batch=64),
        }
        clocks = {model: _clock(chat, asked) for model, chat in models.items()}
        part.keep(vllm=vllm.__version__, questions=number, most_tokens=MOST_TOKENS)
        for run in clocks.values():
            run()
        rounds = in_turn(part, QUICK_ROUNDS if quick else ROUNDS, clocks)
    medians = {f"{model}_answers_per_s": statistics.median(number / r[model] for r in rounds) for model in models}
    ratio = statistics.median(r["transformers"] / r["vllm"] for r in rounds)
    part.keep(rounds=rounds, **medians, vllm_to_transformers=ratio)


def _clock(chat: Chat, asked: list[Conversation]) -> Callable[[], float]:
    """Seconds until all answers are there."""

    def run() -> float:
        begin = time.perf_counter()
        chat.answer(asked, max_tokens=MOST_TOKENS)
        return time.perf_counter() - begin

    return run
