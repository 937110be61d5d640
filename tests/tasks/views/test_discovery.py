"""Skills found without labels, and tasks under other skills."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from kdgym.tasks import SPLITS, Skill, Task, make_task
from kdgym.tasks.views.discovery import Discovery, abstract, agreement, discover
from kdgym.tasks.views.regrouped import RegroupedTask

pytestmark = pytest.mark.slow

SMALL = {"Math": {"radix": 4}, "VQA": {"digits": 5}}


@pytest.fixture(scope="module", params=list(SMALL))
def task(request: pytest.FixtureRequest) -> Task:
    return make_task(request.param, **SMALL[request.param])


@pytest.fixture(scope="module")
def found(task: Task) -> Discovery:
    return discover(task)


def problems(task: Task, split: str) -> set[int]:
    pool = task.pool(split)  # type: ignore[arg-type]
    return {p for s, n in zip(pool.start.tolist(), pool.count.tolist(), strict=True) for p in range(s, s + n)}


def test_clusters_agree_with_the_skills_far_better_than_chance(task: Task, found: Discovery) -> None:
    assert agreement(task, found) > 0.9
    shuffled = np.random.default_rng(0).permutation(found.cluster)
    assert abs(agreement(task, Discovery(shuffled, (), 0.0))) < 0.02
    assert agreement(task, Discovery(task.skill_of.numpy(), (), 0.0)) == 1


def test_every_problem_has_a_cluster_and_the_largest_comes_first(task: Task, found: Discovery) -> None:
    assert len(found.cluster) == len(task.prompt)
    assert found.sizes.min() > 0
    assert (np.diff(found.sizes) <= 0).all()
    assert len(found.examples) == len(found.sizes)


def test_labels_are_not_looked_at(task: Task, found: Discovery) -> None:
    """Validation problems under shuffled labels lead to the same clusters."""
    blind = copy.copy(task)
    blind.skills = tuple(Skill(f"s{i}", "?") for i in range(len(task.skills)))
    text = task.text
    labels = task.skill_of
    blind.text = text  # type: ignore[method-assign]
    blind.skill_of = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    np.testing.assert_array_equal(discover(blind).cluster, found.cluster)


def test_discovery_is_deterministic(task: Task, found: Discovery) -> None:
    again = discover(task)
    np.testing.assert_array_equal(again.cluster, found.cluster)
    assert again.examples == found.examples


def test_a_number_of_clusters_can_be_asked_for(task: Task) -> None:
    assert len(discover(task, clusters=5).sizes) == 5


@pytest.mark.parametrize("clusters", [-1, 0, 1, 10**6])
def test_impossible_numbers_of_clusters_are_refused(task: Task, clusters: int) -> None:
    with pytest.raises(ValueError, match=rf"clusters is {clusters}; choose from 2 to"):
        discover(task, clusters)


def test_what_a_problem_says_without_its_numbers() -> None:
    assert abstract("What is 12 + 305?") == abstract("What is 9 + 1?")
    assert abstract("Is cell B empty?") == abstract("Is cell F empty?")
    assert abstract("What is 1 + 2?") != abstract("What is 1 - 2?")


def test_a_regrouped_task_is_the_same_task(task: Task, found: Discovery) -> None:
    skills = [Skill(f"found_{i}", "?") for i in range(len(found.sizes))]
    other = RegroupedTask(task, found.cluster, skills)
    for split in SPLITS:
        mine, theirs = problems(other, split), problems(task, split)
        assert len(mine) == len(theirs)
        assert sorted(other.text(p) for p in list(mine)[:50]) == sorted(
            task.text(int(other._old[p])) for p in list(mine)[:50]
        )
        assert {int(other._old[p]) for p in mine} == theirs, "no problem changes its split"
        pool = other.pool(split)
        for skill, (start, count) in enumerate(zip(pool.start.tolist(), pool.count.tolist(), strict=True)):
            assert (other.skill_of[start : start + count] == skill).all()
    chosen = np.random.default_rng(0).choice(len(task.prompt), 60, replace=False).tolist()
    for problem in chosen:
        answer = task.answer_text(int(other.solution[problem]))
        assert other.verify(problem, answer)
        assert other.judge(torch.tensor([problem]), task.answer[other.solution[problem]][None]).all()
        train = problem in problems(other, "train")
        if train:
            posed = other.read_problem(other.write_problem(problem))
            assert torch.equal(posed.prompt, other.prompt[problem])
    first, size = other.answer_pool.start, other.answer_pool.count
    inside = (other.solution >= first[other.skill_of]) & (other.solution < (first + size)[other.skill_of])
    assert inside[sorted(problems(other, "train"))].all()


def test_a_skill_without_test_problems_is_refused(task: Task) -> None:
    cluster = np.zeros(len(task.prompt), np.int64)
    cluster[sorted(problems(task, "train"))[:5]] = 1
    with pytest.raises(ValueError, match="few has no problems in the split validation"):
        RegroupedTask(task, cluster, [Skill("all", "?"), Skill("few", "?")])
