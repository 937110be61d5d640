"""Tensors on disk: what is written is read, what is damaged is refused, what fails leaves no trace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from kdgym.storage import CorruptFileError, cache_directory, load_tensors, save_tensors, write_atomically

TENSORS = {"weights": torch.arange(6, dtype=torch.float32).view(2, 3), "seed": torch.tensor(7)}
HEADER = {"version": 1, "names": ["a", "b"], "nested": {"x": 0.5, "y": None}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that `save_tensors` has written."""
    path = tmp_path / "state.safetensors"
    save_tensors(path, TENSORS, HEADER)
    return path


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A scratch file, and the bytes `save_tensors` writes."""
    path = tmp_path_factory.mktemp("storage") / "state.safetensors"
    save_tensors(path, TENSORS, HEADER)
    return path, path.read_bytes()


def test_tensors_come_back(path: Path) -> None:
    tensors, _ = load_tensors(path)
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_the_header_comes_back(path: Path) -> None:
    assert load_tensors(path)[1] == HEADER


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
def test_every_type_comes_back_as_it_was(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = torch.tensor([[0, 1], [1, 0]]).to(dtype)
    save_tensors(tmp_path / "file", {"x": tensor}, {})
    read = load_tensors(tmp_path / "file")[0]["x"]
    assert read.dtype == dtype and torch.equal(read, tensor)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1, 2, 3)])
def test_every_shape_comes_back_as_it_was(tmp_path: Path, shape: tuple[int, ...]) -> None:
    save_tensors(tmp_path / "file", {"x": torch.ones(shape)}, {})
    assert load_tensors(tmp_path / "file")[0]["x"].shape == shape


def test_a_transposed_tensor_that_needs_a_gradient_comes_back(tmp_path: Path) -> None:
    tensor = torch.arange(6.0).view(2, 3).T.requires_grad_()
    save_tensors(tmp_path / "file", {"x": tensor}, {})
    assert torch.equal(load_tensors(tmp_path / "file")[0]["x"], tensor.detach())


def test_special_numbers_come_back_bitwise(tmp_path: Path) -> None:
    tensor = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45])
    save_tensors(tmp_path / "file", {"x": tensor}, {})
    read = load_tensors(tmp_path / "file")[0]["x"]
    assert torch.equal(read.view(torch.int32), tensor.view(torch.int32))


def test_missing_folders_are_made(tmp_path: Path) -> None:
    save_tensors(tmp_path / "a" / "b" / "file", TENSORS, HEADER)
    assert load_tensors(tmp_path / "a" / "b" / "file")[1] == HEADER


def test_writing_again_replaces_the_file(path: Path) -> None:
    save_tensors(path, {"other": torch.zeros(1)}, {"version": 2})
    tensors, header = load_tensors(path)
    assert list(tensors) == ["other"] and header == {"version": 2}


@pytest.mark.fuzz
@given(st.data())
def test_a_changed_byte_is_never_read_as_something_else(written: tuple[Path, bytes], data: st.DataObject) -> None:
    path, content = written
    place, flip = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(1, 255))
    path.write_bytes(content[:place] + bytes([content[place] ^ flip]) + content[place + 1 :])
    try:
        tensors, header = load_tensors(path)
    except CorruptFileError:
        return
    assert header == HEADER  # blanks that only pad the file are of no consequence
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize("place", [-1, -30])
def test_a_changed_byte_of_a_tensor_is_noticed(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match="checksum"):
        load_tensors(path)


def test_a_changed_header_is_noticed(path: Path) -> None:
    content = path.read_bytes()
    assert b"0.5" in content
    path.write_bytes(content.replace(b"0.5", b"0.6"))
    with pytest.raises(CorruptFileError, match="checksum"):
        load_tensors(path)


def test_exchanged_tensors_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    save_tensors(path, {"first": torch.zeros(2), "other": torch.ones(2)}, {})
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"first"', b'"_"').replace(b'"other"', b'"first"').replace(b'"_"', b'"other"'))
    with pytest.raises(CorruptFileError, match="checksum"):
        load_tensors(path)


def test_a_renamed_tensor_is_noticed(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"weights"', b'"weirdos"'))
    with pytest.raises(CorruptFileError, match="checksum"):
        load_tensors(path)


@pytest.mark.fuzz
@given(st.data())
def test_a_truncated_file_is_refused(written: tuple[Path, bytes], data: st.DataObject) -> None:
    path, content = written
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(CorruptFileError):
        load_tensors(path)


def test_a_file_with_something_appended_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(CorruptFileError):
        load_tensors(path)


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"header": "{}"}, {"header": "{}", "sha256": "0"}])
def test_a_safetensors_file_of_somebody_else_is_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file(TENSORS, tmp_path / "foreign.safetensors", metadata=metadata)
    with pytest.raises(CorruptFileError, match="foreign"):
        load_tensors(tmp_path / "foreign.safetensors")


def test_a_text_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("These are not tensors, and the line is long enough to hold a header.")
    with pytest.raises(CorruptFileError, match="notes"):
        load_tensors(tmp_path / "notes.txt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_tensors(tmp_path / "nowhere")


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_tensors(tmp_path)


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, error: type[BaseException]
) -> None:
    def fail(*_: object) -> None:
        raise error

    before = path.read_bytes()
    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(error):
        save_tensors(path, {"weights": torch.zeros(2)}, {})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_have_the_mode_that_the_umask_leaves(tmp_path: Path, mask: int, mode: int) -> None:
    """A web server or a colleague may read a page, unless the user's umask says otherwise."""
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "page", b"<html>")
    finally:
        os.umask(before)
    assert (tmp_path / "page").stat().st_mode & 0o777 == mode


def test_content_is_on_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda *a: (calls.append("fsync"), fsync(*a)))
    monkeypatch.setattr(os, "replace", lambda *a: (calls.append("replace"), replace(*a)))
    write_atomically(tmp_path / "file", b"content")
    assert calls == ["fsync", "replace"]
    assert (tmp_path / "file").read_bytes() == b"content"


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KDGYM_CACHE", str(tmp_path / "here"))
    assert cache_directory() == tmp_path / "here"


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_setting_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("KDGYM_CACHE")
    if value is not None:
        monkeypatch.setenv("KDGYM_CACHE", value)
    assert cache_directory().is_absolute() and cache_directory().name == "kdgym"
