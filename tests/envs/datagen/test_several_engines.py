"""Open-Ended with several data engines: one a skill is sound, which one is hidden, and the text says enough to find it out."""

from __future__ import annotations

import json
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import kdgym  # noqa: F401  # registers the environments
from kdgym.evaluation import decide, introduce, load_agent
from kdgym.students import TransformerStudents

MATH = "kdgym/DataGen-Math-OpenEnded-v1"
IDS = [MATH, "kdgym/DataGen-VQA-OpenEnded-v1", "kdgym/DataGen-Reasoning-OpenEnded-v1"]
SMALL: dict[str, Any] = {"steps": 3, "budget": 3 * 256.0, "validation_items": 8}


def make(env_id: str = MATH, num_envs: int = 4, **changes: Any) -> tuple[Any, list[Any]]:
    envs = gym.make_vec(env_id, num_envs=num_envs, autoreset=False, **{**SMALL, **changes})
    return envs, [json.loads(text) for text in envs.reset(seed=0)[0]]


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The batches that students learn."""
    seen: list[Any] = []
    train = TransformerStudents.train

    def record(self: Any, rows: Any, batch: Any, *rest: Any) -> Any:
        seen.append(batch)
        return train(self, rows, batch, *rest)

    monkeypatch.setattr(TransformerStudents, "train", record)
    return seen


def drawn(envs: Any, taught: list[Any], *draw: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Skills of the items that a draw gives each student, and whether their answers are right, [S, items] each."""
    envs.step([json.dumps([{"draw": 256, **one}]) for one in draw])
    batch = taught[-1]
    return envs.task.skill_of[batch.problem], batch.target == envs.task.solution[batch.problem]


def like(seen: Any) -> dict[str, Any]:
    return {"like": seen["errors"][0]["problem"]}


@pytest.mark.parametrize("env_id", IDS)
def test_the_sound_engine_of_a_skill_is_always_right_and_the_others_are_often_wrong(env_id: str, taught: Any) -> None:
    for asked in "ABCDE":
        envs, seen = make(env_id)
        skill, right = drawn(envs, taught, *({**like(one), "engine": asked} for one in seen))
        sound = envs.hidden()["sound"]
        for i, mine in enumerate(skill[:, 0].tolist()):
            assert (skill[i] == mine).all()
            share = float(right[i].double().mean())
            assert share == 1 if "ABCDE"[sound[i, mine]] == asked else 0.15 < share < 0.45


def test_without_a_name_items_come_from_all_engines(taught: Any) -> None:
    envs, seen = make(num_envs=16, steps=1, budget=256.0)
    for draw in ([{}] * 16, [like(one) for one in seen]):
        envs.reset(seed=0)
        _, right = drawn(envs, taught, *draw)
        assert float(right.double().mean()) == pytest.approx(0.2 + 0.8 * 0.3, abs=0.05)


def test_faulty_engines_share_their_wrong_answers_and_never_change_their_mind(taught: Any) -> None:
    said: dict[tuple[int, int], set[int]] = {}
    for engine in "ABCDEA":
        envs, seen = make()
        drawn(envs, taught, *({**like(one), "engine": engine} for one in seen))
        wrong = taught[-1].target != envs.task.solution[taught[-1].problem]
        for i, j in wrong.nonzero().tolist():
            key = i, int(taught[-1].problem[i, j])
            said.setdefault(key, set()).add(int(taught[-1].target[i, j]))
    assert len(said) > 500
    assert all(len(answers) == 1 for answers in said.values())


def test_which_engine_is_sound_is_drawn_for_every_skill_and_episode() -> None:
    envs, _ = make(num_envs=32)
    first = envs.hidden()["sound"]
    envs.reset()
    assert np.abs(np.bincount(first.flatten(), minlength=5) / first.size - 0.2).max() < 0.1
    assert (first == envs.hidden()["sound"]).mean() < 0.4


@pytest.mark.parametrize("env_id", IDS)
def test_the_first_errors_show_what_an_engine_says_and_would_sell(env_id: str) -> None:
    envs, seen = make(env_id, 16, checks=3)
    sound, asked = envs.hidden()["sound"], set()
    for i, one in enumerate(seen):
        assert one["engines"] == list("ABCDE")
        assert ["engine" in error for error in one["errors"]] == [j < 3 for j in range(len(one["errors"]))]
        for error in one["errors"][:3]:
            asked.add(error["engine"])
            envs.task.read_answer(error["engine_answer"])
            skill = envs.task.read_problem(error["problem"]).skill
            if error["engine_answer"] != error["right"]:
                assert "ABCDE"[sound[i, skill]] != error["engine"]
    assert asked == set("ABCDE")
    assert any(error["engine_answer"] != error["right"] for one in seen for error in one["errors"][:3])


def test_an_engine_that_there_is_not_is_refused_in_a_sentence() -> None:
    lesson = '[{"draw": 2, "engine": "F"}, {"draw": 3, "engine": "A"}]'
    envs, _ = make(num_envs=1)
    *_, info = envs.step([lesson])
    assert (info["items/rejected/malformed"].item(), info["items/accepted"].item()) == (1, 3)
    assert info["items/explained"][0] == "Item 0: engine is 'F'; choose from A, B, C, D, E."
    envs, _ = make("kdgym/DataGen-Code-OpenEnded-v0", 1)
    *_, info = envs.step([lesson])
    assert info["items/accepted"].item() == 0
    assert "there is only one, so leave engine out" in info["items/explained"][0]


def test_settings_of_one_engine_are_those_of_older_cards_and_snapshots() -> None:
    """With several, the settings of engines are told, so that a snapshot fits its own environment alone."""
    told = {"engines", "engine_errors", "checks"}
    assert told <= make()[0].settings.keys()
    assert not told & make("kdgym/DataGen-Code-OpenEnded-v0")[0].settings.keys()


def test_info_does_not_tell_which_drawn_items_are_right() -> None:
    envs, seen = make(num_envs=2)
    mine = {"problem": seen[0]["errors"][0]["problem"], "answer": seen[0]["errors"][0]["right"]}
    *_, info = envs.step([json.dumps([mine, {"draw": 100, "engine": "A"}]), '[{"draw": 100, "engine": "A"}]'])
    assert info["items/verified"].tolist() == [1, 0]


@pytest.mark.slow
@pytest.mark.parametrize("env_id", IDS)
def test_the_text_alone_tells_a_reader_which_engine_is_sound(env_id: str) -> None:
    """Without what engines say in it, the same reader is as good as chance: that is what separates it from other rules."""
    assert trusted(env_id, told=True) > 0.6
    assert trusted(env_id, told=False) < 0.35


def trusted(env_id: str, told: bool) -> float:
    """Share of the sixth step's money that a reader spends on the sound engine of the skill that it orders."""
    envs, _ = make(env_id, 16, steps=6, budget=6 * 256.0)
    observation, _ = envs.reset(seed=0)
    reader: Any = load_agent("vet_engines", envs)
    introduce(reader, envs, observation)
    for _ in range(6):
        action = decide(reader, envs, observation if told else [mute(text) for text in observation])
        observation, *_ = envs.step(action)
    good, money = 0, 0
    for text, sound in zip(action, envs.hidden()["sound"], strict=True):
        for item in (item for item in json.loads(text) if "like" in item):
            skill = envs.task.read_problem(item["like"]).skill
            good += item["draw"] * ("ABCDE"[sound[skill]] == item["engine"])
            money += item["draw"]
    return good / money


def mute(text: str) -> str:
    """The observation, with every engine's answer made the right one."""
    seen = json.loads(text)
    for error in seen["errors"]:
        error.update({"engine_answer": error["right"]} if "engine" in error else {})
    return json.dumps(seen)
