"""Which items a student gets: from data engines of unknown quality to learn, and in an examination."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kdgym import random
from kdgym.envs.datagen.data_engines import KINDS, PRICES, Sources
from kdgym.tasks import SPLITS, Split, Task, make_task
from kdgym.tasks.examination import draw_items, fixed_items
from kdgym.tasks.math import Math

SKILLS, SOURCES = 14, 3
CLEAN, WRONG, DUPLICATES = range(3)


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task("Math")


def keys(students: int, episode: int = 0) -> Tensor:
    return random.fold(torch.arange(students), episode)


def make(kind: Tensor, count: Tensor, size: int, episode: int = 0, step: int = 0) -> tuple[Tensor, ...]:
    key = keys(len(kind), episode)
    return engines(kind.shape[1] // SKILLS).make_items(kind, count, size, key, random.fold(key, step))


def engines(per_skill: int) -> Sources:
    return Sources(make_task("Math"), per_skill, torch.device("cpu"))


def all_of(kind: int, students: int = 4) -> Tensor:
    return torch.full((students, SKILLS * SOURCES), kind)


def lesson(kind: int, each: int = 10, **which: int) -> tuple[Tensor, ...]:
    """A lesson of ``each`` items from every source, all of one kind."""
    sources = all_of(kind)
    return make(sources, torch.full_like(sources, each), each * sources.shape[1], **which)


def test_the_kinds_are_these() -> None:
    assert [kind.name for kind in KINDS] == ["clean", "wrong answers", "near-duplicates"]
    assert [kind.error_rate for kind in KINDS] == [0, 0.9, 0]


# --- how many, and of what ---------------------------------------------------------------------------------------


@given(
    st.lists(st.lists(st.integers(0, 9), min_size=28, max_size=28), min_size=1, max_size=4),
    st.integers(0, 20),
    st.integers(0, 99),
)
def test_every_source_makes_as_many_items_as_asked(count: list[list[int]], spare: int, step: int) -> None:
    asked = torch.tensor(count)
    kind = engines(2).draw_kinds(keys(len(count)))
    size = int(asked.sum(1).max()) + spare
    problem, answer, source = make(kind, asked, size, step=step)
    assert problem.shape == answer.shape == source.shape == (len(count), size)
    for i, total in enumerate(asked.sum(1).tolist()):  # what follows the first `total` items is filler
        assert torch.equal(source[i, :total].bincount(minlength=28), asked[i])


def test_a_student_with_no_items_gets_filler_only(task: Task) -> None:
    count = torch.zeros(2, SKILLS * SOURCES, dtype=torch.int64)
    count[1] = 1
    _, _, source = make(all_of(CLEAN, 2), count, SKILLS * SOURCES)
    assert torch.equal(source[1].sort().values, torch.arange(SKILLS * SOURCES))


@pytest.mark.parametrize("kind", [CLEAN, WRONG, DUPLICATES])
def test_items_have_the_skill_of_their_source(task: Task, kind: int) -> None:
    problem, _, source = lesson(kind)
    assert torch.equal(task.skill_of[problem], source // SOURCES)


@pytest.mark.parametrize("kind", [CLEAN, WRONG, DUPLICATES])
def test_items_come_from_the_train_split(task: Task, kind: int) -> None:
    problem, _, source = lesson(kind)
    pool, skill = task.pool("train"), source // SOURCES
    assert (problem >= pool.start[skill]).all() and (problem < (pool.start + pool.count)[skill]).all()


def test_items_of_all_sources_are_mixed(task: Task) -> None:
    _, _, source = lesson(CLEAN)
    place = torch.arange(source.shape[1]).double()
    for row in source.double():
        assert torch.corrcoef(torch.stack([row, place]))[0, 1].abs() < 0.2


# --- how good ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [CLEAN, DUPLICATES])
def test_other_sources_make_no_mistake(task: Task, kind: int) -> None:
    problem, answer, _ = lesson(kind)
    assert torch.equal(answer, task.solution[problem])


def test_a_source_of_wrong_answers_is_wrong_nine_times_in_ten(task: Task) -> None:
    problem, answer, source = lesson(WRONG, each=200)
    wrong = (answer != task.solution[problem]).double()
    assert wrong.mean().item() == pytest.approx(0.9, abs=0.01)
    for skill in range(SKILLS):
        assert wrong[source // SOURCES == skill].mean().item() == pytest.approx(0.9, abs=0.03)


def test_wrong_answers_make_sense_for_the_skill(task: Task) -> None:
    _, answer, source = lesson(WRONG, each=100)
    pool, skill = task.answer_pool, source // SOURCES
    assert (answer >= pool.start[skill]).all() and (answer < (pool.start + pool.count)[skill]).all()


def test_every_wrong_answer_occurs(task: Task) -> None:
    problem, answer, _ = lesson(WRONG, each=200)
    names = [skill.name for skill in task.skills]
    compare = task.skill_of[problem] == names.index("compare")
    pairs = torch.stack([task.solution[problem[compare]], answer[compare]]).unique(dim=1)
    assert pairs.shape[1] == 9  # three signs, each taken for each


def test_a_near_duplicate_source_makes_few_problems_in_an_episode(task: Task) -> None:
    lessons = [lesson(DUPLICATES, each=20, step=step) for step in range(5)]
    problem = torch.cat([problem for problem, _, _ in lessons], dim=1)
    source = torch.cat([source for _, _, source in lessons], dim=1)
    for student in range(len(problem)):
        for one in range(SKILLS * SOURCES):
            assert 2 <= problem[student, source[student] == one].unique().numel() <= 8


def test_a_near_duplicate_source_repeats_other_problems_in_the_next_episode(task: Task) -> None:
    first, next_one = (lesson(DUPLICATES, each=50, episode=episode)[0] for episode in (0, 1))
    for one, other in zip(first, next_one, strict=True):
        repeated = torch.isin(other.unique(), one.unique()).double().mean()
        assert repeated < 0.2


def test_near_duplicate_sources_of_one_skill_differ(task: Task) -> None:
    problem, _, source = lesson(DUPLICATES, each=50)
    add_three = [problem[0, source[0] == 2 * SOURCES + i].unique() for i in range(SOURCES)]
    assert torch.cat(add_three).unique().numel() > 12


@pytest.mark.parametrize("kind", [CLEAN, WRONG])
def test_other_sources_go_through_the_whole_pool(task: Task, kind: int) -> None:
    problem, _, _ = lesson(kind, each=600)
    count, drawn = task.pool("train").count, SOURCES * 600
    expected = count * (1 - torch.exp(-drawn / count))  # distinct problems among so many uniform draws
    for student in problem:
        seen = task.skill_of[student.unique()].bincount(minlength=SKILLS)
        assert (seen > 0.95 * expected).all() and (seen < 1.05 * expected).all()


def test_the_next_lesson_has_other_items(task: Task) -> None:
    one, other = (lesson(CLEAN, step=step)[0] for step in (0, 1))
    assert (one == other).double().mean() < 0.1


# --- kinds and prices --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sources", [1, 2, 3, 5])
def test_every_skill_has_exactly_one_clean_source(sources: int) -> None:
    kind = engines(sources).draw_kinds(keys(200)).view(200, SKILLS, sources)
    assert ((kind == CLEAN).sum(2) == 1).all()
    assert (kind >= 0).all() and (kind < len(KINDS)).all()


def test_the_clean_source_may_be_any() -> None:
    clean = (engines(SOURCES).draw_kinds(keys(2000)) == CLEAN).view(-1, SOURCES).double().mean(0)
    assert clean.tolist() == pytest.approx([1 / 3] * 3, abs=0.01)


def test_bad_sources_are_of_either_kind() -> None:
    kind = engines(SOURCES).draw_kinds(keys(2000))
    assert (kind == WRONG).sum() / (kind != CLEAN).sum() == pytest.approx(0.5, abs=0.01)


def test_kinds_depend_on_the_key_alone() -> None:
    sources, key = engines(SOURCES), keys(8)
    assert torch.equal(sources.draw_kinds(key)[5:6], sources.draw_kinds(key[5:6]))


def test_prices_are_the_listed_ones_equally_often() -> None:
    prices = engines(SOURCES).draw_prices(keys(1000))
    values, counts = prices.unique(return_counts=True)
    assert prices.shape == (1000, 42)
    assert values.tolist() == list(PRICES)
    assert (counts / prices.numel()).tolist() == pytest.approx([0.25] * 4, abs=0.01)


def test_prices_depend_on_the_key_alone() -> None:
    sources, key = engines(SOURCES), keys(8)
    assert torch.equal(sources.draw_prices(key)[5:6], sources.draw_prices(key[5:6]))


# --- independence of the slot ------------------------------------------------------------------------------------


@given(st.permutations(range(6)), st.integers(1, 6))
def test_a_students_items_do_not_depend_on_its_slot_or_neighbours(order: list[int], kept: int) -> None:
    sources, key, rows = engines(SOURCES), keys(6), torch.tensor(order[:kept])
    kind = sources.draw_kinds(random.fold(key, 7))
    count = random.integers(random.fold(key, 8), SKILLS * SOURCES, 5)
    size, step = int(count.sum(1).max()), random.fold(key, 9)
    population = sources.make_items(kind, count, size, key, step)
    alone = sources.make_items(kind[rows], count[rows], size, key[rows], step[rows])
    for a, b in zip(population, alone, strict=True):
        assert torch.equal(a[rows], b)


# --- examinations ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
def test_an_examination_asks_distinct_problems_of_every_skill_and_of_its_split(task: Task, split: Split) -> None:
    pool = task.pool(split)
    items = draw_items(task, split, torch.arange(20), 60).view(20, SKILLS, 60)
    assert (items >= pool.start[:, None]).all() and (items < (pool.start + pool.count)[:, None]).all()
    assert (items.sort(dim=2).values.diff(dim=2) > 0).all()


def test_an_examination_larger_than_the_pool_asks_everything_before_it_repeats(task: Task) -> None:
    first = draw_items(task, "test", torch.tensor([5]), 100).view(-1, 100)[0]
    count = int(task.pool("test").count[0])
    assert count < 100
    assert first[:count].unique().numel() == count
    assert torch.equal(first[count:], first[: 100 - count])


def test_an_examination_depends_on_its_key_alone(task: Task) -> None:
    keys = random.fold(torch.arange(6), 1)
    together = draw_items(task, "validation", keys, 16)
    assert torch.equal(together[4:5], draw_items(task, "validation", keys[4:5], 16))
    assert not torch.equal(together[0], together[1])


def test_the_fixed_examination_is_the_same_for_everybody(task: Task) -> None:
    items = fixed_items(task, "test", 64)
    assert torch.equal(items, fixed_items(Math(), "test", 64))
    expected = task.pool("test").count.clamp_max(64)
    assert torch.equal(task.skill_of[items].bincount(), expected)
    assert items.unique().numel() == len(items) == int(expected.sum())
