"""LoRA populations of a 0.5B-shaped model against single runs of PEFT on packed sequences, and against the base's own passes.

The weights are random, which changes nothing about the time. The single run is the strongest baseline: `transformers` packs its
items without padding and computes logits only where answers are predicted, the adapter is in the base's type, and AdamW is
fused. S runs take S times as long as one. Its losses are compared with the population's before anything is timed.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from characters import write_tokenizer
from devices import by_size, clock, in_turn, limits
from peft import PeftModel
from report import Part
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, DataCollatorWithFlattening, Qwen2Config

from kdgym.students import Batch, make_students
from kdgym.students.language.packing import Item, pack
from kdgym.tasks import make_task
from kdgym.tasks.examination import draw_items

SIZES, QUICK_SIZES = (1, 4, 16, 64), (1, 2)
ROUNDS, QUICK_ROUNDS = 5, 2
BATCH, QUICK_BATCH = 8, 2  # items of one update
MOST_TOKENS = 1 << 16  # of one forward pass: all students together
TOLERANCE = 0.1  # of a loss in nats: bfloat16, summed in another order
QWEN = {  # Qwen2.5-0.5B
    "hidden_size": 896,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "intermediate_size": 4864,
    "vocab_size": 151_936,
}
QUICK_QWEN = {  # heads of the same width, 64, which attention kernels depend on
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 64,
    "vocab_size": 128,
}


def write_random_model(folder: Path, device: torch.device, quick: bool) -> Path:
    """A model of that shape with random weights in bfloat16, and a tokenizer of characters, in a directory."""
    shape = QUICK_QWEN if quick else QWEN
    write_tokenizer(folder, shape["vocab_size"])
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = Qwen2Config(**shape, **special, max_position_embeddings=4096, tie_word_embeddings=True)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    return folder


def single_run(folder: Path, adapter: Path, items: list[Item], engine: Any) -> tuple[Callable[[], Tensor], Tensor]:
    """A training step of one PEFT adapter on items packed by transformers; and the items' losses before it."""
    device, c = engine.device, engine.options
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa").to(device)
    model: Any = PeftModel.from_pretrained(base, adapter, is_trainable=True, autocast_adapter_dtype=False)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    fused = device.type == "cuda"
    optimiser = torch.optim.AdamW(learned, c.learning_rate, (c.beta1, c.beta2), c.epsilon, c.weight_decay, fused=fused)
    rows = [{"input_ids": p + a, "labels": [-100] * len(p) + a} for p, a in items]
    batch = {name: part.to(device) for name, part in DataCollatorWithFlattening()(rows, return_tensors="pt").items()}
    place = (batch["labels"][0] != -100).nonzero().squeeze(1)
    target, item = batch["labels"][0, place], (batch["position_ids"][0] == 0).cumsum(0)[place] - 1
    length = torch.bincount(item)

    def losses() -> Tensor:
        ids, position = batch["input_ids"], batch["position_ids"]
        logits = model(input_ids=ids, position_ids=position, logits_to_keep=place - 1, use_cache=False).logits[0]
        token_loss = F.cross_entropy(logits.float(), target, reduction="none")
        return torch.zeros(len(items), device=device).index_add(0, item, token_loss) / length

    def step() -> Tensor:
        loss = losses()
        loss.mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        return loss

    with torch.no_grad():
        return step, losses()


def base_passes(engine: Any, rows: list[list[Item]]) -> dict[str, Callable[[], object]]:
    """The frozen base's own forward pass over what the population reads, and both passes, down to its input."""
    packed = pack(rows).to(engine.device)
    embedded, mask = engine.model.get_input_embeddings()(packed.tokens).detach(), packed.mask()

    def forward() -> Tensor:
        arguments = {"position_ids": packed.position, "attention_mask": mask, "use_cache": False}
        hidden = engine.backbone(inputs_embeds=embedded, **arguments).last_hidden_state
        loss: Tensor = F.cross_entropy(engine.speak(hidden[packed.row, packed.slot]), packed.target)
        return loss

    def both() -> None:
        embedded.requires_grad_()
        torch.autograd.grad(forward(), embedded)

    return {"base_forward": torch.no_grad()(forward), "base_both": both}


def measure(part: Part, device: torch.device, quick: bool) -> None:
    """A row per number of students: one update of each."""
    task, number = make_task("Math"), QUICK_ROUNDS if quick else ROUNDS
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = write_random_model(Path(name) / "base", device, quick)
        options = {"batch": QUICK_BATCH if quick else BATCH, "most_tokens": MOST_TOKENS}
        engine: Any = make_students(f"hf:{folder}", task, str(device), dtype="bfloat16", options=options)
        part.keep(shape=QUICK_QWEN if quick else QWEN, dtype="bfloat16", batch=options["batch"], rows=rows)
        limit = limits(device, torch.bfloat16)

        def measure_row(row: dict[str, Any]) -> None:
            row |= _measure_population(part, engine, folder, row["students"], number, limit)

        by_size(part, rows, QUICK_SIZES if quick else SIZES, measure_row)


def _measure_population(
    part: Part, engine: Any, folder: Path, students: int, number: int, limit: dict[str, Callable[[], float]]
) -> dict[str, Any]:
    device, batch = engine.device, engine.options.batch
    problem = draw_items(engine.task, "train", torch.arange(students, device=device), 1)[:, :batch]
    answer, count = engine.solution[problem], torch.full((students,), batch, device=device)
    items = [engine.prompts.items(p, a) for p, a in zip(problem.tolist(), answer.tolist(), strict=True)]
    state = engine.initialise(torch.arange(students, device=device))

    def population() -> Tensor:
        losses: Tensor = engine.train(state, Batch(problem, answer, count))
        return losses

    population()  # so that adapters are no longer zero
    with tempfile.TemporaryDirectory() as adapter:
        engine.export(state[0], Path(adapter))
        single, expected = single_run(folder, Path(adapter), items[0], engine)
    torch.testing.assert_close(population()[0], expected, atol=TOLERANCE, rtol=0)
    measured = {"population": population, "single_run": single, **base_passes(engine, items)}
    rounds = in_turn(part, number, {**limit, **{name: clock(run, device) for name, run in measured.items()}})
    packed = pack(items)
    tokens = {"population": packed.used, "runs": int(packed.length.sum()) - packed.answer_length.numel()}
    head = 2 * engine.model.get_output_embeddings().weight.numel()  # computed where answers are predicted alone
    forward_flops = (engine.flops_per_token - head) * packed.used + head * len(packed.target)
    flops = engine.training_flops * forward_flops

    def median(figure: Callable[[dict[str, float]], float]) -> float:
        return statistics.median(map(figure, rounds))

    return {
        "rounds": rounds,
        "tokens_read": tokens,
        "updates_per_s": median(lambda r: students / r["population"]),
        "updates_per_s_of_single_runs": median(lambda r: 1 / r["single_run"]),
        "population_to_single_runs": median(lambda r: students * r["single_run"] / r["population"]),
        "seconds_to_base_both": median(lambda r: r["population"] / r["base_both"]),
        "share_of_matmul": median(lambda r: flops / r["population"] / r["matmul_flops"]),
    }
