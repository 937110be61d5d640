"""Zips that strangers altered end in one sentence, run nothing, and take no more memory than they are."""

from __future__ import annotations

import functools
import io
import json
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3 import PPO

from kdgym.cli import main
from kdgym.integrations.sb3 import SB3Agent

pytestmark = pytest.mark.slow

Parts = dict[str, bytes]


@functools.cache
def real() -> tuple[Parts, Any, Any]:
    """The parts of a tiny PPO zip, and the spaces it was trained for."""
    env = gym.make("CartPole-v1")
    file = io.BytesIO()
    PPO("MlpPolicy", env, policy_kwargs={"net_arch": [4]}, n_steps=8, batch_size=8, device="cpu").save(file)
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}, env.observation_space, env.action_space


def packed(parts: Parts, path: Path, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def load(path: Path) -> SB3Agent:
    _, *spaces = real()
    return SB3Agent.from_zip(path, *spaces)


def refused(path: Path) -> str:
    """What is said of a zip: one line."""
    with pytest.raises(ValueError, match=r"\.$") as said:
        load(path)
    assert type(said.value) is ValueError and str(said.value).isprintable() and len(str(said.value)) < 700
    return str(said.value)


def data(**changes: Any) -> Callable[[Parts], Parts]:
    """Other entries of the JSON part; None takes one out."""

    def change(parts: Parts) -> Parts:
        described = {**json.loads(parts["data"]), **changes}
        kept = {name: value for name, value in described.items() if value is not None}
        return {**parts, "data": json.dumps(kept).encode()}

    return change


def part(name: str, content: bytes) -> Callable[[Parts], Parts]:
    return lambda parts: {**parts, name: content}


def saved(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def weights(change: Callable[[dict[str, Any]], Any]) -> Callable[[Parts], Parts]:
    def altered(parts: Parts) -> Parts:
        return {**parts, "policy.pth": saved(change(torch.load(io.BytesIO(parts["policy.pth"]))))}

    return altered


class Evil:
    """Its pickle calls something."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("evil-was-here"),))


def first(value: Callable[[torch.Tensor], Any]) -> Callable[[dict[str, Any]], Any]:
    """Another value of the first weight."""
    return lambda found: {**found, next(iter(found)): value(next(iter(found.values())))}


NESTED = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
ALTERED: dict[str, Callable[[Parts], Parts]] = {
    **{f"data is {text[:9]!r}": part("data", text) for text in (b"", b"[]", b"1", b"null", b'"x"', b"{", b"\xff\xfe", NESTED)},
    "data is numbers of 5,000 digits": part("data", b"[" + b"9" * 5000 + b"]"),
    "no data": lambda parts: {name: content for name, content in parts.items() if name != "data"},
    "no policy": lambda parts: {name: content for name, content in parts.items() if name != "policy.pth"},
    **{
        f"policy_class is {value!r}": data(policy_class=value)
        for value in ("x", 1, [], {}, {"__module__": 1}, {"__module__": "os"}, {"__module__": "evil\x1b[2J"})
    },
    "no policy_class": data(policy_class=None),
    "no algorithm": data(clip_range=None, gae_lambda=None),
    **{f"rollout_buffer_class is {value!r}": data(rollout_buffer_class=value, policy_class=1) for value in ("x", 1, [{}])},
    **{
        f"policy_kwargs is {str(value)[:60]}": data(policy_kwargs=value)
        for value in (
            "x",
            1,
            [1],
            {"": 1},
            {"net_arch": "x"},
            {"net_arch": [-1]},
            {"net_arch": [10**5, 10**5]},
            {"net_arch": [10**9] * 3},
            {"net_arch": [10**30]},
            {"net_arch": [0.5]},
            {"net_arch": {"pi": 1}},
            {"net_arch": [[[[]]]]},
            {"net_arch": [True]},
            {"net_arch": [4] * 400_000},
            {"no_such_argument": 1},
            {"features_extractor_class": 7},
            {"features_extractor_kwargs": [1]},
            {"activation_fn": 3},
            {"activation_fn": "os.system"},
            {"lr_schedule": 1},
            {"observation_space": 1},
            {"log_std_init": {}},
            {":serialized:": "gASVIQ==", "activation_fn": "x"},
        )
    },
    "weights are text": part("policy.pth", b"hello"),
    "weights are nothing": part("policy.pth", b""),
    "weights are a pickle that calls": part("policy.pth", pickle.dumps(Evil())),
    "weights are torch's old format": lambda parts: {
        **parts,
        "policy.pth": (file := io.BytesIO(), torch.save({}, file, _use_new_zipfile_serialization=False))[0].getvalue(),
    },
    "weights call": lambda parts: {**parts, "policy.pth": saved({"x": Evil()})},
    **{f"weights are {value!r}": part("policy.pth", saved(value)) for value in (None, 1, [], {}, torch.zeros(2), {"x": 1})},
    "one weight less": weights(lambda found: dict(list(found.items())[1:])),
    "one weight more": weights(lambda found: {**found, "more": torch.zeros(1)}),
    "a name is a number": weights(lambda found: {**found, 1: torch.zeros(1)}),
    "no weight": weights(first(lambda weight: None)),
    "text": weights(first(lambda weight: "x")),
    "wider": weights(first(lambda weight: torch.cat([weight, weight], -1))),
    "another dimension": weights(first(lambda weight: weight[None])),
    "a number": weights(first(lambda weight: torch.tensor(1.0))),
    "half": weights(first(lambda weight: weight.half())),
    "whole numbers": weights(first(lambda weight: weight.long())),
    "complex": weights(first(lambda weight: weight.to(torch.complex64))),
    "sparse": weights(first(lambda weight: weight.to_sparse())),
    "meta": weights(first(lambda weight: weight.to("meta"))),
    "a parameter": weights(first(torch.nn.Parameter)),
    "nan": weights(first(lambda weight: weight * torch.nan)),
    "inf": weights(first(lambda weight: weight * torch.inf)),
    "one nan": weights(first(lambda weight: weight.index_fill(0, torch.tensor([0]), torch.nan))),
    "a terabyte of one number": weights(first(lambda weight: torch.zeros(1).expand(2**38))),
}  # fmt: skip


@pytest.mark.parametrize("altered", ALTERED)
def test_every_odd_zip_ends_in_one_sentence(altered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parts, *_ = real()
    refused(packed(ALTERED[altered](parts), tmp_path / "model.zip"))
    assert not (tmp_path / "evil-was-here").exists()


@pytest.mark.parametrize("name", ["policy.optimizer.pth", "pytorch_variables.pth", "system_info.txt", "more.pth"])
def test_parts_that_acting_does_not_need_are_not_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parts, *_ = real()
    load(packed({**parts, name: pickle.dumps(Evil())}, tmp_path / "model.zip"))
    assert not (tmp_path / "evil-was-here").exists()


@pytest.mark.parametrize("place", ["data", "more.pth", "policy.pth", "within policy.pth"])
def test_a_small_zip_does_not_take_much_memory(place: str, tmp_path: Path) -> None:
    parts = dict(real()[0])
    bomb = b" " * 2**28
    if place == "within policy.pth":
        inner = packed({"archive/data.pkl": bomb, "archive/version": b"3\n"}, tmp_path / "inner", zipfile.ZIP_DEFLATED)
        parts["policy.pth"] = inner.read_bytes()
    else:
        parts[place] = bomb
    path = packed(parts, tmp_path / "model.zip", zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**20
    del bomb
    tracemalloc.start()
    assert "unpacks to much more" in refused(path)
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


def test_a_zip_that_was_packed_again_is_read(tmp_path: Path) -> None:
    parts, *_ = real()
    agents = [
        load(packed(parts, tmp_path / f"{compression}.zip", compression))
        for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    ]
    seen = np.array([[0.1, -0.2, 0.03, 0.4]], dtype=np.float32)
    assert [agent.act(seen).tolist() for agent in agents] == [agents[0].act(seen).tolist()] * 2


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    parts, *_ = real()
    path = packed(parts, tmp_path / "model.zip")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("data", parts["data"])
    assert "two files of one name" in refused(path)


def test_the_command_line_says_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = packed(ALTERED["weights call"](real()[0]), tmp_path / "model.zip")
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "kdgym/DataGen-Math-v0", "--agent", f"ppo:{path}"])
    said = capsys.readouterr().err.splitlines()[-1]
    assert stop.value.code == 2 and said.startswith("Error: ") and "not a model that Stable-Baselines3 saved" in said


def refused_or_acts(path: Path) -> None:
    told = ""
    try:
        agent = load(path)
    except ValueError as error:
        told = str(error)
    else:
        agent.act(np.zeros((1, 4), dtype=np.float32))
    assert told.isprintable()


@pytest.mark.fuzz
@given(places=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=6), cut=st.floats(0.5, 1))
def test_a_damaged_zip_is_refused_or_acts(
    tmp_path_factory: pytest.TempPathFactory, places: list[tuple[float, int]], cut: float
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.zip"
    content = bytearray(packed(real()[0], path).read_bytes())
    for place, flip in places:
        content[int(place * (len(content) - 1))] ^= flip
    path.write_bytes(content[: int(cut * len(content)) if cut < 0.9 else None])
    refused_or_acts(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**40) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["policy_class", "policy_kwargs", "rollout_buffer_class", "clip_range", "gae_lambda", "n_delta"]
)
KWARGS = st.dictionaries(
    st.sampled_from(["net_arch", "ortho_init", "use_sde", "log_std_init", "full_std", "squash_output", "activation_fn",
                     "features_extractor_kwargs", "share_features_extractor", "normalize_images", "optimizer_class"]),
    JSON, max_size=3,
)  # fmt: skip


@pytest.mark.fuzz
@given(changes=st.dictionaries(NAMES, JSON, min_size=1, max_size=2) | st.builds(lambda k: {"policy_kwargs": k}, KWARGS))
def test_whatever_a_zip_says_of_its_model_is_refused_or_acts(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]
) -> None:
    path = packed(data(**changes)(real()[0]), tmp_path_factory.getbasetemp() / "described.zip")
    refused_or_acts(path)
