"""What can be chosen about language models as students."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from kdgym.settings import Settings


class LanguageOptions(Settings):
    """``student_options`` of language-model students.

    Attributes:
        rank, alpha, target_modules: see `kdgym.students.language.adapters.Adapters`.
        batch: items of one update.
        learning_rate, beta1, beta2, epsilon, weight_decay: AdamW.
        gradient_checkpointing: keep only each block's input for the backward pass: less memory, a third more work.
        most_tokens: of one forward pass; a larger population is taught in groups of students.
        max_new_tokens: most a student may say; None for the longest right answer and eight more.
        max_feedback_tokens: most that is read of a teacher's feedback on one attempt.
        backend: who lets students speak: ``"transformers"`` (in this process) or ``"vllm"`` (a server).
        base_url: of the vLLM server, started with ``--enable-lora``.
    """

    rank: int = Field(8, ge=1, le=512)
    alpha: float = Field(16.0, gt=0)
    target_modules: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    batch: int = Field(8, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.999, ge=0, lt=1)
    epsilon: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    gradient_checkpointing: bool = False
    most_tokens: int = Field(2048, ge=1)
    max_new_tokens: int | None = Field(None, ge=1)
    max_feedback_tokens: int = Field(96, ge=1)
    backend: Literal["transformers", "vllm"] = "transformers"
    base_url: str = "http://127.0.0.1:8000/v1"
