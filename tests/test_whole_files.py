"""What commands write is whole or not at all: a full disk, or a kill in the middle of a write, leaves the old file."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

import kdgym.teaching.search
from kdgym.cli import main
from kdgym.evaluation.plots import write_figure
from kdgym.studies import interference
from tests.studies.command import study

pytestmark = pytest.mark.slow

ID, OLD = "kdgym/DataGen-Math-v0", b"the old file"
SMALL = ["--set", "steps=1", "--set", "validation_items=2", "--set", "test_items=2"]
RECORD = Path(__file__).parent.parent / "leaderboards/kdgym/DataGen-Math-v0/uniform--kdgym.json"


@dataclass
class Command:
    """What writes a file, and nothing else that is larger.

    Attributes:
        file: what it writes.
        run: runs it, for the file's path.
        old: what stands there before.
    """

    file: str
    run: Callable[[Path], Any]
    old: bytes = OLD


def cli(*arguments: str) -> None:
    try:
        main(list(arguments))
    except SystemExit as stop:
        if stop.code:
            raise OSError(f"exit code {stop.code}") from None


def compare(option: str) -> Callable[[Path], None]:
    return lambda path: cli("compare", ID, "--agents", "uniform", "--episodes", "2", *SMALL, option, str(path))


def train(agent: str, *options: str) -> Callable[[Path], None]:
    return lambda path: cli("train", ID, "--agent", agent, "--out", str(path.parent), "--steps", "4", *options)


PPO = ("--hyper", "n_steps=2", "--hyper", "students=2", "--set", "steps=2", "--set", "validation_items=2")
COMMANDS = {
    "compare --json": Command("r.json", compare("--json")),
    **{f"compare --picture {kind}": Command(f"p.{kind}", compare("--picture")) for kind in ("png", "svg", "pdf")},
    "headroom --json": Command(
        "r.json", lambda path: cli("headroom", "kdgym/Snapshot-CartPole-v0", "--episodes", "4", "--json", str(path))
    ),
    **{
        f"watch --picture {kind}": Command(
            f"p.{kind}", lambda path: cli("watch", ID, "--agent", "uniform", "--picture", str(path))
        )
        for kind in ("png", "jpg")
    },
    "train ppo": Command("model.zip", train("ppo", *PPO)),
    "train constant": Command("constant.json", train("constant")),
    "snapshots collect": Command(
        "s", lambda path: cli("snapshots", "collect", ID, "--agent", "uniform", "--episodes", "1", "--out", str(path))
    ),
    "interference --picture": Command(
        "p.png",
        lambda path: study_of(interference, ID, "--students", "2", "--items", "4", "--picture", str(path)),
    ),
    "verify --sign": Command(
        "r.json", lambda path: cli("verify", str(path), "--level", "0", "--sign"), RECORD.read_bytes()
    ),
    "a figure": Command("f.svg", lambda path: write_figure(drawn(), path)),
}


NAMES = [pytest.param(name, marks=pytest.mark.thorough) if "headroom" in name else name for name in COMMANDS]


def study_of(module: Any, *arguments: str) -> None:
    done = study(module, *arguments)
    if done.exception is not None:
        raise done.exception


def drawn() -> Figure:
    figure = Figure()
    figure.subplots().plot(np.arange(100) % 7)
    return figure


def prepared(command: Command, folder: Path) -> tuple[Path, int]:
    """The old file, and the size of the new one; what a command keeps for later calls is there already."""
    path = folder / "here" / command.file
    path.parent.mkdir(parents=True)
    path.write_bytes(command.old)
    command.run(path)
    new = path.read_bytes()
    assert new != command.old
    path.write_bytes(command.old)
    return path, len(new)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in (("CANDIDATES", 2), ("STUDENTS", 2), ("ELITE", 1)):
        monkeypatch.setattr(kdgym.teaching.search, name, value)
    monkeypatch.setenv("KDGYM_VERIFIER_KEY", "5" * 64)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_leaves_the_old_file_and_nothing_else(name: str, tmp_path: Path, full_disk: Any) -> None:
    command = COMMANDS[name]
    path, size = prepared(command, tmp_path)
    beside = sorted(path.parent.rglob("*"))
    for room in (0, size // 2):
        with full_disk(room), pytest.raises(OSError, match=r"too large|exit code 2"):
            command.run(path)
        assert path.read_bytes() == command.old
        assert {each for each in path.parent.rglob("*") if "tensorboard" not in each.parts} <= set(beside)
    command.run(path)
    assert path.read_bytes() != command.old


@pytest.mark.parametrize("name", NAMES)
def test_a_kill_in_the_middle_of_a_write_leaves_the_old_file(name: str, tmp_path: Path) -> None:
    command = COMMANDS[name]
    path, size = prepared(command, tmp_path)
    for room in (size // 2,):
        assert killed(lambda: command.run(path), room) == signal.SIGXFSZ
        assert path.read_bytes() == command.old


def killed(run: Callable[[], None], room: int) -> int:
    """The signal that ended a copy of this process, which the system kills when a file outgrows ``room`` bytes."""
    resource = pytest.importorskip("resource")
    child = os.fork()
    if child == 0:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        try:
            run()
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] & 0x7F


def test_a_data_set_is_there_as_a_whole_or_not_at_all(tmp_path: Path, full_disk: Any) -> None:
    minari = pytest.importorskip("minari")

    def export() -> None:
        cli("export", "minari", str(RECORD), "--dataset", "test/all-v0")

    for room in (0, 20_000):
        assert killed(export, room) == signal.SIGXFSZ
        assert minari.list_local_datasets() == {}
    export()
    assert list(minari.list_local_datasets()) == ["test/all-v0"]
    assert minari.load_dataset("test/all-v0").total_episodes == 64
    with pytest.raises(OSError, match="exit code 2"):
        export()


def test_a_picture_has_the_name_that_was_asked_for(tmp_path: Path) -> None:
    for name, head in (("p.svg", b"<?xml"), ("p.pdf", b"%PDF"), ("p.png", b"\x89PNG"), ("p", b"\x89PNG")):
        write_figure(drawn(), tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(head)
    with pytest.raises(ValueError, match="not supported"):
        write_figure(drawn(), tmp_path / "p.abc")
    assert len(list(tmp_path.iterdir())) == 4
