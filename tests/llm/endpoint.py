"""A small server that speaks OpenAI's chat completions, and fails where it is told to."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-this-is-the-only-valid-key"
MODEL = "a/model"
Fault = int | str | None  # a status; reset, html, quota, cut; or none


def example(schema: dict[str, Any], root: dict[str, Any] | None = None) -> Any:
    """The smallest value of a JSON schema, as pydantic writes them."""
    root = schema if root is None else root
    if "$ref" in schema:
        return example(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema:
        return example(schema["anyOf"][0], root)
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object":
        return {name: example(inner, root) for name, inner in schema["properties"].items()}
    if kind == "array":
        return [example(schema["items"], root)] * schema.get("minItems", 0)
    return {"integer": schema.get("minimum", 0), "number": schema.get("minimum", 0), "boolean": True, "string": "x"}[
        str(kind)
    ]


class FakeEndpoint(ThreadingHTTPServer):
    """Answers with ``reply(request)``; of one schema's smallest value, if nothing else is said.

    Attributes:
        asked: what arrived, in order.
        fault: what goes wrong with the request of this number, from 0.
        said: what it says where something goes wrong; by default it repeats the key.
        headers: further ones of every response.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[dict[str, Any]] = []
        self.fault: Callable[[int], Fault] = lambda number: None
        self.reply: Callable[[dict[str, Any]], Any] = lambda asked: example(
            asked["response_format"]["json_schema"]["schema"]
        )
        self.said = ""
        self.headers: dict[str, str] = {}
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeEndpoint

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            fault = self.server.fault(len(self.server.asked))
            self.server.asked.append(asked)
        key = self.headers["Authorization"].removeprefix("Bearer ")
        if fault == "reset":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif fault == "html":
            self.say(200, f"<html>It works! {self.server.said}</html>".encode(), "text/html")
        elif fault == "quota":
            self.error(429, "You have no money left.", "insufficient_quota")
        elif isinstance(fault, int):
            self.error(fault, self.server.said or f"No. The key was {key}.")
        elif self.path != "/v1/chat/completions":
            self.error(404, "There is nothing here.")
        elif key != KEY:
            self.error(401, f"Incorrect API key provided: {key}.")
        elif asked["model"] != MODEL:
            self.error(404, f"The model `{asked['model']}` does not exist.")
        else:
            said = {"role": "assistant", "content": json.dumps(self.server.reply(asked))}
            choice = {"index": 0, "finish_reason": "length" if fault == "cut" else "stop", "message": said}
            usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
            self.say(200, json.dumps({"choices": [choice], "usage": usage}).encode())

    def error(self, status: int, message: str, code: str | None = None) -> None:
        self.say(status, json.dumps({"error": {"message": message, "code": code}}).encode())

    def say(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        headers: dict[str, Any] = {
            "Content-Type": kind,
            "Content-Length": len(body),
            "Retry-After-Ms": 1,
        } | self.server.headers
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[FakeEndpoint]:
    """A server on this machine's loopback."""
    with FakeEndpoint() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()
