"""Subskills partition a skill's train problems, evenly, by what a student can see."""

from __future__ import annotations

import pytest
import torch

from kdgym.envs.datagen.subskills import split_into_regions
from kdgym.tasks import TASKS, TEXT_ONLY, make_task

TINY = [name for name in TASKS if name not in TEXT_ONLY]


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("name", TINY)
def test_regions_partition_the_train_problems_of_every_skill(name: str, depth: int) -> None:
    task = make_task(name)
    pool, regions = task.pool("train"), split_into_regions(task, depth)
    assert regions.start.shape == regions.count.shape == (len(task.skills), 2**depth)
    assert (regions.count > 0).all()
    for k, (start, count) in enumerate(zip(pool.start.tolist(), pool.count.tolist(), strict=True)):
        first = int(regions.start[k, 0])
        mine = regions.problems[first : first + int(regions.count[k].sum())]
        assert torch.equal(mine.sort().values, torch.arange(start, start + count))
        assert torch.equal(regions.start[k, 1:], regions.start[k, :-1] + regions.count[k, :-1])


def test_regions_of_arithmetic_are_even_and_named() -> None:
    regions = split_into_regions(make_task("Math"))
    share = regions.count.double() / regions.count.sum(1, keepdim=True)
    assert share.min() > 0.03 and share.max() < 0.4
    for names in regions.names:
        assert len(set(names)) == len(names)
    assert regions.names[1][0] == "token 1 up to 2, token 3 up to 2, token 0 up to 2"


def test_a_name_says_what_is_in_the_region() -> None:
    task = make_task("Math")
    regions = split_into_regions(task, 1)
    for k, (low, high) in enumerate(regions.names):
        _, place, *_, value = low.split()
        for region, sign in ((0, 1), (1, -1)):
            start, count = int(regions.start[k, region]), int(regions.count[k, region])
            tokens = task.prompt[regions.problems[start : start + count], int(place)]
            assert ((sign * tokens) <= sign * int(value) if sign == 1 else tokens > int(value)).all()
        assert high == low.replace("up to", "above")


def test_more_regions_than_problems_are_refused() -> None:
    with pytest.raises(ValueError, match="smaller depth"):
        split_into_regions(make_task("Math", radix=5), 12)
