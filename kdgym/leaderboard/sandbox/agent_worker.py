"""The process an agent runs in, under bubblewrap: reads frames, lets the agent act, writes frames. See `agent_sandbox`."""

from __future__ import annotations

import os
import resource
import sys
from types import SimpleNamespace
from typing import Any, BinaryIO

from kdgym.leaderboard.sandbox.wire import HEAD, pack, unpack


def _read(stream: BinaryIO) -> Any:
    """The next frame; the verifier's end of the pipe is closed when there is none."""
    head = stream.read(HEAD.size)
    if len(head) < HEAD.size:
        sys.exit(0)
    return unpack(stream.read(*HEAD.unpack(head)))


def _limit(limits: dict[str, int]) -> None:
    """For good: there is no capability here to raise them again."""
    for name, amount in limits.items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (amount, amount))


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    first = _read(requests)
    _limit(first["limits"])
    from kdgym.evaluation import load_agent  # within the limits
    from kdgym.spaces import space_from_plain

    observed, allowed = map(space_from_plain, first["spaces"])
    seen: Any = SimpleNamespace(single_observation_space=observed, single_action_space=allowed)
    answers.write(pack({"done": None}))  # the sandbox works: what goes wrong from here on is the agent's own
    answers.flush()
    agent: Any = load_agent(first["agent"], seen, seed=first["seed"], options=first["options"])
    answers.write(pack({"done": None}))
    answers.flush()
    while True:
        request = _read(requests)
        method = getattr(agent, request["call"], None)
        result = None if method is None else method(*request["given"])
        answers.write(pack({"done": result if request["call"] == "act" else None}))
        answers.flush()


def main() -> None:
    """Keep the pipes for frames; the output of the agent is discarded."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    try:
        _serve(requests, answers)
    except Exception as error:  # whatever it is, the verifier is told
        answers.write(pack({"failed": f"{type(error).__name__}: {error}"[:500]}))
        answers.flush()


if __name__ == "__main__":
    main()
