"""reasoning-gym as a task: no problem in two splits, tokens, subskills, settings on every level."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest
import torch

import kdgym  # noqa: F401  # registers the environments
from kdgym import random
from kdgym.envs.datagen.subskills import split_into_regions
from kdgym.tasks import SPLITS, UnreadableError, make_task
from kdgym.tasks.reasoning.task import SMALL, Reasoning
from kdgym.testing import check_splits

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def task() -> Reasoning:
    """The task as environments use it."""
    task = make_task("Reasoning", version=1)
    assert isinstance(task, Reasoning)
    return task


def solution_of(task: Reasoning, problem: int) -> str:
    return task.answer_text(int(task.solution[problem]))


# --- splits ------------------------------------------------------------------------------------------------------


def test_no_problem_of_one_split_is_in_another(task: Reasoning) -> None:
    texts: dict[str, str] = {}
    for split in SPLITS:
        pool = task.pool(split)
        for start, count in zip(pool.start.tolist(), pool.count.tolist(), strict=True):
            for problem in range(start, start + count):
                words = " ".join(sorted(task.text(problem).split()))  # so in no other order either
                assert texts.setdefault(words, split) == split
    assert len(texts) > 20_000


def test_the_public_check_of_splits_passes(task: Reasoning) -> None:
    check_splits(task)


def test_every_skill_has_enough_problems_in_every_split(task: Reasoning) -> None:
    for split, least in zip(SPLITS, (250, 40, 40), strict=True):
        assert (task.pool(split).count >= least).all()


@pytest.mark.thorough
@pytest.mark.parametrize("version", [0, 1])
def test_more_items_keep_the_places_of_the_first(version: int) -> None:
    names = ["gcd", "spell_backward", "leg_counting"]
    few, many = (Reasoning(names, items=items, version=version) for items in (200, 800))
    for split in SPLITS:
        for k in range(3):
            start = int(few.pool(split).start[k]), int(many.pool(split).start[k])
            for i in range(int(few.pool(split).count[k])):
                assert few.text(start[0] + i) == many.text(start[1] + i)


def test_versions_have_the_same_problems(task: Reasoning) -> None:
    closed = make_task("Reasoning")
    assert (closed.version, task.version) == (0, 1) and closed.edition == task.edition
    assert torch.equal(closed.skill_of, task.skill_of)
    texts = [sorted(made.text(problem) for problem in range(len(made.solution))) for made in (closed, task)]
    assert texts[0] == texts[1]


# --- tokens ------------------------------------------------------------------------------------------------------


def test_no_two_problems_look_alike_to_a_student(task: Reasoning) -> None:
    assert len(task.prompt.unique(dim=0)) == len(task.solution)
    assert task.prompt.max() < task.vocabulary and task.answer.max() < task.vocabulary
    assert (task.prompt[:, -1] == task.vocabulary - len(SMALL) + task.skill_of).all()


def test_answers_are_read_as_they_are_written(task: Reasoning) -> None:
    for answer in range(0, len(task.answer), 7):
        assert task.write_tokens(task.answer[answer]) == task.answer_text(answer)
        assert torch.equal(task.read_answer(task.answer_text(answer)), task.answer[answer])


def test_anything_a_student_says_has_a_text_and_the_verdicts_agree(task: Reasoning) -> None:
    tokens = random.integers(torch.tensor(0), 2000 * task.answer.shape[1], task.vocabulary).view(2000, -1)
    problem = random.integers(torch.tensor(1), 2000, len(task.solution))
    tokens[:500] = task.answer[task.solution[problem[:500]]]
    judged = task.judge(problem, tokens)
    assert judged[:500].all()
    for p, row, right in zip(problem.tolist(), tokens, judged.tolist(), strict=True):
        assert task.verify(p, task.write_tokens(row)) >= right


@pytest.mark.parametrize("wrong", ["", "   ", "☃", "1" * 40, "Ω", "perhaps 12, perhaps not"])
def test_what_is_no_answer_cannot_be_read(task: Reasoning, wrong: str) -> None:
    with pytest.raises(UnreadableError, match="one is wanted like"):
        task.read_answer(wrong)


def test_a_teacher_may_write_a_train_problem_and_no_other(task: Reasoning) -> None:
    for split, held_out in zip(SPLITS, (False, True, True), strict=True):
        problem = int(task.pool(split).start[3])
        text = task.text(problem)
        if held_out:
            with pytest.raises(UnreadableError, match="kept for examinations"):
                task.read_problem(text)
        else:
            posed = task.read_problem(text)
            assert torch.equal(posed.prompt, task.prompt[problem]) and posed.solution == int(task.solution[problem])
            assert task.read_problem(text.removesuffix("\nReply with the answer only.")).solution == posed.solution


def test_other_right_answers_of_a_tiny_student_are_judged_by_what_they_say() -> None:
    task = Reasoning({"palindrome_generation": {"max_length": 6}}, items=300)
    assert task.free_form
    problem = next(
        p for p in range(len(task.solution)) if len(set(solution_of(task, p))) == 2 and len(solution_of(task, p)) == 4
    )
    right = task.answer[task.solution[problem]]
    outside, inside = right[:2].tolist()
    tokens = right.repeat(3, 1)
    tokens[1, :4] = torch.tensor([inside, outside, outside, inside])
    tokens[2, :4] = torch.tensor([outside, inside, outside, inside])
    assert task.judge(torch.tensor([problem] * 3), tokens).tolist() == [True, True, False]


def test_a_dataset_that_is_too_long_says_so_and_still_has_texts() -> None:
    with pytest.raises(
        ValueError, match=r"chain_sum has a problem of \d+ tokens; tiny students take at most 32"
    ) as error:
        gym.make("kdgym/DataGen-Reasoning-v1", datasets={"gcd": {}, "chain_sum": {"max_terms": 9}}, items=64)
    assert "datasets={'chain_sum': {...}}" in str(error.value)
    task = Reasoning({"chain_sum": {"max_terms": 9}}, items=64)
    assert task.text(0).startswith("State the final answer") and task.verify(0, solution_of(task, 0))
    assert split_into_regions(task, 2).names[0][0].startswith("num_")
    problem = int(task.pool("train").start[0])
    posed, answer = task.read_problem(task.text(problem)), task.read_answer(solution_of(task, problem))
    assert torch.equal(answer, task.answer[posed.solution]) and task.judge(torch.tensor(problem), answer)
    assert task.write_tokens(answer) == solution_of(task, problem)
    assert len(task.prompt.unique(dim=0)) == len(task.prompt) and len(task.answer.unique(dim=0)) == len(task.answer)


# --- subskills ---------------------------------------------------------------------------------------------------


def test_attributes_of_difficulty_make_the_subskills(task: Reasoning) -> None:
    regions = split_into_regions(task, 1)
    names = {skill.name: regions.names[k] for k, skill in enumerate(task.skills)}
    assert names["spell_backward"] == ["word_len up to 5", "word_len above 5"]
    assert names["gcd"] == ["largest number up to 29", "largest number above 29"]
    k = list(SMALL).index("spell_backward")
    for region, long in ((0, False), (1, True)):
        start, count = int(regions.start[k, region]), int(regions.count[k, region])
        lengths = {len(solution_of(task, problem)) > 5 for problem in regions.problems[start : start + count].tolist()}
        assert lengths == {long}


# --- settings ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "datasets", ["gcd,lcm", " gcd , lcm,", ["gcd", "lcm"], {"gcd": SMALL["gcd"], "lcm": SMALL["lcm"]}]
)
@pytest.mark.parametrize(
    "level", ["", *(pytest.param(level, marks=pytest.mark.thorough) for level in ("-OpenEnded", "-SkillTree"))]
)
def test_datasets_are_named_in_any_way_on_every_level(level: str, datasets: Any) -> None:
    beside = gym.make_vec(f"kdgym/DataGen-Reasoning{level}-v1", datasets=datasets, items=200)
    inside = gym.make_vec(f"kdgym/DataGen-Reasoning{level}-v1", task_options={"datasets": datasets, "items": 200})
    assert beside.unwrapped.task is inside.unwrapped.task  # type: ignore[attr-defined]
    assert beside.unwrapped.task.version == 1  # type: ignore[attr-defined]
    assert [skill.name for skill in beside.unwrapped.task.skills] == ["gcd", "lcm"]  # type: ignore[attr-defined]
    assert beside.unwrapped.config.max_targets == 2  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"datasets": ""}, "at least one dataset"),
        ({"datasets": []}, "at least one dataset"),
        ({"datasets": "gcd,gcd"}, "none twice"),
        ({"datasets": "gdc"}, "no such dataset; try gcd"),
        ({"datasets": {"gcd": {"max_valeu": 3}}}, "max_valeu"),
        ({"datasets": {"gcd": {"min_value": 0}}}, "min_value must be positive"),
        ({"datasets": {"gcd": {"seed": 1}}}, "neither seed nor size"),
        ({"datasets": {"gcd": 5}}, "give a dict"),
        ({"datasets": {"gcd": {"max_value": 2}}}, "choose larger settings or more items"),
        ({"items": 3}, "items is 3; choose 64 to"),
        ({"version": 2}, "version is 2; choose 1, or 0"),
        ({"colour": "red"}, "no option 'colour'; it has datasets, items, version"),
    ],
)
def test_wrong_options_are_refused_in_sentences(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_task("Reasoning", **{"items": 64, **options})
