"""The one way out of the sandbox, for agents that are language models: chat completions of one model at one endpoint.

The agent's process has no network. A Unix socket is bound into its file system; what comes through is read here, in the
verifier's process, and only a chat completion of the model that the record names goes on, to the endpoint that the verifier
named, with the verifier's key. Nothing that an agent sends chooses a host, a path or a header.
"""

from __future__ import annotations

import json
import os
import socketserver
import tempfile
import threading
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

INSIDE = "/agent/endpoint"  # the socket, as the agent sees it
_PATH = "/v1/chat/completions"
_LARGEST = 8 * 1024**2  # bytes of a request, and of a response
_SECONDS = 300.0


class LLMProxy:
    """Stands open while the ``with`` block runs.

    Args:
        base_url: of the endpoint, ``http://...`` or ``https://...``; its key comes from ``OPENAI_API_KEY``.
        model: the only one that may be asked.
        requests: how many are let through.

    Attributes:
        socket: where an agent knocks.
        passed, refused: requests so far.

    Raises:
        ValueError: ``base_url`` is none.
    """

    def __init__(self, base_url: str, model: str, requests: int = 20_000) -> None:
        self._place = urlsplit(base_url)
        if self._place.scheme not in ("http", "https") or not self._place.hostname:
            raise ValueError(f"The endpoint is {base_url!r}; give http://... or https://...")
        self.model, self.left = model, requests
        self.passed = self.refused = 0
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory()
        self.socket = Path(self._folder.name) / "endpoint"
        key = os.environ.get("OPENAI_API_KEY")
        self._headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        self._server = _Server(str(self.socket), _Handler)
        self._server.proxy = self
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> LLMProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._folder.cleanup()

    def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body for what an agent asks."""
        reason = self._objection(path, body)
        with self._lock:
            if not reason and self.left <= 0:
                reason = "there are no requests left"
            self.refused += bool(reason)
            self.passed += not reason
            self.left -= not reason
        return (403, _error(reason)) if reason else self._pass_on(body)

    def _objection(self, path: str, body: bytes) -> str:
        if path != _PATH:
            return f"only {_PATH} leads anywhere"
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            return "the request is no JSON"
        if not isinstance(asked, dict) or asked.get("model") != self.model:
            return f"the model of this agent is {self.model}, and no other"
        return "answers come whole; leave out stream" if asked.get("stream") else ""

    def _pass_on(self, body: bytes) -> tuple[int, bytes]:
        kind = HTTPSConnection if self._place.scheme == "https" else HTTPConnection
        connection = kind(self._place.hostname or "", self._place.port, timeout=_SECONDS)
        try:
            connection.request("POST", self._place.path.rstrip("/") + "/chat/completions", body, self._headers)
            response = connection.getresponse()  # wherever it may redirect to, nobody follows
            content = response.read(_LARGEST + 1)
        except (HTTPException, OSError) as error:
            return 502, _error(f"the endpoint cannot be reached ({type(error).__name__})")
        finally:
            connection.close()
        if len(content) > _LARGEST:
            return 502, _error(f"the endpoint's response is longer than {_LARGEST} bytes")
        return response.status, content


def _error(reason: str) -> bytes:
    return json.dumps({"error": {"message": f"proxy: {reason}"}}).encode()


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    proxy: LLMProxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """An agent that hangs up, or dies, is no matter for the terminal."""


class _Handler(BaseHTTPRequestHandler):
    timeout = 60  # seconds to send a request
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        """Read a request of known length and answer it."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _LARGEST:
            self.close_connection = True
            self._say(413, _error(f"give Content-Length, at most {_LARGEST}"))
            return
        self._say(*self.server.proxy.answer(self.path, self.rfile.read(int(length))))

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Strangers' words do not go to the terminal."""
