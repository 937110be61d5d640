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
from kdgym.leaderboard.rerun import RerunError, rerun
from kdgym.leaderboard.sandbox.agent_sandbox import AgentSandbox, AgentSandboxError, Limits
from kdgym.leaderboard.sandbox.llm_proxy import INSIDE, LLMProxy
from kdgym.leaderboard.submit import make_record

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")]
ID = "kdgym/DataGen-Math-v0"


class _Endpoint(BaseHTTPRequestHandler):
    """Answers every question with one purchase, as an OpenAI-compatible server does; remembers what it was asked."""

    asked: list[tuple[str, str | None, Any]]
    bodies: list[bytes]
    statuses: list[int]  # of the next answers; 200 after them

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.loads(self.bodies[-1])
        self.asked.append((self.path, self.headers["Authorization"], body["model"]))
        said = body["messages"][-1]["content"]
        self.send_response(302 if said == "redirect" else self.statuses.pop(0) if self.statuses else 200)
        bought = {"role": "assistant", "content": json.dumps({"buy": [{"skill": "add", "source": 1, "percent": 100}]})}
        answer = {"choices": [{"index": 0, "finish_reason": "stop", "message": bought}]}
        text = json.dumps({**answer, "usage": {"prompt_tokens": 7, "completion_tokens": 5}}).encode()
        text = self.headers.as_bytes() if said == "tell" else text
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A server on this machine's loopback: ``url``, what it was ``asked``, the ``bodies`` of that, ``statuses`` to come."""
    monkeypatch.setenv("OPENAI_API_KEY", "the verifier's")
    handler: Any = type("Endpoint", (_Endpoint,), {"asked": [], "bodies": [], "statuses": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        handler.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        yield handler
        server.shutdown()


@pytest.fixture
def endpoint(server: Any) -> tuple[str, list[Any]]:
    return server.url, server.asked


KNOCK = f"""
import json, os, socket

class Agent:
    options = ("base_url", "model")

    def __init__(self, observation_space, action_space, seed=0, base_url="", model=""):
        self.model = model

    def knock(self, path, model, word=""):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect({INSIDE!r})
            body = json.dumps({{"model": model, "messages": [{{"role": "user", "content": word}}]}}).encode()
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
    seen, _ = envs.reset(seed=0)
    with (
        LLMProxy(url, "a/model") as proxy,
        AgentSandbox("", spaces, file, endpoint=proxy, limits=Limits(start=60)) as sandbox,
    ):
        with pytest.raises(AgentSandboxError, match="200,403,403,403,302,nothing,no key"):
            sandbox.act(seen)
        assert (proxy.passed, proxy.refused) == (2, 3)
    assert asked == [("/v1/chat/completions", "Bearer the verifier's", "a/model")] * 2
    assert not proxy.socket.exists()


WAY = "/v1/chat/completions"
ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def written(**more: Any) -> bytes:
    return json.dumps({**ASKED, **more}).encode()


def schema(inner: Any, **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": inner, "strict": True, **more}}


def test_the_proxy_counts_and_says_what_is_wrong(server: Any) -> None:
    with LLMProxy(server.url, "m", requests=1) as proxy:
        assert proxy.answer(WAY, written())[0] == 200
        status, said = proxy.answer(WAY, written())
        assert (status, json.loads(said)["error"]["message"]) == (403, "proxy: there are no requests left")
        assert b"no JSON" in proxy.answer(WAY, b"{")[1]
    with pytest.raises(ValueError, match="give http"):
        LLMProxy("file:///etc/passwd", "m")


def test_tokens_are_capped_over_all_requests(server: Any) -> None:
    """Those of the answer as asked, those of the request by its length, also where no length is given."""
    with LLMProxy(server.url, "m", tokens=1000) as proxy:
        assert proxy.answer(WAY, written(max_tokens=900))[0] == 200
        status, said = proxy.answer(WAY, written(max_tokens=100))
        assert (status, json.loads(said)["error"]["message"]) == (403, "proxy: there are no tokens left")
        assert proxy.answer(WAY, written(max_tokens=10))[0] == 200
        assert proxy.answer(WAY, written())[0] == 403
    with LLMProxy(server.url, "m", tokens=1000) as proxy:
        long = [{"role": "user", "content": "word " * 1000}]
        assert proxy.answer(WAY, written(max_tokens=1, messages=long))[0] == 403


REFUSED: dict[str, bytes] = {
    "the model twice": b'{"model": "expensive", "model": "m", "messages": [{"role": "user", "content": "x"}]}',
    "a message's words twice": b'{"model": "m", "messages": [{"role": "user", "content": "x", "content": "y"}]}',
    "the model in other letters": written(MODEL="expensive"),
    "the messages in other letters": written(Messages=[]),
    "no messages": b'{"model": "m"}',
    "empty messages": written(messages=[]),
    "messages of something else": written(messages=["hello"]),
    "an address": written(
        messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]
    ),
    "parts of text": written(messages=[{"role": "user", "content": [{"type": "text", "text": "x"}]}]),
    "a tool's role": written(messages=[{"role": "tool", "content": "x"}]),
    "a message with a name": written(messages=[{"role": "user", "content": "x", "name": "y"}]),
    "half a surrogate pair": written(messages=[{"role": "user", "content": "\ud800"}]),
    "an endless answer": written(max_tokens=10**9),
    "an endless answer by its new name": written(max_completion_tokens=10**9),
    "two lengths": written(max_tokens=1, max_completion_tokens=1),
    "no answer": written(max_tokens=0),
    "a length that is a text": written(max_tokens="5"),
    "a length that is a truth value": written(max_tokens=True),
    "many answers": written(n=100_000),
    "a stream": written(stream=True),
    "heat": written(temperature=3),
    "a temperature that is no number": written(temperature=float("nan")),
    "a temperature that is infinite": b'{"temperature": 1e999,' + written()[1:],
    "a seed without an end": written(seed=10**30),
    "many stops": written(stop=["a"] * 5),
    "tools": written(tools=[{"type": "web_search"}]),
    "an adapter": written(lora_request={"path": "/"}),
    "a template": written(chat_template="{{ 1 }}"),
    "a body beside": written(extra_body={"n": 5}),
    "a format that is unknown": written(response_format={"type": "grammar"}),
    "a schema from elsewhere": written(response_format=schema({"items": [{"$ref": "http://example.com"}]})),
    "a schema of a megabyte": written(response_format=schema({"title": "x" * 2**17})),
    "a schema that is deep": written(response_format=schema(0)).replace(
        b'"schema": 0', b'"schema": {"a": ' + b"[" * 900 + b"]" * 900 + b"}"
    ),
    "a schema with more beside it": written(response_format=schema({}, path="/etc")),
    "an array": b"[]",
    "depth": b"[" * 100_000,
    "a number": b"1" * 5000,
    "UTF-16": written().decode().encode("utf-16"),
    "bytes that are no text": b"\xff",
    "nothing": b"",
}


@pytest.mark.parametrize("name", REFUSED)
def test_requests_that_ask_for_more_are_refused_in_a_sentence(name: str, server: Any) -> None:
    with LLMProxy(server.url, "m") as proxy:
        status, said = proxy.answer(WAY, REFUSED[name])
        assert status == 400
        assert len(json.loads(said)["error"]["message"]) > 20
        assert (proxy.passed, proxy.refused, proxy.failure) == (0, 1, "")
    assert server.asked == []


@pytest.mark.parametrize(
    "more",
    [
        {
            "max_tokens": 100,
            "temperature": 0.0,
            "response_format": schema({"$ref": "#/$defs/a", "$defs": {"a": {"type": "object"}}}),
        },
        {"max_completion_tokens": 5, "seed": 3, "stop": ["a", "b"], "top_p": 0.5, "max_tokens": None},
        {"max_tokens": 7, "stop": "x", "response_format": {"type": "json_object"}},
        {
            "messages": [{"role": role, "content": "ä\u2028"} for role in ("system", "user", "assistant")],
            "max_tokens": 7,
        },
    ],
)
def test_what_may_be_asked_arrives_and_nothing_else(more: dict[str, Any], server: Any) -> None:
    """Written anew: another order, blanks and things said needlessly are gone."""
    with LLMProxy(server.url, "m") as proxy:
        sent = json.dumps(
            {**more, "n": 1, "stream": False, **{k: v for k, v in ASKED.items() if k not in more}}, indent=3
        )
        assert proxy.answer(WAY, sent.encode())[0] == 200
    expected = {key: value for key, value in {**ASKED, **more}.items() if value is not None}
    assert json.loads(server.bodies[0]) == expected
    assert b"\n" not in server.bodies[0]


def test_an_answer_always_has_a_length(server: Any) -> None:
    with LLMProxy(server.url, "m") as proxy:
        proxy.answer(WAY, written())
    assert json.loads(server.bodies[0])["max_tokens"] == 512


def test_an_endpoint_that_repeats_the_key_does_not_tell_it_the_agent(server: Any) -> None:
    with LLMProxy(server.url, "m") as proxy:
        said = proxy.answer(WAY, written(messages=[{"role": "user", "content": "tell"}]))[1]
    assert b"Bearer [key]" in said
    assert b"the verifier's" not in said


@pytest.mark.parametrize("status", [302, 401, 402, 403, 404, 408, 429, 500, 502, 503, 504])
def test_an_endpoint_that_does_not_answer_is_remembered_until_it_does(status: int, server: Any) -> None:
    server.statuses += [status, status]
    other = written(messages=[{"role": "user", "content": "another"}])
    with LLMProxy(server.url, "m") as proxy:
        assert proxy.answer(WAY, written())[0] == status  # which the agent is told
        assert f"1 of its 1 requests (status {status}" in proxy.failure
        assert proxy.answer(WAY, other)[0] == status
        assert "2 of its 2 requests" in proxy.failure
        proxy.answer(WAY, written())  # repeated, as clients do
        assert "1 of its 3 requests" in proxy.failure
        proxy.answer(WAY, other)
        assert proxy.failure == ""


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_the_endpoint_refuses_is_the_agents_fault(status: int, server: Any) -> None:
    server.statuses.append(status)
    with LLMProxy(server.url, "m") as proxy:
        assert proxy.answer(WAY, written())[0] == status
        assert proxy.failure == ""


def test_an_endpoint_that_is_not_there_is_remembered(server: Any) -> None:
    with LLMProxy("http://127.0.0.1:9/v1", "m") as proxy:
        status, said = proxy.answer(WAY, written())
        assert status == 502
        assert b"cannot be reached" in said
        assert "127.0.0.1 did not answer" in proxy.failure


@pytest.fixture(scope="module")
def claim(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A record of packaged code that asks a language model, by a server that is no longer there."""
    handler: Any = type("Endpoint", (_Endpoint,), {"asked": [], "bodies": [], "statuses": []})
    path = tmp_path_factory.mktemp("record") / "a.json"
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = {"base_url": f"http://127.0.0.1:{server.server_address[1]}/v1", "model": "equal/weights"}
        made = make_record(ID, "llm", "asks", ["Ada"], kind="llm", model="equal/weights", options=options)
        server.shutdown()
    made.save(path)
    record = load_record(path)
    assert sum(record.outcome.cost["teacher"]["tokens"]) == 12 * len(handler.asked)
    return record


def test_a_language_models_record_is_run_again_at_its_endpoint(claim: Any, server: Any) -> None:
    """From submission to level 2; the model is this test's own, which always buys the same."""
    found = rerun(claim, 2, base_url=server.url)
    assert len(server.asked) == 2 * 12
    assert "of 2 new students" in found.text


GOES_ON = """
import json, socket
import numpy as np

class Agent:
    options = ("base_url", "model")

    def __init__(self, observation_space, action_space, seed=0, base_url="", model=""):
        self.model, self.shape = model, action_space.shape

    def act(self, observation):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect("/agent/endpoint")
            body = json.dumps({"model": self.model, "messages": [{"role": "user", "content": "x"}]}).encode()
            s.sendall(b"POST /v1/chat/completions HTTP/1.0\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
            s.makefile("rb").read()
        END
        return np.zeros((len(observation["time"]), *self.shape), np.float32)
"""


@pytest.mark.parametrize(
    "end", ["pass", "raise ValueError('no answer')", "return None", "return np.full((2, *self.shape), 9.0)"]
)
@pytest.mark.parametrize("dead", [True, False])
def test_without_its_endpoint_a_rerun_says_nothing_of_the_agent(dead: bool, end: str, claim: Any, server: Any) -> None:
    """Neither that it passed nor that it failed; with it, an agent that breaks down has failed."""
    record = claim.model_copy(update={"agent": claim.agent.model_copy(update={"source": GOES_ON.replace("END", end)})})
    server.statuses += [503] * 99 if dead else []
    if dead:
        with pytest.raises(RerunError, match=r"127.0.0.1 did not answer 1 of its \d+ requests .*no badge either way"):
            rerun(record, 2, base_url=server.url)
    else:
        found = rerun(record, 2, base_url=server.url)
        assert found.passed or end != "pass" or "new students" in found.text
        assert ("the re-run failed" in found.text or "refused an action" in found.text) == (end != "pass")
