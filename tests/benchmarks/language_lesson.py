"""One lesson of a language-model student: what it learned, what it was billed, how long it took, and the peak of memory.

OMP_NUM_THREADS=1 python tests/benchmarks/language_lesson.py --student hf:smollm2
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from typing import Any

import gymnasium as gym
import numpy as np
import torch

import kdgym  # noqa: F401  # registers the environments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", required=True, help="hf: and a directory, a prepared model or a hub id")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    begin = time.perf_counter()
    env: Any = gym.make(
        "kdgym/DataGen-Math-v0", student=args.student, radix=10, steps=args.steps, budget=args.steps * 96.0,
        dtype=args.dtype, device=args.device,
    ).unwrapped  # fmt: skip
    seen, _ = env.reset(seed=args.seed)
    action, done = env.action_space.encode(np.repeat(seen["target"], 4)), False  # all the money on what counts
    scores, losses = [], []
    while True:
        scores.append(round(float(seen["accuracy"] @ seen["target"]), 4))
        losses.append(round(float(seen["loss"] @ seen["target"]), 4))
        if done:
            break
        seen, _, done, _, _ = env.step(action)
    cost = {actor: {unit: float(spent) for unit, spent in units.items()} for actor, units in env.ledger().items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)  # bytes
    result = {
        "student": args.student,
        "dtype": args.dtype,
        "device": args.device,
        "threads": args.threads,
        "validation score": scores,
        "validation loss": losses,
        "seconds": round(time.perf_counter() - begin, 1),
        "peak memory, GB": round(peak / 1e9, 2),
        "cost": {actor: units for actor, units in cost.items() if any(units.values())},
    }
    if args.device.startswith("cuda"):
        result["peak GPU memory, GB"] = round(torch.cuda.max_memory_allocated(args.device) / 1e9, 2)
    print(json.dumps(result, indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
