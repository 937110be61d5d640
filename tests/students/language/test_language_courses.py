"""Courses with language-model students: the contract of every environment, on every level that reads text."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from typer.testing import CliRunner

import kdgym  # noqa: F401  # registers the environments
from kdgym.cli import app
from kdgym.integrations.sb3 import as_vec_env
from kdgym.students import recommended_settings
from kdgym.testing import check
from tests.students.language.tiny_model import write_model
from tests.tiers import tiered

pytestmark = pytest.mark.slow

ID = "kdgym/DataGen-Math-v0"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    model = write_model(tmp_path_factory.mktemp("model"), width=16, layers=1)
    options = {"rank": 2, "max_new_tokens": 5, "learning_rate": 1e-2}
    return {
        "student": f"hf:{model}", "student_options": options, "steps": 6, "budget": 6 * 16.0, "validation_items": 2,
        "test_items": 2,
    }  # fmt: skip


@pytest.mark.parametrize("name", tiered(["Math", "Code-SkillTree", "Math-OpenEnded"], ["Math"]))
def test_the_contract_holds(name: str, settings: dict[str, Any]) -> None:
    budget = 6 * 40.0 if "OpenEnded" in name else settings["budget"]  # sampled teachers ask for up to 32 items
    check(f"kdgym/DataGen-{name}-v0", **{**settings, "budget": budget})


def test_spaces_are_those_of_tiny_students(settings: dict[str, Any]) -> None:
    tiny, language = gym.make(ID), gym.make(ID, **settings)
    assert tiny.observation_space == language.observation_space
    assert tiny.action_space == language.action_space


def test_lessons_lower_the_loss_and_are_billed_by_their_tokens(settings: dict[str, Any]) -> None:
    env: Any = gym.make(ID, **{**settings, "budget": 6 * 64.0}).unwrapped
    first, _ = env.reset(seed=0)
    for _ in range(6):
        observation, *_ = env.step(env.action_space.encode(np.repeat(first["target"], 4)))
    before, after = ((seen["loss"] * seen["target"]).sum() for seen in (first, observation))
    assert after < before - 0.5
    bill = env.ledger()
    items, tokens = (bill["student_training"][unit] for unit in ("items", "tokens"))
    pool = env.students.task.pool("train")
    lengths = env.students.students.tokens((pool.start[:, None] + torch.arange(3)).view(1, -1))
    assert lengths.min() * items <= tokens <= lengths.max() * items
    assert bill["student_inference"]["items"] == 7 * 14 * 2


def test_base_students_differ_by_seed_and_pool_and_answer_alike(settings: dict[str, Any]) -> None:
    envs = [gym.make_vec(ID, num_envs=2, pool=pool, **settings) for pool in ("train", "evaluation")]
    for one in envs:
        one.reset(seed=0)
    students = np.concatenate([one.unwrapped.state["student"].numpy() for one in envs])  # type: ignore[attr-defined]
    assert len(np.unique(students.round(6), axis=0)) == 4
    exams = [one.unwrapped.examine("test") for one in envs]  # type: ignore[attr-defined]
    assert all((exam["right"] == exams[0]["right"][0]).all() for exam in exams)


def test_a_teacher_reads_what_the_student_said_and_its_own_items_are_learned(settings: dict[str, Any]) -> None:
    env: Any = gym.make("kdgym/DataGen-Math-OpenEnded-v0", errors=4, **{**settings, "budget": 6 * 48.0}).unwrapped
    text, _ = env.reset(seed=0)
    error = json.loads(text)["errors"][0]
    item = {"problem": error["problem"], "answer": "123"}  # wrong, and learned all the same
    for _ in range(6):
        text, _, _, _, info = env.step(json.dumps([item] * 48))
        assert info["items/accepted"] == 48
    students, state = env.students.students, env.students.state
    problem = students.task._by_sentence[students.task.plain(error["problem"])]
    said = students.decode(state["student"], torch.tensor([[problem]]))
    assert students.text_of(said[0]) == ["123"]


def test_language_models_get_shorter_courses_unless_told_otherwise(settings: dict[str, Any]) -> None:
    given = {key: settings[key] for key in ("student", "student_options")}
    config = gym.make(ID, **given).unwrapped.students.config  # type: ignore[attr-defined]
    for name, value in recommended_settings(settings["student"]).items():
        assert getattr(config, name) == value
    assert gym.make(ID, steps=3, **given).unwrapped.students.config.steps == 3  # type: ignore[attr-defined]
    assert recommended_settings("transformer") == {}


@pytest.mark.thorough
def test_reports_run_the_same_teachers_and_have_a_placebo_twin(settings: dict[str, Any], tmp_path: Path) -> None:
    """An SB3 file and a rule, on a task where some problems have several right answers."""
    reasoning = ID.replace("Math", "Reasoning")
    chosen = {"datasets": ["gcd", "palindrome_generation"], "items": 64, "steps": 2, "budget": 32.0, "max_targets": 1}
    given = {**settings, **chosen}
    vector: Any = as_vec_env(gym.make_vec(reasoning, num_envs=2, **given))
    PPO("MultiInputPolicy", vector, n_steps=2, batch_size=4).save(tmp_path / "model.zip")
    command = ["compare", reasoning, "--episodes", "2", "--json", str(tmp_path / "records.json"), "--agents",
               f"target_proportional,{tmp_path}/model.zip", "--student", given.pop("student")]  # fmt: skip
    for name, value in given.items():
        command += ["--set", f"{name}={json.dumps(value)}"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    records = json.loads((tmp_path / "records.json").read_text())["records"]
    assert [len(record["curve"]) for record in records] == [2] * 3
    assert all(len(record["besides"]["placebo"]) == 2 for record in records)


def test_misconceptions_are_for_students_that_are_pretrained(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not pretrained"):
        gym.make(ID, misconceptions=2, **settings)


KILLED = """
import json, sys, numpy as np, torch, gymnasium as gym, kdgym
from pathlib import Path
torch.set_num_threads(1)
folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
env = gym.make("kdgym/DataGen-Math-v0", **settings).unwrapped
saved = folder / "student.safetensors"
env.reset(seed=4)
if saved.exists():
    env.restore(saved)
action = np.linspace(-1, 1, env.action_space.shape[0], dtype=np.float32)
while True:
    step = int(env.students.state["step"][0])
    print(step, flush=True)
    observation, reward, terminated, *_ = env.step(action)
    if terminated:
        break
    env.snapshot().save(saved)
np.save(folder / f"{sys.argv[3]}.npy", np.concatenate([observation["loss"], env.students.state["student"][0].numpy()]))
"""


@pytest.mark.thorough
def test_killed_in_the_middle_of_a_step_a_lesson_goes_on_as_if_nothing_had_happened(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    def start(folder: Path, name: str) -> Any:
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-c", KILLED, str(folder), json.dumps({**settings, "budget": 6 * 64.0}), name]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    whole = start(tmp_path / "whole", "end")
    killed = start(tmp_path / "killed", "end")
    for line in killed.stdout:
        if int(line) == 3:
            break
    time.sleep(0.05)  # into the step; where exactly does not matter
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    again = start(tmp_path / "killed", "end")
    assert int(again.stdout.readline()) in (3, 4)
    assert again.wait() == 0 == whole.wait()
    ends = [np.load(tmp_path / folder / "end.npy") for folder in ("whole", "killed")]
    assert np.array_equal(*ends)
