"""An agent in a process of its own that can reach nothing, under bubblewrap: how strangers' teachers are run.

No network (language models get a way to their one endpoint, see `llm_proxy`), a read-only file system in which there is
Python, kdgym and the agent and nothing else, an empty environment, no capabilities, no new processes (seccomp), and limits of
memory, CPU, files and wall time. It sees observations and gives actions, as JSON over pipes; the students, their scores and
the verifier's secrets are in the verifier's process.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import selectors
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from gymnasium import Space

from kdgym.leaderboard.sandbox.llm_proxy import INSIDE, LLMProxy
from kdgym.leaderboard.sandbox.wire import HEAD, LARGEST, pack, unpack
from kdgym.llm.chat import UNIX
from kdgym.plugins import plugin_packages
from kdgym.spaces import space_to_plain

_CLONE_THREAD = 0x00010000
_MIB = 1024**2
# What one needs to leave a sandbox, or to look into other processes; nothing that numpy, torch or an agent needs.
_FORBIDDEN = (
    "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev", "mount", "umount2", "unshare", "setns", "pivot_root",
    "bpf", "userfaultfd", "perf_event_open", "io_uring_setup", "keyctl", "add_key", "request_key", "open_by_handle_at",
)  # fmt: skip


class AgentSandboxError(ValueError):
    """The agent broke a rule, or broke down."""


@dataclass(frozen=True)
class Limits:
    """What an agent may use.

    Attributes:
        memory: bytes of address space; torch alone takes about 3 GiB of it, without using them.
        disk: bytes of its temporary folder, and of a file.
        cpu: seconds of processor time in all.
        start: seconds until it is loaded.
        act: seconds for a decision.
    """

    memory: int = 8 * 1024 * _MIB
    disk: int = 64 * _MIB
    cpu: int = 900
    start: float = 120.0
    act: float = 30.0


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
        RuntimeError: bubblewrap or libseccomp is missing; agents are never run without.
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
        self.limits = limits or Limits()
        inside = {path: f"/agent/{name}" for path, name in ((file, "agent.py"), (weights, _inside(weights))) if path}
        name = inside[file] if file else agent
        if weights:
            name = f"{name}:{inside[weights]}" if name else inside[weights]
        options = {}
        if endpoint is not None:
            inside[endpoint.socket] = INSIDE
            options = {"base_url": UNIX + INSIDE, "model": endpoint.model}
        with tempfile.TemporaryFile() as program, tempfile.TemporaryFile() as said:
            _write_filter(program)
            command = _command(inside, program.fileno(), self.limits)
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                pass_fds=(program.fileno(),),
                env={},
            )
            limit = self.limits
            rlimits = {"AS": limit.memory, "FSIZE": limit.disk, "CPU": limit.cpu, "NOFILE": 256, "CORE": 0}
            start = {
                "agent": name,
                "spaces": [space_to_plain(space) for space in spaces],
                "seed": seed,
                "options": options,
                "limits": rlimits,
            }
            try:
                self._ask(start, limit.start, "start")
            except AgentSandboxError as error:
                self.close()
                said.seek(0)
                words = _shown(said.read(1000).decode(errors="replace").strip())
                if words.startswith("bwrap:"):
                    raise RuntimeError(f"bubblewrap does not work on this machine: {words}") from error
                raise

    def study(self, metadata: dict[str, Any]) -> None:
        """Tell the agent what the environment says of itself."""
        told = {key: value for key, value in metadata.items() if isinstance(value, str | int | float | list)}
        self._ask({"call": "study", "given": [told]}, self.limits.act, "read about the environment")

    def reset(self, observation: Any) -> None:
        """An episode begins."""
        self._ask({"call": "reset", "given": [observation]}, self.limits.act, "begin an episode")

    def act(self, observation: Any) -> Any:
        """The agent's actions.

        Raises:
            AgentSandboxError: it did not answer in time, answered with something else than actions, or is no longer there.
        """
        return self._ask({"call": "act", "given": [observation]}, self.limits.act, "act")

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

    def _ask(self, request: dict[str, Any], seconds: float, what: str) -> Any:
        deadline = time.monotonic() + seconds
        late = AgentSandboxError(f"the agent took longer than {seconds:.0f} s to {what}")
        try:
            self._send(pack(request), deadline, late)
            (size,) = HEAD.unpack(self._receive(HEAD.size, deadline, late))
            if size > LARGEST:
                raise AgentSandboxError(f"the agent answered with {size} bytes; {LARGEST} are allowed")
            answer = unpack(self._receive(size, deadline, late))
        except AgentSandboxError:
            raise
        except ValueError as error:
            raise AgentSandboxError(
                f"the agent answered with something that cannot be read: {_shown(error)}"
            ) from error
        if isinstance(answer, dict) and set(answer) == {"failed"}:
            raise AgentSandboxError(f"the agent broke down: {_shown(answer['failed'])}")
        if not isinstance(answer, dict) or set(answer) != {"done"}:
            raise AgentSandboxError("the agent answered with something that is no answer")
        return answer["done"]

    def _send(self, content: bytes, deadline: float, late: AgentSandboxError) -> None:
        pipe = self._pipe(self._process.stdin)
        view = memoryview(content)
        while view:
            self._wait(pipe, selectors.EVENT_WRITE, deadline, late)
            try:
                view = view[os.write(pipe, view[:65536]) :]
            except BrokenPipeError as error:
                raise AgentSandboxError("the agent's process has ended") from error

    def _receive(self, size: int, deadline: float, late: AgentSandboxError) -> bytes:
        pipe, parts, missing = self._pipe(self._process.stdout), [], size
        while missing:
            self._wait(pipe, selectors.EVENT_READ, deadline, late)
            part = os.read(pipe, min(missing, _MIB))
            if not part:
                raise AgentSandboxError("the agent's process has ended, perhaps for want of memory or processor time")
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    @staticmethod
    def _pipe(stream: IO[bytes] | None) -> int:
        assert stream is not None
        os.set_blocking(stream.fileno(), False)
        return stream.fileno()

    @staticmethod
    def _wait(pipe: int, event: int, deadline: float, late: AgentSandboxError) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, event)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise late


def _inside(weights: Path | None) -> str:
    """Name of the weights within the sandbox: their own ending, which says what they are."""
    return "" if weights is None else f"weights{weights.suffix}"


def _shown(text: object) -> str:
    """Strangers' words for a terminal: printable, and not too many."""
    return "".join(c if c.isprintable() else "?" for c in str(text))[:300]


def _command(inside: dict[Path, str], filter_fd: int, limits: Limits) -> list[str]:
    """bubblewrap's arguments: what is visible, and what runs."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise RuntimeError(
            "Agents of strangers are run under bubblewrap, which is not installed (apt install bubblewrap); levels 0 and 1 "
            "need none."
        )
    homes = {sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")}
    homes |= {path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")}
    specs = [importlib.util.find_spec(name) for name in ("kdgym", "kdgym.agents", "kdgym.envs", *plugin_packages())]
    packages = {str(Path(path).resolve()) for spec in specs if spec for path in spec.submodule_search_locations or ()}
    system = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/alternatives")
    command = [bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"]
    for name, value in {
        "PATH": "/usr/bin:/bin", "HOME": "/tmp", "TMPDIR": "/tmp", "KDGYM_CACHE": "/tmp/kdgym", "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
    }.items():  # fmt: skip
        command += ["--setenv", name, value]
    size = ["--size", str(limits.disk), "--tmpfs"]  # first, as Python may lie in such a folder
    command += ["--proc", "/proc", "--dev", "/dev", *size, "/tmp", *size, "/dev/shm"]
    for path in (*system, *sorted(homes | packages)):
        if Path(path).exists():
            command += ["--ro-bind", path, path]
    for file, place in inside.items():
        command += ["--ro-bind", str(file.resolve(strict=True)), place]
    command += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp", "--seccomp", str(filter_fd)]
    return [*command, sys.executable, "-I", "-m", "kdgym.leaderboard.sandbox.agent_worker"]


def _write_filter(file: IO[bytes]) -> None:
    """A seccomp program that refuses new processes (threads are allowed) and whatever leads out of a sandbox."""
    try:
        import pyseccomp
    except (ImportError, RuntimeError, OSError) as error:  # RuntimeError: libseccomp.so is not there
        raise RuntimeError(
            f"Agents of strangers are run under a seccomp filter, which cannot be made here ({error}): pip install "
            "'kdgym[leaderboard]', and libseccomp from the system."
        ) from error
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for name in _FORBIDDEN:
        rules.add_rule(pyseccomp.ERRNO(errno.EPERM), name)
    rules.add_rule(pyseccomp.ERRNO(errno.EPERM), "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, _CLONE_THREAD, 0))
    rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")  # its flags cannot be seen; libc falls back to clone
    rules.export_bpf(file)
    file.seek(0)
