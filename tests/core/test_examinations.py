"""What leaves no trace: examinations of misconceptions, of retention and of practice."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import kdgym  # noqa: F401  # registers the environments
from kdgym.core import StudentSnapshot
from kdgym.evaluation.statistics import mean_interval
from kdgym.registration import ENVIRONMENTS
from kdgym.students import Batch
from kdgym.tasks.examination import fixed_items
from kdgym.tasks.misconceptions import wrong_rules
from kdgym.testing import check

ID = "kdgym/DataGen-Math-v0"
SMALL: dict[str, Any] = {"steps": 3, "budget": 1920.0, "validation_items": 8}
MATH = ["SkillList", "OpenEnded", "SkillTree"]
IDS = {
    "SkillList": ID,
    "OpenEnded": "kdgym/DataGen-Math-OpenEnded-v0",
    "SkillTree": "kdgym/DataGen-Math-SkillTree-v0",
}


def make(num_envs: int = 4, env_id: str = ID, **settings: Any) -> Any:
    return gym.make_vec(env_id, num_envs=num_envs, autoreset=False, **{**SMALL, **settings})


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(np.array_equal(np.asarray(a), np.asarray(b)))


def rows(envs: Any) -> list[torch.Tensor]:
    return list(envs.snapshot().rows)


def unchanged(envs: Any, before: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(rows(envs), before, strict=True))


def clean_lesson(envs: Any) -> np.ndarray:
    """All money to the clean sources of all skills, as upper bounds may."""
    return np.asarray(envs.single_action_space.encode(envs.hidden()["kind"] == 0))


# --- misconceptions --------------------------------------------------------------------------------------------------


KNOWN = [entry.id for entry in ENVIRONMENTS if entry.settings.get("task") in ("Math", "Code", "VQA")]


@pytest.mark.slow
@pytest.mark.parametrize("env_id", KNOWN)
def test_every_id_whose_task_knows_wrong_rules_takes_misconceptions(env_id: str) -> None:
    envs = make(2, env_id, misconceptions=1)
    envs.reset(seed=0)
    envs.step(envs.action_space.sample())
    found = envs.examine_misconceptions()
    assert (found["held"].sum(1) == 1).all()
    assert found["held"].shape == found["expression"].shape == (2, len(envs.task.misconceptions))


COURSES = [
    e.id
    for e in ENVIRONMENTS
    if e.module.startswith(("kdgym.envs.datagen", "kdgym.envs.feedback.feedback")) and not e.needs_model
]


@pytest.mark.parametrize("env_id", [env_id for env_id in COURSES if env_id not in KNOWN])
def test_tasks_without_wrong_rules_say_so(env_id: str) -> None:
    with pytest.raises(ValueError, match=r"misconceptions is 1; .* knows none"):
        make(2, env_id, misconceptions=1)


@pytest.mark.slow
@pytest.mark.parametrize("level", MATH)
def test_the_contract_holds_with_misconceptions(level: str) -> None:
    check(IDS[level], misconceptions=2, validation_items=8, steps=6, budget=384.0)


def test_before_the_first_lesson_nothing_is_cured_and_nothing_harmed() -> None:
    envs = make(misconceptions=2)
    envs.reset(seed=0)
    found = envs.examine_misconceptions()
    assert np.array_equal(found["expression"], found["expression_before"])
    assert not found["cured"].any() and not found["harm"].any()


@pytest.mark.parametrize("split", ["validation", "test"])
def test_what_the_examination_says_is_what_answers_say(split: Any) -> None:
    """The same by loops over students, rules and items."""
    envs = make(3, misconceptions=2)
    envs.reset(seed=4)
    students, task = envs.students, envs.task
    problem = fixed_items(task, split, 128).expand(3, -1)
    first = students.decode(envs.state["student"], problem)
    envs.step(clean_lesson(envs))
    last = students.decode(envs.state["student"], problem)
    found = envs.examine_misconceptions(split)
    rules = wrong_rules(task)
    for s in range(3):
        right = [
            [task.verify(int(p), task.write_tokens(a[s, i])) for i, p in enumerate(problem[s])] for a in (first, last)
        ]
        lost = [not now for before, now in zip(*right, strict=True) if before]
        assert found["harm"][s] == pytest.approx(np.mean(lost))
        for m in range(len(task.misconceptions)):
            asked = [i for i, p in enumerate(problem[s]) if rules.wrong[m, p]]
            said = [[torch.equal(a[s, i], rules.answer[m, problem[s, i]]) for i in asked] for a in (first, last)]
            assert found["expression_before"][s, m] == pytest.approx(np.mean(said[0]))
            assert found["expression"][s, m] == pytest.approx(np.mean(said[1]))
            better = [right[1][i] for i, before in zip(asked, said[0], strict=True) if before]
            assert found["cured"][s, m] == pytest.approx(np.mean(better) if better else 0)


@pytest.mark.slow
def test_right_items_cure() -> None:
    envs = make(16, misconceptions=("smaller_from_larger",))
    envs.reset(seed=0)
    about = np.array([skill.name in ("sub", "sub_no_borrow") for skill in envs.task.skills]).repeat(4)
    for _ in range(3):
        envs.step(np.asarray(envs.single_action_space.encode(about * (envs.hidden()["kind"] == 0))))
    found = envs.examine_misconceptions()
    m = found["held"][0].argmax()
    assert mean_interval(found["expression_before"][:, m] - found["expression"][:, m]).low > 0.1
    assert mean_interval(found["cured"][:, m]).low > 0.02


def test_a_bad_lesson_harms_more_than_none() -> None:
    envs = make(8, misconceptions=1)
    envs.reset(seed=0)
    bad = np.asarray(envs.single_action_space.encode(envs.hidden()["kind"] != 0))
    envs.step(bad)
    assert mean_interval(envs.examine_misconceptions()["harm"]).low > 0.1


@pytest.mark.parametrize("level", MATH)
def test_who_has_which_reaches_no_teacher(level: str) -> None:
    """Observations, rewards and infos are bitwise the same, whatever the truth is."""
    envs = make(4, IDS[level], misconceptions=2)
    _, info = envs.reset(seed=0)
    assert not re.search(r"\bheld\b", json.dumps(info, default=str))
    snapshot, first = envs.snapshot(), envs.observe()
    envs.action_space.seed(0)
    action = envs.action_space.sample()
    truth = envs.step(action)
    envs.restore(snapshot)
    envs.state["held"][:] = ~envs.state["held"]
    envs.state["start"][:] = 0.0
    assert same(envs.observe(), first)
    lie = envs.step(action)
    assert all(same(a, b) for a, b in zip(truth, lie, strict=True))


def test_an_open_ended_teacher_sees_what_practice_says_about_every_rule() -> None:
    envs = make(2, IDS["OpenEnded"], misconceptions=2)
    texts, _ = envs.reset(seed=1)
    rules = wrong_rules(envs.task)
    for s, text in enumerate(texts):
        shown = json.loads(text)["wrong_rules"]
        assert list(shown) == [m.name for m in envs.task.misconceptions]
        probe, given = envs.state["probe"][s], envs.state["given"][s]
        for m, rule in enumerate(shown.values()):
            assert rule["description"] == envs.task.misconceptions[m].description
            wrong = [i for i, p in enumerate(probe.tolist()) if rules.wrong[m, p]]
            assert rule["asked"] == len(wrong)
            assert rule["followed"] == sum(torch.equal(given[i], rules.answer[m, probe[i]]) for i in wrong)


def test_without_misconceptions_teachers_read_nothing_of_them() -> None:
    texts, _ = make(1, IDS["OpenEnded"]).reset(seed=1)
    assert "wrong_rules" not in texts[0]


def test_a_student_that_goes_on_keeps_its_truth_and_starts_anew() -> None:
    envs = make(misconceptions=2)
    envs.reset(seed=0)
    envs.step(clean_lesson(envs))
    held = envs.examine_misconceptions()["held"]
    envs.reset(options={"restart": "continue"})
    again = envs.examine_misconceptions()
    assert np.array_equal(again["held"], held)
    assert not again["harm"].any()


def test_snapshots_and_branches_know_the_truth(tmp_path: Path) -> None:
    envs = make(2, misconceptions=2)
    envs.reset(seed=0)
    envs.step(clean_lesson(envs))
    expected = envs.examine_misconceptions()
    envs.snapshot().save(tmp_path / "students.safetensors")
    other = make(2, misconceptions=2)
    other.restore(StudentSnapshot.load(tmp_path / "students.safetensors"))
    assert same(other.examine_misconceptions(), expected)
    branches = envs.branch(2).examine_misconceptions()
    assert all(np.array_equal(branches[name][::2], expected[name]) for name in expected)
    with pytest.raises(ValueError, match="misconceptions"):
        make(2, misconceptions=1).restore(envs.snapshot())


def test_ordinary_students_have_nothing_to_report() -> None:
    envs = make(1)
    envs.reset(seed=0)
    assert "held" not in envs.state.layout
    with pytest.raises(ValueError, match="misconceptions=2"):
        envs.examine_misconceptions()


@pytest.mark.parametrize("wanted", [7, -1, ["drops_everything"], "drops_carries", 1.5])
def test_unknown_misconceptions_are_refused_in_a_sentence(wanted: Any) -> None:
    with pytest.raises(ValueError, match=r"misconception.*(drops_carries|refused)"):
        make(1, misconceptions=wanted)


# --- retention and practice ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", MATH)
def test_examinations_leave_students_as_they_are(level: str) -> None:
    envs = make(3, IDS[level], misconceptions=1)
    envs.reset(seed=0)
    envs.step(envs.action_space.sample())
    before, ledger = rows(envs), envs.ledger()
    envs.examine_misconceptions()
    envs.examine_retention(100)
    envs.examine_practice(2, 100)
    assert unchanged(envs, before)
    assert same(envs.ledger(), ledger)


def test_retention_is_the_score_after_unrelated_training() -> None:
    envs = make(16)
    envs.reset(seed=0)
    target = envs.state["target"].numpy()
    envs.step(np.asarray(envs.single_action_space.encode(target.repeat(4, 1) * (envs.hidden()["kind"] == 0))))
    score = envs.examine()["score"]
    little, much = envs.examine_retention(16), envs.examine_retention(1280)
    assert little["before"] == pytest.approx(score) and much["before"] == pytest.approx(score)
    assert mean_interval(little["after"] - much["after"]).low > 0


def test_unrelated_items_are_of_no_target_and_right(monkeypatch: pytest.MonkeyPatch) -> None:
    envs = make(4)
    envs.reset(seed=0)
    seen: list[Batch] = []
    train = envs.students.train

    def watched(state: torch.Tensor, batch: Batch) -> torch.Tensor:
        seen.append(batch)
        result: torch.Tensor = train(state, batch)
        return result

    monkeypatch.setattr(envs.students, "train", watched)
    envs.examine_retention(500)
    (batch,) = seen
    problem, answer, count = batch.problem, batch.target, batch.count
    assert problem.shape == (4, 500) and count.tolist() == [500] * 4
    assert torch.equal(answer, envs.task.solution[problem])
    target = envs.state["target"]
    for s in range(4):
        practised = torch.bincount(envs.task.skill_of[problem[s]], minlength=14)
        assert not practised[target[s] > 0].any()
        assert (practised[target[s] == 0] > 10).all()
    pool = envs.task.pool("train")
    place = problem - pool.start[envs.task.skill_of[problem]]
    assert (place >= 0).all() and (place < pool.count[envs.task.skill_of[problem]]).all()


def test_retention_is_repeatable_and_each_students_own() -> None:
    envs = make(3)
    envs.reset(seed=5)
    together = envs.examine_retention(200)
    assert same(envs.examine_retention(200), together)
    alone = make(1)
    alone.reset(seed=7)
    assert alone.examine_retention(200)["after"] == pytest.approx(together["after"][2:])


def test_practice_teaches_what_is_practised() -> None:
    envs = make(8)
    envs.reset(seed=0)
    found = envs.examine_practice(0, 640)
    change = found["after"] - found["before"]
    assert found["before"].shape == (8, 14)
    assert mean_interval(change[:, 0]).low > 0.1  # addition without carries
    asked = envs.examine()
    assert found["before"] == pytest.approx(asked["right"] / asked["asked"])


def test_bad_requests_are_refused() -> None:
    envs = make(1)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match="at least 1 item"):
        envs.examine_retention(0)
    with pytest.raises(ValueError, match="choose from 0 to 13"):
        envs.examine_practice(14, 10)
    with pytest.raises(ValueError, match="no split 'exam'"):
        envs.examine_retention(10, "exam")
    envs.state["target"][:] = 1 / 14
    with pytest.raises(ValueError, match="smaller max_targets"):
        envs.examine_retention(10)
