"""A task's problems and answers as a chat model reads and writes them: one format, before and after training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kdgym.students.base import Tables
from kdgym.students.language.packing import Item
from kdgym.tasks.base import Task


class Prompts:
    """Renders through the tokenizer's own chat template: the problem is the user's turn, the answer the model's.

    Args:
        tokenizer: of the model; it has a chat template.
        task: what is taught.
        stops: tokens at which the model ends its turn.

    Attributes:
        end: the token that ends an answer.
        longest_answer: tokens of the longest right answer, with its end.

    Raises:
        ValueError: there is no chat template, the model does not end turns as the template does, or the tokenizer does not give
            an answer back as it was.
    """

    def __init__(self, tokenizer: Any, task: Task, stops: Sequence[int]) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise ValueError("The model's tokenizer has no chat template; take an instruction-tuned model.")
        self.tokenizer, self.task, self.stops = tokenizer, task, frozenset(stops)
        self._problems: dict[str, list[int]] = {}
        self._answers: dict[str, list[int]] = {}
        self.end = self._end()
        self.longest_answer = self._longest_answer()

    def _end(self) -> int:
        turn = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "@A@"}]
        after = self.tokenizer.apply_chat_template(turn, tokenize=False).rpartition("@A@")[2]
        end: int = self._tokens(after)[0] if after else -1
        if end not in self.stops:
            raise ValueError(
                f"The chat template ends an answer by {after!r}, which is none of the model's end-of-sequence tokens; its "
                "generation_config.json has to name it in eos_token_id."
            )
        return end

    def _tokens(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def problem(self, text: str) -> list[int]:
        """Tokens of a problem, ready for the model to answer."""
        if text not in self._problems:
            turn = [{"role": "user", "content": text}]
            chat = self.tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
            self._problems[text] = self._tokens(chat)
        return self._problems[text]

    def answer(self, text: str) -> list[int]:
        """Tokens of an answer, with the end of the turn."""
        if text not in self._answers:
            self._answers[text] = [*self._tokens(text), self.end]
        return self._answers[text]

    def items(self, problem: Sequence[int], answer: Sequence[int], tables: Tables | None = None) -> list[Item]:
        """Items by their ids: those of the task, or, behind them, those that teachers wrote."""
        task, written = self.task, tables.written if tables else ()
        problems, answers = len(task.prompt), len(task.answer)
        return [
            (
                self.problem(task.text(p) if p < problems else written[p - problems][0]),
                self.answer(task.answer_text(a) if a < answers else written[a - answers][1]),
            )
            for p, a in zip(problem, answer, strict=True)
        ]

    def read(self, tokens: Tensor) -> str:
        """What the model said up to the end of its turn, int64 [n] -> text."""
        said = tokens.tolist()
        end = next((i for i, token in enumerate(said) if token in self.stops), len(said))
        return str(self.tokenizer.decode(said[:end], skip_special_tokens=True))

    def _longest_answer(self) -> int:
        """Tokens of the longest right answer, with its end."""
        longest = 0
        for answer in range(len(self.task.answer)):
            text = self.task.answer_text(answer)
            tokens = self.answer(text)
            longest = max(longest, len(tokens))
            if (back := self.read(torch.tensor(tokens))).strip() != text.strip():
                raise ValueError(f"The model's tokenizer reads the answer {text!r} as {back!r}; it cannot say it.")
        return longest
