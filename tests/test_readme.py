"""What the README says is run, so that it stays true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import PPO

import kdgym  # noqa: F401  # registers the environments
from kdgym.registration import ENVIRONMENTS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def code_block(containing: str) -> str:
    blocks = [block for block in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL) if containing in block]
    assert len(blocks) == 1, f"{len(blocks)} code blocks of the README contain {containing!r}"
    return str(blocks[0])


def test_first_lines_teach_a_population() -> None:
    names: dict[str, Any] = {}
    exec(code_block("action_space.sample"), names)
    assert names["reward"].shape == (64,)


def test_snapshot_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    env = gym.make("kdgym/DataGen-Math-v0")
    env.reset(seed=0)
    exec(code_block("branch(8)"), {"env": env})
    assert (tmp_path / "student.safetensors").is_file()


@pytest.mark.slow
def test_sb3_lines_train() -> None:
    code = code_block("as_vec_env").replace("50_000", "768")
    names: dict[str, Any] = {}
    exec(code.replace("PPO(", "model = PPO(").replace(".learn(768)", ""), names)
    model: PPO = names["model"]
    before = model.policy.action_net.weight.detach().clone()
    model.learn(768)
    assert not np.array_equal(before, model.policy.action_net.weight.detach())


def test_writing_lines_teach() -> None:
    names: dict[str, Any] = {"gym": gym}
    exec(code_block("OpenEnded"), names)
    assert names["info"]["items/verified"] == 1


def test_template_agent_is_shown_complete() -> None:
    assert (ROOT / "agents" / "any_family" / "random.py").read_text().strip() in README


def test_every_id_is_mentioned() -> None:
    assert [entry.id for entry in ENVIRONMENTS if entry.id not in README] == []


def test_files_and_pictures_exist() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
