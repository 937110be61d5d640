"""What of a language model learns: stacked low-rank adapters over one frozen base.

LoRA (Hu et al., ICLR 2022, section 4.1): a linear layer's output gets ``alpha / rank * B A x`` added. Here A and B of S
students are stacked, [S, rank, in] and [S, out, rank], and applied to inputs [S, L, in] by batched matrix products, so that
the base model runs once for all students. Names and shapes are PEFT's, so that one student's adapter goes into and out of its
format.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from kdgym import random
from kdgym.storage import CorruptFileError, write_atomically

_PEFT_PREFIX = "base_model.model."
ALL_LINEAR = "all-linear"


def _views(weights: Tensor, shapes: Sequence[torch.Size | tuple[int, ...]]) -> list[Tensor]:
    """Parts of [S, size] in the shapes [S, *shape]."""
    parts = weights.split([math.prod(shape) for shape in shapes], dim=1)
    return [part.unflatten(1, tuple(shape)) for part, shape in zip(parts, shapes, strict=True)]


class Adapters:
    """Stacked LoRA adapters; the base is as it was whenever no students are `bound`.

    Args:
        model: the frozen base.
        rank, alpha: see the module's docstring.
        targets: names of linear layers (their last part), or ``"all-linear"``: all but the output layer.

    Attributes:
        layers: names of the adapted layers.

    Raises:
        ValueError: no linear layer has such a name, or there is none at all.
    """

    def __init__(self, model: nn.Module, rank: int, alpha: float, targets: str | Sequence[str] = ALL_LINEAR) -> None:
        self.rank, self.alpha, self.scale = rank, alpha, alpha / rank
        output = model.get_output_embeddings()  # type: ignore[operator]
        linear = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear) and m is not output}
        if not linear:
            raise ValueError(f"{type(model).__name__} has no linear layers that could be adapted.")
        if targets != ALL_LINEAR:
            unknown = sorted(set(targets) - {name.rpartition(".")[2] for name in linear})
            if unknown:
                known = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
                raise ValueError(
                    f"The model has no linear layers called {', '.join(unknown)}; choose from {known}, or {ALL_LINEAR!r}."
                )
            linear = {name: module for name, module in linear.items() if name.rpartition(".")[2] in targets}
        self.layers, self._modules = list(linear), list(linear.values())
        self._device, self._dtype = self._modules[0].weight.device, self._modules[0].weight.dtype
        self._shapes = [s for m in self._modules for s in ((rank, m.in_features), (m.out_features, rank))]
        self.size = sum(math.prod(shape) for shape in self._shapes)

    def initialise(self, key: Tensor) -> Tensor:
        """First weights [S, size], one student a key. As PEFT does: A uniform within 1 / sqrt(in), B zero, so that all begin as
        the base."""
        weights = torch.zeros(len(key), self.size, device=self._device)
        for i, a in enumerate(_views(weights, self._shapes)[::2]):
            rank, inputs = a.shape[1:]
            u = random.uniform(random.fold(key, i), rank * inputs).view_as(a)
            a.copy_((2 * u - 1) / math.sqrt(inputs))
        return weights

    @contextmanager
    def bound(self, weights: Tensor) -> Iterator[list[Tensor]]:
        """A context in which the model has these students' weights; it yields the leaves that gradients are taken of."""
        leaves = [view.to(self._dtype).detach().requires_grad_() for view in _views(weights, self._shapes)]
        handles = [
            module.register_forward_hook(self._hook(a, b))
            for module, a, b in zip(self._modules, leaves[::2], leaves[1::2], strict=True)
        ]
        try:
            yield leaves
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, a: Tensor, b: Tensor) -> Any:
        def add(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
            return torch.baddbmm(output, inputs[0] @ a.mT, b.mT, alpha=self.scale)

        return add

    def flatten(self, gradients: Sequence[Tensor]) -> Tensor:
        """The leaves' gradients as [S, size], float32."""
        return torch.cat([gradient.flatten(1).float() for gradient in gradients], dim=1)

    # --- PEFT's format -------------------------------------------------------------------------------------------

    def _names(self) -> list[str]:
        return [f"{_PEFT_PREFIX}{layer}.lora_{part}.weight" for layer in self.layers for part in "AB"]

    def export(self, weights: Tensor, folder: Path, base: str) -> None:
        """Write one student's adapter [size] as PEFT does: ``adapter_config.json`` and ``adapter_model.safetensors``.

        Args:
            weights: the student's.
            folder: where; made if need be.
            base: name or directory of the base model.
        """
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": 0.0,
            "bias": "none",
            "inference_mode": True,
            "target_modules": sorted({layer.rpartition(".")[2] for layer in self.layers}),
        }
        views = _views(weights.detach().float().cpu().unsqueeze(0), self._shapes)
        tensors = {name: view[0].contiguous() for name, view in zip(self._names(), views, strict=True)}
        write_atomically(folder / "adapter_model.safetensors", save(tensors, metadata={"format": "pt"}))
        write_atomically(folder / "adapter_config.json", (json.dumps(config, indent=2) + "\n").encode())

    def load(self, folder: Path) -> Tensor:
        """Weights float32 [size] of an adapter in PEFT's format.

        Raises:
            FileNotFoundError: a file is missing.
            CorruptFileError: a file is damaged.
            ValueError: the adapter is for other layers, of another rank or of another scale.
        """
        files = [folder / name for name in ("adapter_config.json", "adapter_model.safetensors")]
        for file in files:
            if not file.is_file():
                raise FileNotFoundError(f"There is no file {file}; an adapter in PEFT's format has it.")
        try:
            config, tensors = json.loads(files[0].read_text()), load_file(files[1])
        except (ValueError, SafetensorError) as error:
            raise CorruptFileError(f"The adapter in {folder} is damaged: {error}") from error
        given = config.get("r"), config.get("lora_alpha"), bool(config.get("use_rslora") or config.get("use_dora"))
        if given != (self.rank, self.alpha, False):
            raise ValueError(
                f"The adapter in {folder} has r={given[0]}, lora_alpha={given[1]}{', rslora or dora' * given[2]}; these "
                f"students have rank={self.rank}, alpha={self.alpha}, and neither rslora nor dora."
            )
        shapes = dict(zip(self._names(), self._shapes, strict=True))
        wrong = [
            n for n in {**shapes, **tensors} if n not in shapes or n not in tensors or tensors[n].shape != shapes[n]
        ]
        if wrong:
            raise ValueError(
                f"The adapter in {folder} is for other layers: {wrong[0]} and {len(wrong) - 1} more differ."
            )
        return torch.cat([tensors[name].float().flatten() for name in shapes])
