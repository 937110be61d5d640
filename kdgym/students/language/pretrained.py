"""Causal language models from a directory or a hub."""

from __future__ import annotations

import functools
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


@functools.lru_cache(maxsize=2)
def load_model(path: str, device: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """A frozen causal language model and its tokenizer, loaded once a process.

    Args:
        path: a directory, or a hub id (taken from the hub's cache alone where ``HF_HUB_OFFLINE`` is set).
        device: where to put it.
        dtype: its floating-point type.

    Raises:
        ValueError: it cannot be loaded.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
        model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation="sdpa")
    except (OSError, ValueError) as error:
        raise ValueError(
            f"The model {path!r} cannot be loaded: {str(error).splitlines()[0]} Give a directory with config.json and "
            "safetensors files, a model prepared by `kdgym models add`, or a hub id."
        ) from error
    model.to(device).eval().requires_grad_(False)
    return model, tokenizer


def stop_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Tokens at which the model ends what it says."""
    given = model.generation_config.eos_token_id
    given = [] if given is None else [given] if isinstance(given, int) else list(given)
    return [*given, *([] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id])]
