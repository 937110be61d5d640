"""Traces hold every task with its costs, and pages show them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from kdgym.cli import app
from kdgym.envs.orchestrate.supervision import LANES
from kdgym.envs.orchestrate.trace import timeline
from kdgym.envs.orchestrate.trace import trace as write_trace
from kdgym.evaluation import Policy, make_unseen

pytestmark = pytest.mark.slow

ID = "kdgym/Orchestrate-Math-v0"
SMALL: dict[str, Any] = {"pool": "train", "tasks": 12}


def trace(env_id: str, agent: str, students: int, out: Path, first_seed: int, **settings: Any) -> int:
    envs = make_unseen(env_id, agent, students, **settings)
    return write_trace(envs, Policy(agent, envs), out, first_seed=first_seed)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("traces") / "atlas.jsonl"
    assert trace(ID, "atlas", 3, file, first_seed=7, **SMALL) == 36
    return file


def test_a_trace_has_every_task_and_its_costs(written: Path) -> None:
    tasks = [json.loads(line) for line in written.read_text().splitlines()]
    assert sorted((task["student"], task["task"]) for task in tasks) == [
        (s, t) for s in (7, 8, 9) for t in range(1, 13)
    ]
    for task in tasks:
        assert task["lane"] in LANES
        assert task["money"] == sum(units["money"] for units in task["cost"].values()) > 0
        what = [event["what"] for event in task["events"]]
        assert "attempt" in what
        assert "judged" in what
        assert ("teacher" in task["cost"]) == (task["lane"] != "auto")
        last = [event for event in task["events"] if event["what"] == "attempt"][-1]
        assert "In base 6" in last["problem"]
    assert {task["lane"] for task in tasks if task["task"] == 1} == {"paired"}  # nothing is known yet
    assert any(task["note"] for task in tasks)


def test_a_trace_of_an_investigation_shows_queries_and_rows(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    settings = {"pool": "train", "incidents": 1, "tasks": 2, "verdict_accuracy": 1.0}
    trace("kdgym/Orchestrate-Incidents-v0", "always_coach", 2, file, first_seed=0, **settings)
    for task in map(json.loads, file.read_text().splitlines()):
        queries = [event for event in task["events"] if "sql" in event]
        assert all(query["sql"].startswith("SELECT") and query["parameters"] for query in queries)
        assert any(query["rows"] for query in queries)
        assert task["cost"]["tools"]["items"] == len(queries) > 0
    assert timeline(file, tmp_path / "page.html") == 4
    assert "SELECT" in (tmp_path / "page.html").read_text()


def test_a_trace_is_the_same_twice(written: Path, tmp_path: Path) -> None:
    trace(ID, "atlas", 3, tmp_path / "again.jsonl", first_seed=7, **SMALL)
    assert (tmp_path / "again.jsonl").read_bytes() == written.read_bytes()


def test_a_page_shows_every_task_and_executes_nothing(written: Path, tmp_path: Path) -> None:
    lines = written.read_text().splitlines()
    first = json.loads(lines[0])
    first["events"].append({"what": "advice", "value": "<script>alert(1)</script>"})
    (tmp_path / "trace.jsonl").write_text("\n".join([json.dumps(first), *lines[1:]]))
    assert timeline(tmp_path / "trace.jsonl", tmp_path / "page.html") == 36
    page = (tmp_path / "page.html").read_text()
    assert page.count("<details") == 36
    assert page.count("<h2>") == 3
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


@pytest.mark.parametrize(("content", "said"), [("", "empty"), ("[1]", "line 1"), ("{}\n", "no task"), ("x", "no JSON")])
def test_what_is_no_trace_is_refused(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(content)
    with pytest.raises(ValueError, match=said):
        timeline(tmp_path / "file", tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_other_families_have_no_lanes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="kdgym/Orchestrate-"):
        trace("kdgym/DataGen-Math-v0", "uniform", 1, tmp_path / "file", 0, pool="train")


@pytest.mark.thorough
def test_the_commands(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    done = CliRunner().invoke(app, ["lanes", "trace", ID, "--out", str(file), "--students", "2", "--tasks", "2"])
    assert done.exit_code == 0, done.output
    assert len(file.read_text().splitlines()) == 4
    done = CliRunner().invoke(app, ["lanes", "timeline", str(file), "--out", str(tmp_path / "page.html")])
    assert "4 tasks" in done.output
