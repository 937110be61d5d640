"""Many requests in flight at an endpoint: wall time, and the client's own processor time, by how many are in flight.

python tests/benchmarks/endpoint.py --base-url http://127.0.0.1:8000/v1 --model smollm2
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

from kdgym.llm.endpoint import Endpoint


def measure(url: str, model: str, requests: int, concurrency: int) -> tuple[float, float]:
    """Seconds by the clock and of this process, for short questions with one token of answer each."""
    asked = [[{"role": "user", "content": f"Repeat the number {i}."}] for i in range(requests)]
    endpoint = Endpoint(url, model, concurrency=concurrency)
    wall, own = time.perf_counter(), time.process_time()
    answers = endpoint.answer(asked, max_tokens=1)
    wall, own = time.perf_counter() - wall, time.process_time() - own
    lost = [answer.error for answer in answers if not answer.completion_tokens]
    if lost:
        raise ConnectionError(f"{len(lost)} of {requests} requests had no answer: {lost[0]}")
    return wall, own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[8, 32, 256])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    rounds = [  # in turn, so that all meet the same machine; the first warms up
        [measure(args.base_url, args.model, args.requests, n) for n in args.in_flight] for _ in range(args.repeats + 1)
    ][1:]
    medians = {
        n: [round(statistics.median(one[i][j] for one in rounds), 2) for j in range(2)]
        for i, n in enumerate(args.in_flight)
    }
    result = {n: {"seconds": wall, "client's processor seconds": own} for n, (wall, own) in medians.items()}
    print(json.dumps({"requests": args.requests, "in flight": result}, indent=2))  # noqa: T201


if __name__ == "__main__":
    main()
