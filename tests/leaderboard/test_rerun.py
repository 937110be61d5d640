"""Level 2: honest teachers pass it, those who know the board's students do not."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import PPO
from typer.testing import CliRunner

import kdgym.leaderboard.rerun
import kdgym.registration
from kdgym.cli import app
from kdgym.evaluation import load_agent, teach
from kdgym.integrations.sb3 import as_vec_env
from kdgym.integrations.sb3_policies import SharedPolicy
from kdgym.leaderboard.badges import KEY, award
from kdgym.leaderboard.record import Disclosures, Record, load_record
from kdgym.leaderboard.rerun import RerunError, rerun
from kdgym.leaderboard.site import build_site
from kdgym.leaderboard.submit import board_seeds, make_record, open_board
from kdgym.leaderboard.trace import Rounded
from kdgym.leaderboard.verify import check, replay

ID = "kdgym/DataGen-Math-v0"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")]


@pytest.fixture(scope="module", autouse=True)
def boards_of_sixteen(small_boards: None) -> Iterator[None]:
    """Enough students for an interval that says something, and the same new ones in every run: one in a hundred honest
    teachers fails by chance, and some who know the board by heart are lucky.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kdgym.leaderboard.rerun, "secret_generator", lambda *_: np.random.default_rng(0))
        entries = tuple(replace(entry, episodes=16) for entry in kdgym.registration.ENVIRONMENTS)
        patch.setattr(kdgym.registration, "ENVIRONMENTS", entries)
        yield


OVERFIT = '''
"""Knows by heart what to do with the board's students, whom it recognises at the first look."""
import base64, zlib
import numpy as np

KNOWN = np.frombuffer(zlib.decompress(base64.b64decode("{known}")), np.int8).reshape({shape}) / 127
LOOKS = np.frombuffer(base64.b64decode("{looks}"), np.float32)


class Agent:
    def __init__(self, observation_space, action_space, seed=0):
        self.action_space = action_space

    def reset(self, observation):
        distance = np.abs(LOOKS - observation["loss"].sum(1)[:, None])
        self.who = [int(row.argmin()) if row.min() < 1e-6 else -1 for row in distance]
        self.step = 0

    def act(self, observation):
        action = np.stack([KNOWN[self.step, i] if i >= 0 else 0 * KNOWN[0, 0] for i in self.who])
        self.step += 1
        return action.astype(np.float32)
'''


LUCKY = """
import numpy as np

class Agent:
    def __init__(self, observation_space, action_space, seed=0):
        self.lesson = np.random.default_rng({seed}).uniform(-1, 1, action_space.shape).astype(np.float32)

    def act(self, observation):
        return np.tile(self.lesson, (len(observation["time"]), 1))
"""


@pytest.fixture(scope="module")
def overfit(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """An upper bound's lessons for the board's students, learned by heart."""
    import base64
    import zlib

    seeds = board_seeds(ID)
    envs = open_board(ID, len(seeds), {})
    looks, _ = envs.reset(seed=seeds)
    _, actions = teach(envs, Rounded(load_agent("informed", envs)), seeds)
    whole = np.rint(np.array(actions) * 127).astype(np.int8)
    source = OVERFIT.format(
        known=base64.b64encode(zlib.compress(whole.tobytes())).decode(),
        shape=whole.shape,
        looks=base64.b64encode(looks["loss"].sum(1).astype(np.float32).tobytes()).decode(),
    )
    file = tmp_path_factory.mktemp("overfit") / "overfit.py"
    file.write_text(source)
    return make_record(ID, str(file), "by heart", ["Eve"])


@pytest.mark.thorough
def test_who_knows_the_boards_students_by_heart_is_found_out(overfit: Record) -> None:
    """It replays, as it did what it says; but the claim does not hold for anybody else."""
    assert check(overfit).passed
    assert replay(overfit, 4).passed
    finding = rerun(overfit, 16)
    assert not finding.passed
    assert "the claim of" in finding.text


def test_an_honest_teacher_holds_its_claim() -> None:
    record = make_record(ID, "target_proportional", "honest", ["Ada"])
    finding = rerun(record, 16)
    assert finding.passed, finding.text
    assert "gain over uniform of 16 new students" in finding.text


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "kind"), [("uniform", "control"), ("no teaching", "control"), ("informed", "oracle")])
def test_who_stands_on_every_board_can_be_run_again(name: str, kind: Any) -> None:
    assert rerun(make_record(ID, name, name, ["kdgym"], kind=kind), 16).passed


def test_a_trained_teacher_needs_its_own_weights(tmp_path: Path) -> None:
    model = tmp_path / "model.zip"
    vec_env = as_vec_env(gym.make_vec(ID, num_envs=2))
    PPO(SharedPolicy, vec_env, seed=0).save(model)
    record = make_record(ID, f"ppo:{model}", "untrained", ["Ada"], kind="rl")
    with pytest.raises(RerunError, match="give the file with sha256"):
        rerun(record, 2)
    other = tmp_path / "other.zip"
    PPO(SharedPolicy, vec_env, seed=1).save(other)
    with pytest.raises(RerunError, match="give the file with sha256"):
        rerun(record, 2, weights=other)
    assert rerun(record, 8, weights=model).passed


def test_persons_and_language_models_stop_at_level_1(overfit: Record, tmp_path: Path) -> None:
    for kind in ("human", "llm"):
        told = overfit.model_copy(update={"agent": overfit.agent.model_copy(update={"kind": kind})})
        with pytest.raises(RerunError, match="level 1"):
            rerun(told, 2)
    told.save(tmp_path / "a.json")
    refused = CliRunner().invoke(app, ["verify", str(tmp_path / "a.json"), "--level", "2", "--students", "2"])
    assert "a.json, level 2: this agent asks the model None: say where that is" in str(refused.exception)


def test_an_agent_that_breaks_down_fails_and_says_how(overfit: Record) -> None:
    import hashlib

    source = "class Agent:\n    def __init__(self, *_, **__): pass\n    def act(self, seen): raise KeyError('lost')\n"
    card = overfit.agent.model_copy(update={"source": source, "sha256": hashlib.sha256(source.encode()).hexdigest()})
    finding = rerun(overfit.model_copy(update={"agent": card}), 2)
    assert (finding.passed, finding.text) == (False, "the re-run failed: the agent broke down: KeyError: 'lost'")


def test_an_upper_bound_of_strangers_does_not_get_the_environment(overfit: Record, tmp_path: Path) -> None:
    file = tmp_path / "greedy.py"
    file.write_text(
        "class Agent:\n    upper_bound = True\n    def __init__(self, *_, **__): self.envs = None\n"
        "    def attach(self, envs): self.envs = envs\n    def act(self, seen): return self.envs.hidden()\n"
    )
    import hashlib

    source = file.read_text()
    card = overfit.agent.model_copy(update={"source": source, "sha256": hashlib.sha256(source.encode()).hexdigest()})
    finding = rerun(overfit.model_copy(update={"agent": card}), 2)
    assert not finding.passed
    assert "'NoneType' object has no attribute 'hidden'" in finding.text


def test_as_many_are_taught_as_the_board_has_or_as_are_asked_for() -> None:
    record = make_record(ID, "no teaching", "no teaching", ["kdgym"], kind="control")
    assert "of 16 new students" in rerun(record).text
    found = rerun(record, 40)
    assert "of 40 new students" in found.text
    assert found.students == 40
    for students in (0, 1, 1025):
        with pytest.raises(ValueError, match=f"students is {students}; a re-run takes 2 to 1024"):
            rerun(record, students)


def test_the_name_of_the_control_changes_nothing() -> None:
    """An added gain fails whatever the record is called: it is gains that are compared, not scores."""
    made = make_record(ID, "uniform", "other", ["Eve"])
    for name in ("other", "uniform"):
        record = made.model_copy(update={"agent": made.agent.model_copy(update={"name": name})})
        after = [min(score + 0.09, 1.0) for score in record.outcome.after]
        boasting = record.model_copy(update={"outcome": record.outcome.model_copy(update={"after": after})})
        finding = rerun(boasting, 16)
        assert finding.passed is False, (name, finding.text)
        assert (finding.claimed, finding.found) == (pytest.approx(0.09), pytest.approx(0.0))
        assert rerun(record, 16).passed


@pytest.mark.thorough
def test_the_best_of_many_tries_is_shown_beside_what_new_students_gained(tmp_path: Path) -> None:
    """Luck that was picked lies within the interval of its own claim; so the page has the re-run's number and the tries."""
    tries = []
    for seed in range(4):
        file = tmp_path / "lucky.py"
        file.write_text(LUCKY.format(seed=seed))
        tries.append(make_record(ID, str(file), "lucky", ["Eve"], disclosures=Disclosures(attempts=seed + 1)))
    best = max(tries, key=lambda record: float(np.mean(record.outcome.after)))
    best = best.model_copy(update={"disclosures": Disclosures(attempts=4)})
    found = rerun(best, 16)
    said = re.match(
        r"gain over uniform of 16 new students is ([+-][\d.]+); the claim of ([+-][\d.]+) may exceed", found.text
    )
    assert said
    assert all(float(np.mean(best.outcome.after)) >= float(np.mean(other.outcome.after)) for other in tries)
    uniform = make_record(ID, "uniform", "uniform", ["kdgym"], kind="control")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY, "ab" * 32)
        signed = award(best, 2, found)
        uniform = award(uniform, 1, replay(uniform))
    signed.save(tmp_path / ID / signed.file_name())
    uniform.save(tmp_path / ID / uniform.file_name())
    (tmp_path / "verifiers.json").write_text(json.dumps({signed.badges[0].verifier: "these tests"}))
    build_site(tmp_path)
    assert found.text in (tmp_path / "site" / "index.html").read_text()
    assert "<dt>attempts</dt><dd>4</dd>" in (tmp_path / "site" / ID / "lucky--eve.html").read_text()


def test_the_command_says_who_failed_and_ends_with_1(overfit: Record, tmp_path: Path) -> None:
    path = tmp_path / "by-heart.json"
    overfit.model_copy(update={"disclosures": Disclosures(attempts=3)}).save(path)
    done = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["verify", str(path), "--level", "2", "--students", "16"])
    assert done.exit_code == 1
    assert "level 1: passed" in done.output
    assert "level 2: FAILED: gain over uniform of 16 new students" in done.output


@pytest.mark.thorough
def test_verifiers_sign_beside_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.json"
    make_record(ID, "target_proportional", "mine", ["Ada"]).save(path)
    for key in ("aa", "bb"):
        monkeypatch.setenv(KEY, key * 32)
        command = ["verify", str(path), "--level", "2", "--students", "16", "--sign"]
        done = CliRunner(env={"COLUMNS": "200"}).invoke(app, command)
        assert done.exit_code == 0, done.output
    record = load_record(path)
    assert [badge.level for badge in record.badges] == [0, 1, 2, 0, 1, 2]
    assert len({badge.verifier for badge in record.badges}) == 2
    assert check(record).passed
