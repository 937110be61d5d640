"""A complete, untrained language model of a few thousand weights, in a directory like any other: one token a character."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from kdgym import random
from tests.benchmarks.characters import CHARACTERS, write_tokenizer


def write_model(folder: Path, width: int = 32, layers: int = 2) -> Path:
    """Weights are drawn from a stream of kdgym's own, so every test sees the same model."""
    write_tokenizer(folder)
    config = LlamaConfig(
        vocab_size=len(CHARACTERS),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            if parameter.dim() == 2:
                u = random.uniform(torch.tensor(i), parameter.numel()).view_as(parameter)
                parameter.copy_((2 * u - 1) * (3 / parameter.shape[1]) ** 0.5)
    model.save_pretrained(folder)
    return folder
