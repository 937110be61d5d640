"""An agent in a process of its own that can reach nothing: how strangers' teachers are run.

No network (language models get a way to their one endpoint, see `llm_proxy`), a read-only file system in which there is
Python, kdgym and the agent and nothing else, an empty environment, no capabilities, no new processes, and limits of memory,
CPU, threads, files and wall time; see `bubblewrap`. It sees observations and gives actions, as JSON over pipes; the students,
their scores and the verifier's secrets are in the verifier's process. What it answers is checked before anything else gets it.
"""

from __future__ import annotations

import os
import selectors
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from gymnasium import Space

from kdgym.leaderboard.sandbox import bubblewrap
from kdgym.leaderboard.sandbox.bubblewrap import Limits
from kdgym.leaderboard.sandbox.llm_proxy import INSIDE, LLMProxy
from kdgym.leaderboard.sandbox.wire import HEAD, SHORTEST, checked_answer, longest, pack, unpack
from kdgym.llm.chat import UNIX
from kdgym.spaces import space_to_plain
from kdgym.untrusted import printable

__all__ = ["AgentSandbox", "AgentSandboxError", "Limits"]

_WORKER = "kdgym.leaderboard.sandbox.agent_worker"
_AT_ONCE = 65536  # bytes of a read or a write


class AgentSandboxError(ValueError):
    """The agent broke a rule, or broke down."""


class AgentSandbox:
    """A teacher that acts in another process; for the rest, an agent like any other. Close it, or use it in a ``with``.

    Args:
        agent: a packaged agent's name, or empty where ``file`` or ``weights`` say who it is.
        spaces: of one student's observations and actions.
        file: the agent's code; None of packaged agents and of SB3 zips.
        weights: its weights, if it has any.
        limits: what it may use.
        seed: it is made with.
        endpoint: the way to its language model, if it is one.

    Raises:
        RuntimeError: the sandbox cannot be made on this machine; agents are never run without.
        AgentSandboxError: the agent cannot be loaded.
    """

    def __init__(
        self,
        agent: str,
        spaces: tuple[Space[Any], Space[Any]],
        file: Path | None = None,
        weights: Path | None = None,
        limits: Limits | None = None,
        seed: int = 0,
        endpoint: LLMProxy | None = None,
    ) -> None:
        self.limits, self._space = limits or Limits(), spaces[1]
        files = {f"/agent/{name}": path for path, name in ((file, "agent.py"), (weights, _inside(weights))) if path}
        name = "/agent/agent.py" if file else agent
        if weights:
            name = f"{name}:/agent/{_inside(weights)}".removeprefix(":")
        options, sockets = {}, {}
        if endpoint is not None:
            sockets[INSIDE] = endpoint.socket
            options = {"base_url": UNIX + INSIDE, "model": endpoint.model}
        plain = [space_to_plain(space) for space in spaces]
        told = {"agent": name, "spaces": plain, "seed": seed, "options": options, "limits": self.limits.of_process()}
        with tempfile.TemporaryFile() as said:
            self._process = bubblewrap.start(_WORKER, self.limits, files, sockets, said)
            try:
                self._make_ready(told, said)
                self._answer(_Deadline(self.limits.start, "start"), SHORTEST)
            except BaseException:
                self.close()
                raise

    def study(self, metadata: dict[str, Any]) -> None:
        """Tell the agent what the environment says of itself."""
        told = {key: value for key, value in metadata.items() if isinstance(value, str | int | float | list)}
        self._ask({"call": "study", "given": [told]}, self.limits.act, "read about the environment")

    def reset(self, observation: Any) -> None:
        """An episode begins."""
        self._ask({"call": "reset", "given": [observation]}, self.limits.act, "begin an episode")

    def act(self, observation: Any) -> Any:
        """The agent's actions: finite numbers [S, ...] or S texts. Whether they are within the space, the environment says.

        Raises:
            AgentSandboxError: it did not answer in time, answered with something else than actions, or is no longer there.
        """
        seen = next(iter(observation.values())) if isinstance(observation, dict) else observation
        students = len(seen)
        most = longest(self._space, students)
        answer = self._ask({"call": "act", "given": [observation]}, self.limits.act, "act", most)
        try:
            return checked_answer(answer, self._space, students)
        except ValueError as error:
            raise AgentSandboxError(f"the agent's answer is no action: {printable(error)}") from error

    def after_step(self, reward: Any, done: Any) -> None:
        """A step is over."""
        self._ask({"call": "after_step", "given": [reward, done]}, self.limits.act, "take in what came of a step")

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:  # it had stopped reading
                    continue
        self._process.wait()

    def __enter__(self) -> AgentSandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _make_ready(self, told: dict[str, Any], said: IO[bytes]) -> None:
        """Wait until the worker is there. Nothing of the agent's runs yet, so that what fails is the machine's fault."""
        try:
            self._ask(told, self.limits.start, "start")
        except AgentSandboxError as error:
            self.close()
            said.seek(0)
            words = said.read().decode(errors="replace").strip().rpartition("\n")[2]  # of a traceback, what happened
            raise RuntimeError(
                f"The sandbox for strangers' agents does not work on this machine: {printable(words or error)}"
            ) from error

    def _ask(self, request: dict[str, Any], seconds: float, what: str, most: int = SHORTEST) -> Any:
        deadline = _Deadline(seconds, what)
        self._send(pack(request), deadline)
        return self._answer(deadline, most)

    def _answer(self, deadline: _Deadline, most: int) -> Any:
        (size,) = HEAD.unpack(self._receive(HEAD.size, deadline))
        if size > most:
            raise AgentSandboxError(f"the agent answered with {size} bytes; {most} are allowed")
        try:
            answer = unpack(self._receive(size, deadline))
        except AgentSandboxError:
            raise
        except ValueError as error:
            raise AgentSandboxError(
                f"the agent answered with something that cannot be read: {printable(error)}"
            ) from error
        if isinstance(answer, dict) and set(answer) == {"failed"} and isinstance(answer["failed"], str):
            raise AgentSandboxError(f"the agent broke down: {printable(answer['failed'])}")
        if not isinstance(answer, dict) or set(answer) != {"done"}:
            raise AgentSandboxError("the agent answered with something that is no answer")
        return answer["done"]

    def _send(self, content: bytes, deadline: _Deadline) -> None:
        pipe, view = self._pipe(self._process.stdin), memoryview(content)
        while view:
            deadline.wait(pipe, selectors.EVENT_WRITE)
            try:
                view = view[os.write(pipe, view[:_AT_ONCE]) :]
            except BlockingIOError:  # the agent writes into it, too
                continue
            except BrokenPipeError as error:
                raise AgentSandboxError("the agent's process has ended") from error

    def _receive(self, size: int, deadline: _Deadline) -> bytes:
        pipe, content = self._pipe(self._process.stdout), bytearray()
        while len(content) < size:
            deadline.wait(pipe, selectors.EVENT_READ)
            try:
                part = os.read(pipe, min(size - len(content), _AT_ONCE))
            except BlockingIOError:  # the agent reads from it, too
                continue
            if not part:
                raise AgentSandboxError("the agent's process has ended, perhaps for want of memory or processor time")
            content += part
        return bytes(content)

    @staticmethod
    def _pipe(stream: IO[bytes] | None) -> int:
        assert stream is not None
        os.set_blocking(stream.fileno(), False)
        return stream.fileno()


class _Deadline:
    """Until when the agent has to have done something."""

    def __init__(self, seconds: float, what: str) -> None:
        self._end = time.monotonic() + seconds
        self._words = f"the agent took longer than {seconds:.0f} s to {what}"

    def wait(self, pipe: int, event: int) -> None:
        """Wait until the pipe can be read or written.

        Raises:
            AgentSandboxError: it is too late.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, event)
            left = self._end - time.monotonic()
            if left <= 0 or not selector.select(left):
                raise AgentSandboxError(self._words)


def _inside(weights: Path | None) -> str:
    """Name of the weights within the sandbox: their own ending, which says what they are."""
    return "" if weights is None else f"weights{weights.suffix}"
