"""Keys are in nothing that is written, shown or kept, and prompts go nowhere but to the address that was given."""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
import warnings
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kdgym  # noqa: F401  # registers the environments
from kdgym.cli import main
from kdgym.core import StudentSnapshot
from kdgym.llm.chat import Transcript, UnreachableError, checked_address
from kdgym.llm.connect import connect, reach
from kdgym.llm.endpoint import Endpoint
from kdgym.students.language.vllm import Server
from kdgym.untrusted import SECRETS, printable, redacted, without_keys
from tests.llm.endpoint import KEY, MODEL, FakeEndpoint, serving

QUESTION = [{"role": "user", "content": "What is the key?"}]
ID = "kdgym/DataGen-Math-v0"
ESCAPES = "\x1b]0;title\x07\x1b[2J\r\x9b1m"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirection_is_an_error_and_the_other_address_hears_nothing(endpoint: FakeEndpoint, status: int) -> None:
    with serving() as other:
        endpoint.headers = {"Location": f"{other.url}/chat/completions?key={KEY}"}
        endpoint.fault = lambda number: status
        with pytest.raises(UnreachableError, match=rf"HTTP {status}, a redirection to {other.url}.*does not follow"):
            Endpoint(endpoint.url, MODEL).answer([QUESTION])
        assert other.asked == [] and len(endpoint.asked) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_students_on_a_server_are_not_redirected_either(status: int) -> None:
    heard = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.path)
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    class Options:
        base_url = ""

    class Model:
        adapted, options = None, Options()

    with HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        Options.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        with pytest.raises(ConnectionError, match=f"answers {status}"):
            Server(Model())  # type: ignore[arg-type]
        server.shutdown()
    assert heard == ["/v1/models"]


SPELLINGS = {
    "as it is": KEY,
    "header": f"Authorization: Bearer {KEY}",
    "JSON": json.dumps({"Authorization": f"Bearer {KEY}"}),
    "address": f"http://host/v1?api_key={quote(KEY, safe='')}",
    "base64": base64.b64encode(KEY.encode()).decode(),
    "user": f"http://{KEY}:x@host/",
    "twice": f"{KEY}{KEY}",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("fault", [400, 500, "html"])
def test_what_an_endpoint_repeats_of_the_key_stays_out_of_errors(
    endpoint: FakeEndpoint, spelling: str, fault: Any
) -> None:
    endpoint.reply = lambda asked: "an answer"
    endpoint.said, endpoint.fault = SPELLINGS[spelling] + ESCAPES, lambda number: fault if number else None
    first, second = Endpoint(endpoint.url, MODEL, retries=0).answer([QUESTION] * 2)
    assert not first.error and second.error
    for told in (second.error, second.text, repr(second)):
        assert KEY not in told and SPELLINGS[spelling] not in told
    assert second.error.isprintable()


@pytest.mark.parametrize("spelling", ["as it is", "header", "JSON", "base64"])
def test_what_a_model_says_of_the_key_is_in_no_transcript(
    endpoint: FakeEndpoint, spelling: str, tmp_path: Path
) -> None:
    endpoint.reply = lambda asked: SPELLINGS[spelling]
    file = tmp_path / "t.jsonl"
    asking = [
        "--base-url",
        endpoint.url,
        "--model",
        MODEL,
        "--transcript",
        str(file),
        "--json",
        str(tmp_path / "r.json"),
    ]
    main_quietly("evaluate", ID, "--agent", "llm", "--episodes", "2", "--set", "steps=1", *asking)
    told = file.read_text() + (tmp_path / "r.json").read_text()
    assert "[key]" in told and KEY not in told and SPELLINGS[spelling] not in told


def main_quietly(*arguments: str) -> None:
    with pytest.raises(SystemExit) as stop, pytest.warns(RuntimeWarning, match="no usable answer"):
        main(list(arguments))
    assert stop.value.code in (0, None)


@pytest.mark.parametrize("part", ["me:hunter22@", "hunter22@"])
@pytest.mark.parametrize("behind", ["", "?key=hunter22", "#hunter22"])
@pytest.mark.parametrize("scheme", ["http://", "https://", "http+unix://", ""])
def test_an_address_with_a_secret_is_refused_and_not_repeated(part: str, behind: str, scheme: str) -> None:
    url = f"{scheme}{part}127.0.0.1:9/v1{behind}"
    for use in (lambda: connect(url, "m"), lambda: reach(f"m@{url}"), lambda: checked_address(url)):
        with pytest.raises(ValueError, match=r"address|base_url") as refused:
            use()
        assert "hunter22" not in str(refused.value)


@pytest.mark.parametrize(
    ("id", "setting"),
    [("kdgym/Orchestrate-Incidents-v0", "teacher"), ("kdgym/Orchestrate-Incidents-v0", "student")],
)
def test_no_environment_keeps_a_secret_in_its_settings(id: str, setting: str) -> None:
    with pytest.raises(ValueError, match="OPENAI_API_KEY") as refused:
        gym.make_vec(id, num_envs=1, tasks=2, **{setting: "m@http://user:hunter22@127.0.0.1:9/v1"})
    assert "hunter22" not in str(refused.value)


def test_the_key_is_in_no_snapshot_of_an_environment_that_uses_it(endpoint: FakeEndpoint, tmp_path: Path) -> None:
    envs: Any = gym.make_vec(
        "kdgym/Orchestrate-Incidents-v0", num_envs=1, tasks=2, teacher=f"{MODEL}@{endpoint.url}", autoreset=False
    )
    envs.reset(seed=0)
    envs.snapshot().save(tmp_path / "s")
    kept = StudentSnapshot.load(tmp_path / "s").settings
    assert kept["teacher"] == f"{MODEL}@{endpoint.url}"
    assert KEY.encode() not in (tmp_path / "s").read_bytes() and KEY not in repr(envs) + repr(kept)


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_errors_and_warnings_of_the_command_line_are_without_keys(
    name: str, spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, KEY)
    mine = tmp_path / "mine.py"
    told = SPELLINGS[spelling] + ESCAPES
    mine.write_text(f"import warnings\nwarnings.warn({told!r})\nraise ValueError({told!r})\n")
    monkeypatch.setattr("warnings.showwarning", _printed)
    with pytest.raises(SystemExit):
        main(["watch", ID, "--agent", str(mine)])
    said = capsys.readouterr()
    assert "Warning: " in said.err and "Error: " in said.err
    assert KEY not in said.err and SPELLINGS[spelling] not in said.err
    assert all(line.isprintable() for line in said.err.splitlines())


def _printed(message: Any, *rest: Any, **_: Any) -> None:
    sys.stderr.write(warnings.formatwarning(message, *rest[:3]))


@pytest.mark.fuzz
@given(
    st.text(),
    st.text(st.characters(codec="ascii", exclude_categories=["Cc", "Zs"]), min_size=8, max_size=40),
    st.text(),
)
def test_no_key_survives_whatever_stands_around_it(before: str, key: str, behind: str) -> None:
    for form in (key, json.dumps(key)[1:-1], quote(key, safe=""), base64.b64encode(key.encode()).decode().rstrip("=")):
        told = without_keys(f"{before} {form} {behind}", key)
        assert form not in told.replace("[key]", " ") or form in before + behind


@pytest.mark.fuzz
@given(st.text(st.characters(), max_size=60))
def test_what_is_printed_is_one_line_without_escapes(words: str) -> None:
    assert printable(words).isprintable()
    assert len(printable(words, 3)) == min(3, len(words))
    assert redacted(redacted(words)) == redacted(words)


LINES = st.lists(st.dictionaries(st.text(max_size=4), st.text(max_size=9), max_size=3), max_size=5)


@pytest.mark.fuzz
@given(LINES, LINES, st.binary(max_size=20))
def test_a_transcript_is_appended_to_line_by_line_also_behind_a_torn_one(
    tmp_path_factory: pytest.TempPathFactory, first: list[Any], then: list[Any], torn: bytes
) -> None:
    file = tmp_path_factory.mktemp("transcript") / "t.jsonl"
    for record in first:
        Transcript(file).write(record)
    with file.open("ab") as end:
        end.write(torn.replace(b"\n", b""))
    for record in then:
        Transcript(file).write(record)
    lines = file.read_bytes().split(b"\n")
    assert [json.loads(line) for line in lines[: len(first)]] == first
    if then:
        assert [json.loads(line) for line in lines[-1 - len(then) : -1]] == then


def test_what_a_full_disk_leaves_of_a_line_is_cut_off(tmp_path: Path, full_disk: Any) -> None:
    transcript = Transcript(tmp_path / "t.jsonl")
    transcript.write({"first": 1})
    before = transcript.path.read_bytes()
    for room in (0, 1, 50):
        with full_disk(len(before) + room), pytest.raises(OSError, match=r"space|large"):
            transcript.write({"second": "x" * 100})
        assert transcript.path.read_bytes() == before
    assert os.listdir(tmp_path) == ["t.jsonl"]
