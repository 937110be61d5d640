"""A report in parts: what goes wrong in one part is written down, and neither loses what was measured nor stops the others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.benchmarks.report import Part, Report

pytestmark = pytest.mark.slow

SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from tests.benchmarks.report import SkippedError, run_parts

def good(part):
    part.keep(figure=1)

def raising(part):
    part.keep(figure=2)
    raise ArithmeticError("the device said no")

def killed(part):
    part.keep(figure=3)
    os.kill(os.getpid(), signal.SIGKILL)

def everything_killed(part):
    part.keep(figure=4)
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)

def orphan(part):
    os.kill(os.getppid(), signal.SIGKILL)
    tries = iter(range(3000))
    while part.time_for("more") and next(tries, None) is not None:
        time.sleep(0.01)
    part.keep(stopped=next(tries, None) is not None)

def missing(part):
    raise SkippedError("vllm is not installed", "install it")

parts = {name: globals()[name] for name in sys.argv[2:]}
run_parts(Path(sys.argv[1]), parts, dict.fromkeys(parts, 1), 600)
"""


def run(path: Path, *parts: str) -> tuple[int, dict[str, Any]]:
    """In a process of its own, as parts are forked."""
    command = [sys.executable, "-c", SCRIPT, str(path), *parts]
    status = subprocess.run(command, check=False, capture_output=True).returncode  # parts hold its output open
    return status, json.loads(path.read_text())["parts"]


def test_a_part_that_fails_says_why_and_the_next_one_is_measured(tmp_path: Path) -> None:
    status, parts = run(tmp_path / "report.json", "raising", "killed", "missing", "good")
    assert status == 0
    assert {name: part["status"] for name, part in parts.items()} == {
        "raising": "failed",
        "killed": "failed",
        "missing": "skipped",
        "good": "done",
    }
    assert parts["raising"]["error"].startswith("Traceback")
    assert parts["raising"]["error"].endswith("ArithmeticError: the device said no\n")
    assert "-9" in parts["killed"]["error"]
    assert (parts["missing"]["skipped"], parts["missing"]["helps"]) == ("vllm is not installed", "install it")
    assert [parts[name]["results"] for name in ("raising", "killed", "good")] == [{"figure": n} for n in (2, 3, 1)]
    assert Report(tmp_path / "report.json").failures() == ["raising", "killed"]


def test_a_kill_of_everything_leaves_what_was_measured(tmp_path: Path) -> None:
    status, parts = run(tmp_path / "report.json", "good", "everything_killed", "raising")
    assert status == -9
    assert parts["good"]["results"] == {"figure": 1}
    assert parts["everything_killed"] == {
        **parts["everything_killed"],
        "status": "unfinished",
        "results": {"figure": 4},
    }
    assert "raising" not in parts
    assert Report(tmp_path / "report.json").failures() == ["everything_killed"]


def test_a_part_stops_measuring_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    status, parts = run(tmp_path / "report.json", "orphan", "good")
    assert status == -9
    assert parts["orphan"]["results"] == {"stopped": True}
    assert "good" not in parts


def test_what_there_was_no_time_for_is_listed(tmp_path: Path) -> None:
    report = Report(tmp_path / "report.json")
    assert not Part(report, "late", 0).time_for("64 students")
    assert Part(report, "in time", 1000).time_for("64 students", 900)
    part = Part(report, "too long", 1000)
    assert not part.time_for("256 students", 1100)
    assert Report(report.path).content["parts"]["late"]["left_out"] == [{"what": "64 students", "why": "time"}]
    assert part.content["left_out"] == [{"what": "256 students", "why": "time"}]


def test_pictures_are_drawn_after_every_change(tmp_path: Path) -> None:
    drawn: list[Any] = []
    report = Report(tmp_path / "report.json", lambda content, path: drawn.append((json.dumps(content), path)))
    Part(report, "one", 1000).run(lambda part: part.keep(figure=1))
    assert [json.loads(content)["parts"]["one"]["results"] for content, _ in drawn] == [
        {},
        {"figure": 1},
        {"figure": 1},
    ]
    assert {path for _, path in drawn} == {tmp_path / "report.json"}


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripts of this folder import each other by their names."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.mark.usefixtures("benchmarks")
def test_sizes_that_do_not_fit_into_memory_end_the_row_of_sizes(tmp_path: Path) -> None:
    from devices import by_size

    part, rows = Part(Report(tmp_path / "report.json"), "sizes", 1000), list[dict[str, Any]]()

    def measure(row: dict[str, Any]) -> None:
        row["figure"] = 1
        if row["students"] == 4:
            try:
                raise torch.OutOfMemoryError("tried to allocate 9 GiB")
            finally:
                raise RuntimeError("the recording failed")  # as the end of a CUDA graph does

    part.keep(rows=rows)
    by_size(part, rows, (1, 4, 16), measure)
    kept = Report(tmp_path / "report.json").content["parts"]["sizes"]
    assert [row["students"] for row in kept["results"]["rows"]] == [1, 4]
    assert kept["results"]["rows"][1]["error"].startswith("out of memory")
    assert kept["left_out"] == [{"what": "16 students", "why": "memory"}]


@pytest.mark.usefixtures("benchmarks")
def test_other_errors_are_none_of_memory(tmp_path: Path) -> None:
    from devices import by_size

    part, rows = Part(Report(tmp_path / "report.json"), "sizes", 1000), list[dict[str, Any]]()
    with pytest.raises(KeyError):
        by_size(part, rows, (1, 4), lambda row: row["no such figure"])


@pytest.mark.usefixtures("benchmarks")
def test_pictures_show_what_was_measured_and_need_the_json_alone(tmp_path: Path) -> None:
    from gpu_picture import draw

    measured = {"students": 64, "rounds": [{}], "kernel_steps_per_s": 5000.0}
    for name in ("eager", "recorded"):
        measured |= {f"{name}_steps_per_s": 9e4, f"{name}_share_of_matmul": 0.1, f"{name}_share_of_copy": 0.4}
    without_memory = {"students": 256, "error": "out of memory"}
    parts = {"populations": {"results": {"rows": [measured, without_memory]}}, "language": {"results": {"rows": []}}}
    draw({"machine": {"threads": 16}, "parts": parts}, tmp_path / "card.json")
    assert [path.name for path in tmp_path.iterdir()] == ["card-populations.png"]
    assert (tmp_path / "card-populations.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("benchmarks")
def test_ratios_are_taken_within_a_round() -> None:
    """The second round met a machine that was ten times as slow; the medians of its variants alone would mix both."""
    from gpu_populations import summary

    quick = {"kernel": 4.0, "eager": 2.0, "recorded": 1.0, "matmul_flops": 100.0, "copy_bytes": 10.0}
    slow = {"kernel": 40.0, "eager": 20.0, "recorded": 10.0, "matmul_flops": 10.0, "copy_bytes": 1.0}
    found = summary([quick, slow, {**slow, "eager": 40.0}], flops=50, moved=10)
    assert found["recorded_to_kernel"] == 4 and found["recorded_to_eager"] == 2
    assert found["recorded_share_of_matmul"] == 0.5 and found["recorded_share_of_copy"] == 1
    assert found["kernel_steps_per_s"] == 1 / 40


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_missing_gpu_is_said_in_one_sentence(tmp_path: Path) -> None:
    script = Path(__file__).with_name("gpu.py")
    command = [sys.executable, str(script), "--out", str(tmp_path / "report.json")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "torch finds no CUDA device here; `make gpu DEVICE=cpu QUICK=1` runs the same script on a CPU."
    ]
    assert not list(tmp_path.iterdir())
