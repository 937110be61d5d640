"""Selection against plain Python: positions, ties, draws; and what scorers of some readings say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdgym.envs.select import scorers
from kdgym.envs.select.ranking import draw, entropy, kept, loss, ranks, standardise

CLASSES = 4


@st.composite
def pools(draws: st.DrawFn) -> dict[str, Any]:
    n = draws(st.integers(1, 30))
    some = lambda of: draws(st.lists(of, min_size=n, max_size=n))  # noqa: E731
    return {
        "score": some(st.sampled_from([-1.0, 0.0, 0.0, 0.5, 2.0])),
        "label": some(st.integers(0, CLASSES - 2)),  # the last class has no items
        "tie": draws(st.permutations(range(n))),
        "keep": draws(st.sampled_from([0.05, 0.25, 0.5, 0.8, 1.0])),
        "within": draws(st.sampled_from([0.0, 0.25, 0.5, 1.0])),
    }


def kept_slowly(score: list[float], label: list[int], tie: list[int], keep: float, within: float) -> list[bool]:
    order = sorted(range(len(score)), key=lambda i: (-score[i], -tie[i]))
    found = [False] * len(score)
    for place, i in enumerate(order):
        alike = [j for j in order if label[j] == label[i]]
        found[i] = within * alike.index(i) / len(alike) + (1 - within) * place / len(score) < keep
    return found


@given(pools())
def test_kept_items_are_those_of_the_definition(pool: dict[str, Any]) -> None:
    rows = {name: torch.tensor([pool[name], pool[name][::-1]]) for name in ("score", "label", "tie")}
    found = kept(
        rows["score"], rows["label"], CLASSES, torch.tensor([pool["keep"]] * 2), torch.tensor([pool["within"]] * 2), rows["tie"]
    )  # fmt: skip
    keep = float(torch.tensor(pool["keep"]))  # as float32 has it
    wanted = kept_slowly(pool["score"], pool["label"], pool["tie"], keep, pool["within"])
    assert found[0].tolist() == wanted
    assert found[1].tolist() == wanted[::-1]
    assert any(wanted)
    if pool["keep"] == 1:
        assert all(wanted)


@given(pools(), st.floats(0, 1, exclude_max=True))
def test_within_a_class_the_same_share_is_kept_of_each(pool: dict[str, Any], share: float) -> None:
    keep = max(0.05, share)
    found = kept(
        torch.tensor([pool["score"]]), torch.tensor([pool["label"]]), CLASSES, torch.tensor([keep]), torch.ones(1),
        torch.tensor([pool["tie"]]),
    )[0]  # fmt: skip
    for c in set(pool["label"]):
        member = torch.tensor(pool["label"]) == c
        assert int(found[member].sum()) == pytest.approx(keep * int(member.sum()), abs=1 + 1e-6)


@given(st.lists(st.sampled_from([0.0, 0.25, 1.0, 3.0]), min_size=1, max_size=20).filter(any), st.integers(0, 2**32))
def test_draws_follow_the_weights(weights: list[float], seed: int) -> None:
    uniform = np.random.default_rng(seed).random(50)
    found = draw(torch.tensor([weights], dtype=torch.float64), torch.from_numpy(uniform[None]))[0].tolist()
    edges = np.cumsum(weights)
    for u, place in zip(uniform, found, strict=True):
        assert weights[place] > 0
        assert edges[place] - weights[place] <= u * edges[-1] <= edges[place]


def test_equal_weights_draw_as_integers_do() -> None:
    uniform = torch.from_numpy(np.random.default_rng(0).random((3, 500)))
    assert torch.equal(draw(torch.ones(3, 1200, dtype=torch.float64), uniform), (uniform * 1200).long())
    last = torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64)
    assert draw(last, torch.tensor([[0.0, 1.0]], dtype=torch.float64)).tolist() == [[0, 1]]  # never an item of weight 0


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=20))
def test_standardised_numbers_and_ranks(values: list[float]) -> None:
    x = torch.tensor([values], dtype=torch.float64)
    found, place = standardise(x)[0], ranks(x)[0]
    assert float(found.mean()) == pytest.approx(0, abs=1e-6)
    if np.std(values) > 1e-3:
        assert float(found.std(correction=0)) == pytest.approx(1)
    assert place.tolist() == np.argsort(np.argsort(values, kind="stable"), kind="stable").tolist()


def test_loss_and_entropy_have_no_infinities() -> None:
    sure = torch.tensor([[[1.0, 0.0], [0.5, 0.5]]])
    assert loss(sure, torch.tensor([[1, 0]]))[0].tolist() == pytest.approx([13.8155, 0.6931], abs=1e-3)
    assert entropy(sure)[0].tolist() == pytest.approx([0, 0.6931], abs=1e-3)


# --- readings ---------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**40))
def test_readings_move_five_classes_along_a_cycle(seed: int) -> None:
    cycle = scorers.draw_cycle(torch.tensor([seed, seed + 1]), 10)
    calls = scorers.names(cycle)
    assert calls.shape == (2, scorers.READINGS, 10)
    for c, called in zip(cycle, calls, strict=True):
        moved = (c != torch.arange(10)).nonzero().flatten()
        assert len(moved) == scorers.RENAMED
        for r, name in enumerate(called):
            wanted = torch.arange(10)
            for _ in range(r):
                wanted = c[wanted]
            assert torch.equal(name, wanted)
        assert all(len({*called[:, k].tolist()}) == scorers.READINGS for k in moved)  # no two call it alike


@given(st.integers(0, 2**40), st.integers(0, 3))
def test_the_right_reading_has_its_place_among_readings(seed: int, place: int) -> None:
    order = scorers.draw_order(torch.tensor([seed, seed + 1]), torch.tensor([place, 3 - place]))
    assert order.sort(1).values.tolist() == [[0, 1, 2, 3]] * 2
    assert order[0, place] == order[1, 3 - place] == 0


def test_there_is_a_scorer_of_each_reading_and_two_more_of_common_ones() -> None:
    key = torch.arange(2000)
    order = scorers.draw_order(key, torch.randint(4, (2000,), generator=torch.Generator().manual_seed(0)))
    reading = scorers.draw_readings(key + 2000, order)
    count = torch.stack([(reading == order[:, r : r + 1]).sum(1) for r in range(4)], dim=1)
    assert (count >= 1).all()
    assert count.double().mean(0).tolist() == pytest.approx([2, 1.5, 1.5, 1], abs=0.06)
    common = (reading == order[:, :1]).double().mean(0)
    assert common.tolist() == pytest.approx([1 / 3] * 6, abs=0.04)  # in any order
    wrong = order[order[:, 0] == 0][:, 1]
    assert torch.bincount(wrong, minlength=4)[1:].double().div(len(wrong)).tolist() == pytest.approx(
        [1 / 3] * 3, abs=0.08
    )


def test_scorers_rename_what_their_model_says() -> None:
    generator = torch.Generator().manual_seed(0)
    said = torch.softmax(torch.randn(3, 2, 7, 10, generator=generator), dim=3)
    model = torch.randint(2, (3, 6), generator=generator)
    calls = torch.stack([torch.stack([torch.randperm(10, generator=generator) for _ in range(6)]) for _ in range(3)])
    share = torch.softmax(torch.randn(3, 6, generator=generator), dim=1)
    given_label = torch.randint(10, (3, 7), generator=generator)
    together, alone = scorers.mixed(said, model, calls, share), scorers.beliefs(said, model, calls, given_label)
    for s in range(3):
        for i in range(7):
            each = torch.zeros(6, 10)
            for m in range(6):
                for c in range(10):
                    each[m, calls[s, m, c]] += said[s, model[s, m], i, c]
            torch.testing.assert_close(together[s, i], share[s] @ each)
            torch.testing.assert_close(alone[s, :, i], each[:, given_label[s, i]])
