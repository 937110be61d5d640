"""`kdgym.evaluate` and `kdgym.compare`: agents as names, files, classes and objects, and results that show themselves."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import PPO

import kdgym
from kdgym.evaluation import Comparison, agent_name
from kdgym.integrations.sb3 import as_vec_env
from kdgym.teaching import Teacher

ID = "kdgym/DataGen-Math-v0"
SMALL: dict[str, Any] = {"steps": 3, "budget": 600.0, "validation_items": 8}
PNG = b"\x89PNG"


class FirstSkill(Teacher):
    """All the money on the first source of a skill, the next one at every step; it has to forget the last episode."""

    resets = 0

    def reset(self, observation: Any) -> None:
        self.step = 0
        self.resets += 1

    def act(self, observation: Any) -> Any:
        shares = np.zeros((len(observation["time"]), *self.action_space.shape))
        shares[:, 4 * self.step] = 1
        self.step += 1
        return self.action_space.encode(shares)


@pytest.fixture(scope="module")
def spaces() -> tuple[Any, Any]:
    envs: Any = gym.make_vec(ID, num_envs=1, **SMALL)
    return envs.single_observation_space, envs.single_action_space


@pytest.fixture(scope="module")
def found() -> Comparison:
    return kdgym.compare(ID, ["target_proportional", FirstSkill, "informed"], 4, **SMALL)


def test_a_class_an_object_and_a_file_score_alike(spaces: tuple[Any, Any], found: Comparison, tmp_path: Path) -> None:
    one, file = FirstSkill(*spaces), tmp_path / "mine.py"
    file.write_text("from tests.evaluation.test_comparison import FirstSkill as Agent\n")
    for agent in (FirstSkill, one, file, str(file)):
        result = kdgym.evaluate(ID, agent, 4, **SMALL)
        assert np.array_equal(result.after, found["FirstSkill"].after)
        assert result.agent == (str(file) if agent in (file, str(file)) else "FirstSkill")
    assert one.resets == 1


def test_an_object_is_reset_for_every_population(spaces: tuple[Any, Any], found: Comparison) -> None:
    one = FirstSkill(*spaces)
    result = kdgym.evaluate(ID, one, 4, population=2, **SMALL)
    assert one.resets == 2
    assert np.array_equal(result.after, found["FirstSkill"].after)


def test_an_object_needs_act_alone(spaces: tuple[Any, Any]) -> None:
    class Still:
        def act(self, observation: Any) -> Any:
            return np.zeros((len(observation["time"]), *spaces[1].shape), dtype=np.float32)

    assert np.array_equal(
        kdgym.evaluate(ID, Still(), 4, **SMALL).after, kdgym.evaluate(ID, "uniform", 4, **SMALL).after
    )


def test_a_stable_baselines3_model_is_asked_for_its_mode(tmp_path: Path) -> None:
    model = PPO("MultiInputPolicy", as_vec_env(gym.make_vec(ID, num_envs=2, **SMALL)), n_steps=4, batch_size=8, seed=0)
    model.save(tmp_path / "model.zip")
    found = kdgym.compare(ID, {"object": model, "zip": tmp_path / "model.zip"}, 2, **SMALL)
    assert np.array_equal(found["object"].curve, found["zip"].curve)
    assert agent_name(model) == "PPO"


@pytest.mark.parametrize(
    ("agent", "message"),
    [
        (3, "class int has neither act"),
        (dict, r"class dict has no method act\(observation\)"),
        ("rnadom", "Did you mean 'random'"),
        ("s3rl", "does not fit"),
        (Path("nothing.py"), "file not found"),
    ],
)
def test_what_is_no_agent_is_refused_before_anybody_teaches(agent: Any, message: str) -> None:
    told: list[str] = []
    with pytest.raises(ValueError, match=message):
        kdgym.compare(ID, ["uniform", agent], 2, progress=lambda name, *_: told.append(name), **SMALL)
    assert not told


def test_the_control_is_the_environments_unless_another_is_named(found: Comparison, spaces: tuple[Any, Any]) -> None:
    assert [result.agent for result in found] == ["uniform", "target_proportional", "FirstSkill", "informed"]
    assert found.control is found["uniform"]
    named = kdgym.compare(ID, {"a": FirstSkill, "b": FirstSkill(*spaces)}, 2, control="b", **SMALL)
    assert ([result.agent for result in named], named.control.agent) == (["a", "b"], "b")
    other = kdgym.compare(ID, [FirstSkill, FirstSkill(*spaces)], 2, control="random", **SMALL)
    assert [result.agent for result in other] == ["random", "FirstSkill", "FirstSkill 2"]
    with pytest.raises(KeyError, match="no 'nobody' in this comparison of uniform"):
        found["nobody"]


def test_progress_reaches_its_end() -> None:
    told: list[tuple[str, int, int]] = []
    kdgym.compare(ID, ["random", "no teaching"], 2, progress=lambda *each: told.append(each), **SMALL)
    done = [done for _, done, _ in told]
    assert done == sorted(done)
    assert told[-1] == ("done", 18, 18)
    assert {total for *_, total in told} == {18}


def test_a_comparison_prints_and_shows_itself(found: Comparison, tmp_path: Path) -> None:
    text = str(found)
    assert repr(found) == text
    assert max(map(len, text.splitlines())) <= 80
    for result in found:
        assert re.search(rf"^ {result.agent}.* {result.after.mean():.2f} ", text, re.MULTILINE)
    html = found._repr_html_()
    assert "<pre>" in html and "target_proportional" in html
    assert base64.b64decode(html.partition("base64,")[2].partition('"')[0]).startswith(PNG)
    assert found.plot(tmp_path / "new" / "found.png")._repr_png_().startswith(PNG)
    assert (tmp_path / "new" / "found.png").read_bytes().startswith(PNG)
    content = json.loads(json.dumps(found.to_json()))
    assert content["control"] == "uniform"
    assert {record["agent"]: record["after"] for record in content["records"]} == {
        result.agent: result.after.tolist() for result in found
    }


def test_a_result_prints_and_shows_itself(found: Comparison, tmp_path: Path) -> None:
    result = found["FirstSkill"]
    assert f"{result.before.mean():.2f}" in repr(result) and f"{result.after.mean():.2f}" in str(result)
    assert "base64," in result._repr_html_()
    result.plot(tmp_path / "curve.svg")
    assert "<svg" in (tmp_path / "curve.svg").read_text()
