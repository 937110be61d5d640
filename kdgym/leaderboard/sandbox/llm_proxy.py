"""The one way out of the sandbox, for agents that are language models: chat completions of one model at one endpoint.

The agent's process has no network. A Unix socket is bound into its file system. What comes through is read here, in the
verifier's process, and nothing of it is passed on as it is: `Request` says what an agent may ask, and a request is written
anew from that. It goes to the endpoint that the verifier named, with the verifier's key. Nothing that an agent sends chooses a
host, a path, a header, or a file or an address that the endpoint would fetch.
"""

from __future__ import annotations

import hashlib
import json
import os
import socketserver
import tempfile
import threading
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from kdgym.untrusted import printable

INSIDE = "/agent/endpoint"  # the socket, as the agent sees it
_PATH = "/v1/chat/completions"
_LARGEST_REQUEST, _LARGEST_SCHEMA, _LARGEST_RESPONSE = 2**20, 2**16, 2**23  # bytes, as JSON
_SECONDS = 300.0
_LONGEST_ANSWER, _USUAL_ANSWER = 4096, 512  # tokens
_BYTES_OF_A_TOKEN = 4  # in English, about
_OWN_FAULTS = (400, 413, 422)  # statuses that a request itself causes; all others are for the verifier to mend


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Message(_Strict):
    role: Literal["system", "user", "assistant"]
    content: str


class _NamedSchema(_Strict):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool = True

    @field_validator("schema_")
    @classmethod
    def _small_and_whole(cls, schema: dict[str, Any]) -> dict[str, Any]:
        size = len(json.dumps(schema, allow_nan=False))
        if size > _LARGEST_SCHEMA:
            raise ValueError(f"the schema has {size} characters; {_LARGEST_SCHEMA} are allowed")
        if any(not str(place).startswith("#") for place in _values(schema, "$ref")):
            raise ValueError("a $ref of the schema leads out of it; only those that begin with # are allowed")
        return schema


class _ResponseFormat(_Strict):
    type: Literal["json_schema", "json_object", "text"]
    json_schema: _NamedSchema | None = None


class Request(_Strict):
    """A chat completion as an agent may ask it; there is nothing else in what goes to the endpoint.

    ``n`` and ``stream`` may be said as they are anyway, and are left out of what is sent.
    """

    model: str
    messages: Annotated[list[_Message], Field(min_length=1, max_length=1000)]
    max_tokens: Annotated[int, Field(ge=1, le=_LONGEST_ANSWER)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=_LONGEST_ANSWER)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    response_format: _ResponseFormat | None = None
    n: Annotated[Literal[1] | None, Field(exclude=True)] = None
    stream: Annotated[Literal[False] | None, Field(exclude=True)] = None

    @model_validator(mode="after")
    def _one_length(self) -> Request:
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ValueError("give max_tokens or max_completion_tokens, not both")
        if self.max_tokens is None and self.max_completion_tokens is None:
            self.max_tokens = _USUAL_ANSWER
        return self

    def written(self) -> tuple[bytes, int]:
        """What goes to the endpoint, and how many tokens it may cost: those of the answer, and about those of the request.

        Raises:
            ValueError: a text holds half of a surrogate pair.
        """
        plain = self.model_dump(by_alias=True, exclude_none=True)
        content = json.dumps(plain, allow_nan=False, ensure_ascii=False).encode()
        return content, len(content) // _BYTES_OF_A_TOKEN + (self.max_tokens or self.max_completion_tokens or 0)


class LLMProxy:
    """Stands open while the ``with`` block runs.

    Args:
        base_url: of the endpoint, ``http://...`` or ``https://...``; its key comes from ``OPENAI_API_KEY``.
        model: the only one that may be asked.
        requests: how many are let through.
        tokens: how many these may cost together, see `Request.written`; a re-run of 64 students asks for some hundred thousand.

    Attributes:
        socket: where an agent knocks.
        passed, refused: requests so far.

    Raises:
        ValueError: ``base_url`` is none.
    """

    def __init__(self, base_url: str, model: str, requests: int = 20_000, tokens: int = 20_000_000) -> None:
        self._place = urlsplit(base_url)
        if self._place.scheme not in ("http", "https") or not self._place.hostname:
            raise ValueError(f"The endpoint is {base_url!r}; give http://... or https://...")
        self.model, self.left, self.tokens_left = model, requests, tokens
        self.passed = self.refused = 0
        self._unanswered: dict[bytes, str] = {}  # hash of a request -> what came instead of an answer
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory()  # which nobody else may enter
        self.socket = Path(self._folder.name) / "endpoint"
        self._key = os.environ.get("OPENAI_API_KEY", "")
        authorization = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._headers = {"Content-Type": "application/json", **authorization}
        self._server = _Server(str(self.socket), _Handler)
        self.socket.chmod(0o666)  # the agent is another user
        self._server.proxy = self
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> LLMProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._folder.cleanup()

    @property
    def failure(self) -> str:
        """What kept the endpoint from answering, in words; empty if all requests have answers, at once or when repeated."""
        with self._lock:
            reasons = list(self._unanswered.values())
        asked = f"{len(reasons)} of its {self.passed} requests"
        return f"{self._place.hostname} did not answer {asked} ({printable(reasons[-1], 80)})" if reasons else ""

    def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body for what an agent asks."""
        status, reason, content, tokens = self._read(path, body)
        with self._lock:
            if not reason and (self.left <= 0 or tokens > self.tokens_left):
                status, reason = 403, f"there are no {'requests' if self.left <= 0 else 'tokens'} left"
            self.refused += bool(reason)
            if not reason:
                self.passed, self.left, self.tokens_left = self.passed + 1, self.left - 1, self.tokens_left - tokens
        return (status, _error(reason)) if reason else self._pass_on(content)

    def _read(self, path: str, body: bytes) -> tuple[int, str, bytes, int]:
        """Status and reason of a refusal; or, where there is none, what to send and what it may cost."""
        if path != _PATH:
            return 403, f"only {_PATH} leads anywhere", b"", 0
        try:
            asked = Request.model_validate(json.loads(body.decode(), object_pairs_hook=_no_twins))
            if asked.model != self.model:
                return 403, f"the model of this agent is {self.model}, and no other", b"", 0
            return (0, "", *asked.written())
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the request"
            return 400, printable(f"{where}: {first['msg']}"), b"", 0
        except (ValueError, RecursionError) as error:
            return 400, printable(f"the request is no JSON that can be passed on ({error})"), b"", 0

    def _pass_on(self, body: bytes) -> tuple[int, bytes]:
        status, content = self._post(body)
        with self._lock:
            request = hashlib.sha256(body).digest()
            if 200 <= status < 300 or status in _OWN_FAULTS:
                self._unanswered.pop(request, None)
            else:
                self._unanswered[request] = f"status {status}: {content[:200].decode(errors='replace')}"
        return status, content

    def _post(self, body: bytes) -> tuple[int, bytes]:
        kind = HTTPSConnection if self._place.scheme == "https" else HTTPConnection
        connection = kind(self._place.hostname or "", self._place.port, timeout=_SECONDS)
        try:
            connection.request("POST", self._place.path.rstrip("/") + "/chat/completions", body, self._headers)
            response = connection.getresponse()  # wherever it may redirect to, nobody follows
            content = response.read(_LARGEST_RESPONSE + 1)
        except (HTTPException, OSError) as error:
            return 502, _error(f"the endpoint cannot be reached ({type(error).__name__})")
        finally:
            connection.close()
        if len(content) > _LARGEST_RESPONSE:
            return 502, _error(f"the endpoint's response is longer than {_LARGEST_RESPONSE} bytes")
        if self._key:  # some endpoints repeat the headers when they fail
            content = content.replace(self._key.encode(), b"[key]")
        return response.status, content


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, in which no key comes twice: another parser might take the other one."""
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("an object has the same key twice")
    return dict(pairs)


def _values(value: Any, key: str) -> list[Any]:
    """What stands under a key, anywhere in plain data."""
    if isinstance(value, list):
        return [found for item in value for found in _values(item, key)]
    if not isinstance(value, dict):
        return []
    return [found for name, item in value.items() for found in ([item] if name == key else _values(item, key))]


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
        if not length.isdecimal() or int(length) > _LARGEST_REQUEST:
            self.close_connection = True
            self._say(413, _error(f"give Content-Length, at most {_LARGEST_REQUEST}"))
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
