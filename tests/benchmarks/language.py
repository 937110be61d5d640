"""One training step of a population of LoRA students, against PEFT: one adapter after the other, padded batches.

python tests/benchmarks/language.py --student hf:DIRECTORY --json tests/benchmarks/language.json
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor
from torch.nn import functional as F

from kdgym.students import Batch, make_students
from kdgym.students.language.packing import Item, pack
from kdgym.tasks import make_task
from kdgym.tasks.examination import draw_items


def packed_padding(students: Any, population: int = 8, batch: int = 8) -> float:
    """Share of what is read that is padding, when a population trains on batches of random problems."""
    task = students.task
    problem = draw_items(task, "train", torch.arange(population), 4)
    shuffled = torch.stack([row[torch.argsort(row * 7919 % 1009)] for row in problem])
    used = total = 0
    for part in shuffled.split(batch, dim=1):
        rows = [students.prompts.items(row, task.solution[row].tolist()) for row in part.tolist()]
        packed = pack(rows)
        used, total = used + packed.used, total + packed.tokens.numel()
    return 1 - used / total


def padded(items: list[Item], padding: int, device: torch.device) -> dict[str, Tensor]:
    """A batch as a data collator makes it."""
    longest = max(len(p) + len(a) for p, a in items)
    rows = [(p + a, [-100] * len(p) + a, [1] * (len(p) + len(a))) for p, a in items]
    names, fillers = ("input_ids", "labels", "attention_mask"), (padding, -100, 0)
    return {
        name: torch.tensor([[*row[i], *[filler] * (longest - len(row[i]))] for row in rows], device=device)
        for i, (name, filler) in enumerate(zip(names, fillers, strict=True))
    }


def peft_step(model: Any, optimiser: torch.optim.Optimizer, batch: dict[str, Tensor]) -> None:
    """What a training loop over a `PeftModel` does; the loss of an item is the mean over its answer."""
    labels = batch["labels"][:, 1:]
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    loss = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none", ignore_index=-100)
    (loss.sum(1) / (labels != -100).sum(1)).mean().backward()
    optimiser.step()
    optimiser.zero_grad()


def measure(step: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begin = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", required=True, help="hf: and a directory, a prepared model or a hub id")
    parser.add_argument("--students", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    task, s = make_task("Math"), args.students
    engine: Any = make_students(args.student, task, args.device, dtype=args.dtype, options={"batch": args.batch})
    device = engine.device
    problem = draw_items(task, "train", torch.arange(s, device=device), 4)[:, :: 56 // args.batch][:, : args.batch]
    answer, count = engine.solution[problem], torch.full((s,), args.batch)
    state = engine.initialise(torch.arange(s, device=device))
    rows = [engine.prompts.items(p, a) for p, a in zip(problem.tolist(), answer.tolist(), strict=True)]
    with tempfile.TemporaryDirectory() as folder:  # as many adapters in one PeftModel, trained one after the other
        for i in range(s):
            engine.export(state[i], Path(folder) / f"a{i}")
        from kdgym.students.language.pretrained import load_model

        load_model.cache_clear()
        base, tokenizer = load_model(engine.path, str(device), getattr(torch, args.dtype))
        model: Any = PeftModel.from_pretrained(base, Path(folder) / "a0", adapter_name="a0", is_trainable=True)
        for i in range(1, s):
            model.load_adapter(Path(folder) / f"a{i}", adapter_name=f"a{i}", is_trainable=True)
    c, named = engine.options, list(model.named_parameters())
    optimisers = [
        torch.optim.AdamW([p for n, p in named if f".a{i}." in n], lr=c.learning_rate, weight_decay=c.weight_decay)
        for i in range(s)
    ]
    batches = [padded(row, tokenizer.pad_token_id or 0, device) for row in rows]

    def separate() -> None:
        for i in range(s):
            model.set_adapter(f"a{i}")
            peft_step(model, optimisers[i], batches[i])

    def together() -> None:
        engine.train(state, Batch(problem, answer, count))

    ours, theirs = [], []
    for _ in range(args.repeats + 1):  # in turn, so that both meet the same machine; the first warms up
        theirs.append(measure(separate, device))
        ours.append(measure(together, device))
    packed = pack(rows)
    result = {
        "machine": platform.processor() or platform.machine(),
        "threads": args.threads,
        "device": args.device,
        "dtype": args.dtype,
        "students": s,
        "batch": args.batch,
        "seconds": {"population": statistics.median(ours[1:]), "peft": statistics.median(theirs[1:])},
        "ratio": statistics.median(a / b for a, b in zip(ours[1:], theirs[1:], strict=True)),
        "tokens": {
            "of all items alone": int(packed.length.sum()),
            "read by the population, padding included": packed.tokens.numel(),
            "read by PEFT, padding included": sum(batch["input_ids"].numel() for batch in batches),
        },
        "padding": {
            "population": round(packed_padding(engine, s, args.batch), 3),
            "PEFT": round(
                1 - sum(int(b["attention_mask"].sum()) for b in batches) / sum(b["input_ids"].numel() for b in batches),
                3,
            ),
        },
    }
    text = json.dumps(result, indent=2)
    print(text)  # noqa: T201
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
