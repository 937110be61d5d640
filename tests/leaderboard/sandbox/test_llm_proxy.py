"""Language models in the sandbox: they reach the one model at the one endpoint, and nothing else."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import kdgym  # noqa: F401  # registers the environments
from kdgym.leaderboard.record import load_record
from kdgym.leaderboard.rerun import rerun
from kdgym.leaderboard.sandbox.agent_sandbox import AgentSandbox, AgentSandboxError, Limits
from kdgym.leaderboard.sandbox.llm_proxy import INSIDE, LLMProxy
from kdgym.leaderboard.submit import make_record

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")]
ID = "kdgym/DataGen-Math-v0"


class _Endpoint(BaseHTTPRequestHandler):
    """Answers every question with one purchase, as an OpenAI-compatible server does; remembers what it was asked."""

    asked: list[tuple[str, str | None, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, self.headers["Authorization"], body["model"]))
        self.send_response(302 if "redirect" in str(body) else 200)
        said = {"role": "assistant", "content": json.dumps({"buy": [{"skill": "add", "source": 1, "percent": 100}]})}
        answer = {"choices": [{"index": 0, "finish_reason": "stop", "message": said}]}
        text = json.dumps({**answer, "usage": {"prompt_tokens": 7, "completion_tokens": 5}}).encode()
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[Any]]]:
    """A server on this machine's loopback, and what it was asked."""
    monkeypatch.setenv("OPENAI_API_KEY", "the verifier's")
    handler: Any = type("Endpoint", (_Endpoint,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", handler.asked
        server.shutdown()


KNOCK = f"""
import json, os, socket

class Agent:
    options = ("base_url", "model")

    def __init__(self, observation_space, action_space, seed=0, base_url="", model=""):
        self.model = model

    def knock(self, path, model, word=""):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect({INSIDE!r})
            body = json.dumps({{"model": model, "messages": [word]}}).encode()
            head = f"POST {{path}} HTTP/1.0\\r\\nHost: example.org\\r\\nAuthorization: mine\\r\\nContent-Length: {{len(body)}}"
            s.sendall(head.encode() + b"\\r\\n\\r\\n" + body)
            return s.makefile("rb").read().split(b" ", 2)[1].decode()

    def act(self, observation):
        way = "/v1/chat/completions"
        found = [self.knock(way, self.model), self.knock(way, "another"), self.knock("/v1/files", self.model),
                 self.knock("http://127.0.0.1:1" + way, self.model), self.knock(way, self.model, "redirect")]
        try:
            socket.create_connection(("127.0.0.1", PORT), 2)
            found.append("a socket")
        except OSError:
            found.append("nothing")
        raise ValueError(",".join(found) + "," + os.environ.get("OPENAI_API_KEY", "no key"))
"""


def test_the_sandbox_opens_on_one_model_at_one_endpoint(endpoint: tuple[str, list[Any]], tmp_path: Path) -> None:
    """Other paths, models and hosts are refused, redirections are not followed, headers are the verifier's."""
    url, asked = endpoint
    file = tmp_path / "agent.py"
    file.write_text(KNOCK.replace("PORT", url.rpartition(":")[2].removesuffix("/v1")))
    envs: Any = gym.make_vec(ID, num_envs=1)
    spaces = envs.single_observation_space, envs.single_action_space
    with (
        LLMProxy(url, "a/model") as proxy,
        AgentSandbox("", spaces, file, endpoint=proxy, limits=Limits(start=60)) as sandbox,
    ):
        with pytest.raises(AgentSandboxError, match="200,403,403,403,302,nothing,no key"):
            sandbox.act({})
        assert (proxy.passed, proxy.refused) == (2, 3)
    assert asked == [("/v1/chat/completions", "Bearer the verifier's", "a/model")] * 2
    assert not proxy.socket.exists()


def test_a_doorway_counts_and_says_what_is_wrong(endpoint: tuple[str, list[Any]]) -> None:
    way, body = "/v1/chat/completions", json.dumps({"model": "m"}).encode()
    with LLMProxy(endpoint[0], "m", requests=1) as proxy:
        assert proxy.answer(way, body)[0] == 200
        status, said = proxy.answer(way, body)
        assert (status, json.loads(said)["error"]["message"]) == (403, "proxy: there are no requests left")
        assert b"no JSON" in proxy.answer(way, b"{")[1]
        assert b"leave out stream" in proxy.answer(way, json.dumps({"model": "m", "stream": True}).encode())[1]
    with LLMProxy("http://127.0.0.1:9/v1", "m") as proxy:
        status, said = proxy.answer(way, body)
        assert status == 502
        assert b"cannot be reached" in said
    with pytest.raises(ValueError, match="give http"):
        LLMProxy("file:///etc/passwd", "m")


def test_a_language_models_record_is_run_again_at_its_endpoint(endpoint: tuple[str, list[Any]], tmp_path: Path) -> None:
    """From submission to level 2; the model is this test's own, which always buys the same."""
    url, asked = endpoint
    options = {"base_url": url, "model": "equal/weights"}
    make_record(ID, "llm", "asks", ["Ada"], kind="llm", model="equal/weights", options=options).save(
        tmp_path / "a.json"
    )
    record = load_record(tmp_path / "a.json")
    assert sum(record.outcome.cost["teacher"]["tokens"]) == 12 * len(asked)
    before = len(asked)
    found = rerun(record, 2, base_url=url)
    assert len(asked) == before + 2 * 12
    assert "of 2 new students" in found.text
