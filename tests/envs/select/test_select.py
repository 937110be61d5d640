"""Select: its pools, its scorers, what an action decides and what a teacher may see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kdgym import testing
from kdgym.core import study
from kdgym.envs.select import scorers
from kdgym.envs.select.scorers import SCORERS, names
from kdgym.envs.select.select import COMMON, DIALS, Select
from kdgym.students.recipes.bank import GOOD, Bank
from kdgym.tasks.images import CLASSES, digits, garments, garments_and_digits

STUDENTS = 6
SMALL: dict[str, Any] = {"steps": 3, "updates": 2, "items": 200, "test_items": 50, "autoreset": False}
C = len(CLASSES)
POOL = garments_and_digits()
GARMENTS = len(POOL.label) - 1797


def made_up_bank() -> Bank:
    """Models that know garments' labels, and are unsure of digits; nothing is trained."""
    generator = torch.Generator().manual_seed(0)
    seen = torch.cat([POOL.parts["labelled"], POOL.parts["pool"], POOL.parts["foreign"]])
    place = torch.full((len(POOL.label),), -1)
    place[seen] = torch.arange(len(seen))
    kinds = ("good",) * GOOD + ("sound",)
    sure = torch.where(seen < GARMENTS, 4.0, 0.0)[:, None] * F.one_hot(POOL.label[seen], C)
    logits = torch.zeros(2, len(kinds), len(seen), C)
    for kind in range(GOOD):
        logits[:, kind] = sure + torch.rand(len(seen), C, generator=generator)
    none = torch.zeros(0)
    return Bank(kinds, place, logits, (none, none), (none, none), (none, none), none)


BANK = made_up_bank()


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Select]:
    """Makes populations whose scorers are of the made-up bank."""
    monkeypatch.setattr(study, "load_bank", lambda half, device: BANK)

    def made(students: int = STUDENTS, seed: int | list[int] = 0, **settings: Any) -> Select:
        envs = Select(students, **{**SMALL, **settings})
        envs.reset(seed=seed)
        return envs

    return made


def observe(envs: Select) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in envs._observe().items()}


def train(envs: Select, action: Any) -> torch.Tensor:
    for _ in range(envs.steps):
        envs.step(np.broadcast_to(action, (envs.num_envs, *envs.dials.shape)).astype(np.float32))
    return envs.state["student"].clone()


@pytest.mark.slow
def test_contract() -> None:
    testing.check("kdgym/Select-Images-v0", steps=6, updates=2, test_items=50)


# --- what an episode is made of ---------------------------------------------------------------------------------------


def test_pools_have_garments_with_labels_of_four_readings_and_digits(make: Callable[..., Select]) -> None:
    envs = make(64, items=400, place=(0, 2), foreign=(0.0, 0.5))
    state, hidden = envs.state, envs.hidden()
    assert {*zip(hidden["place"].tolist(), hidden["mixed"].tolist(), strict=True)} == {(0, 0), (0, 1), (2, 0), (2, 1)}
    calls = names(state["cycle"])
    for s in range(64):
        item, given = state["item"][s], state["given"][s]
        digit = item >= GARMENTS
        assert float(digit.double().mean()) == pytest.approx(0.5 * hidden["mixed"][s], abs=0.12)
        own, told = POOL.label[item[~digit]], given[~digit]
        moved = (state["cycle"][s] != torch.arange(C))[own]
        assert torch.equal(told[~moved], own[~moved])  # outside the cycle all labels are right
        reading = (calls[s][:, own[moved]] == told[moved]).long()
        assert (reading.sum(0) == 1).all()
        share = reading.double().mean(1)
        assert share[state["order"][s]].tolist() == pytest.approx(COMMON, abs=0.2)
        assert state["order"][s, hidden["place"][s]] == 0


def test_items_are_of_their_splits(make: Callable[..., Select]) -> None:
    envs = make(items=600)
    parts = {name: set(index.tolist()) for name, index in POOL.parts.items()}
    assert {*envs.state["item"].flatten().tolist()} <= parts["pool"] | parts["foreign"]
    assert {*envs.state["validation"].flatten().tolist()} <= parts["validation"]
    assert all(not parts[a] & parts[b] for a in parts for b in parts if a < b)


def test_digits_follow_the_garments_and_taught_no_model() -> None:
    foreign = POOL.parts["foreign"] - GARMENTS
    assert not {*foreign.tolist()} & {*digits().parts["bank"].tolist()}
    assert torch.equal(POOL.pixels[POOL.parts["foreign"]], digits().pixels[foreign])
    assert torch.equal(POOL.pixels[:GARMENTS], garments().pixels)
    assert torch.equal(POOL.label[:GARMENTS], garments().label)
    assert len(garments().label) == GARMENTS


# --- what is decided --------------------------------------------------------------------------------------------------


def test_the_neutral_action_hears_no_scorer(make: Callable[..., Select]) -> None:
    neutral = train(make(), 0)
    assert torch.equal(neutral, train(make(), Select(1).dials.encode(keep=1, labels=0, scorer=np.ones(SCORERS))))
    for field in ("reading", "model", "cycle", "belief", "order"):
        others = make()
        others.state[field][:] = others.state[field].flip(1)
        assert torch.equal(neutral, train(others, 0))
    mixed = make()
    moves = np.stack([mixed.dials.encode(scorer_loss=-1, keep=0.3, labels=1), *[mixed.dials.encode()] * 5])
    assert torch.equal(neutral[1:], train(mixed, moves)[1:])  # bit for bit, whatever another student's recipe asks for


def test_the_neutral_action_trains_on_even_draws_of_the_pool(make: Callable[..., Select]) -> None:
    envs = make(3, steps=1, updates=3)
    state, learner = envs.state, envs.study.learner
    drawn: list[torch.Tensor] = []
    learner.update = lambda students, loss: drawn.append(loss(learner.named(students)))  # type: ignore[method-assign]
    train(envs, 0)
    uses = state["uses"]
    assert (uses.sum(1) == 3 * 32).all()
    assert (uses > 0).double().mean() == pytest.approx(1 - np.exp(-96 / 200), abs=0.05)
    for s in range(3):
        place = torch.repeat_interleave(torch.arange(200), uses[s])
        images, label = POOL.images(state["item"][s, place]), state["given"][s, place]
        said = learner.say(state["student"][s : s + 1], images[None]).logits[0]
        assert float(torch.stack(drawn)[:, s].mean()) == pytest.approx(float(F.cross_entropy(said, label)), abs=1e-5)


@pytest.mark.parametrize(
    ("rule", "largest"),
    [
        ({"scorer_loss": -1}, lambda e, s: e["believed"]),
        ({"student_loss": 1}, lambda e, s: -e["own"]),
        ({"uses": -1}, lambda e, s: -e["uses"]),
    ],
)
def test_the_highest_scores_of_each_class_are_drawn(
    make: Callable[..., Select], rule: dict[str, float], largest: Callable[..., torch.Tensor]
) -> None:
    envs = make(4, steps=2)
    envs.step(np.zeros((4, *envs.dials.shape), np.float32))
    state = envs.state
    action = envs.dials.encode(scorer=np.eye(SCORERS)[:4], keep=0.2, **rule)
    share = envs.dials.decode(torch.from_numpy(action))["scorer"].float()
    together = scorers.mixed(envs._good_models(slice(None)), state["model"], envs._calls(slice(None)), share)
    before = state["uses"].clone()
    facts = {
        "uses": before.double(),
        "own": state["said"].gather(2, state["given"][..., None])[..., 0],
        "believed": together.gather(2, state["given"][..., None])[..., 0],
    }
    envs.step(action)
    drawn = state["uses"] - before > 0
    for s in range(4):
        for c in range(C):
            member = state["given"][s] == c
            value, chosen = largest(facts, s)[s][member], drawn[s][member]
            best = value.sort(descending=True).values[: int(0.2 * int(member.sum())) + 1]
            assert (value[chosen] >= best.min() - 1e-6).all()


def test_class_shares_decide_which_classes_are_drawn(make: Callable[..., Select]) -> None:
    envs = make(updates=40, steps=1)
    share = np.ones((STUDENTS, C))
    share[:, 3] = 0.001
    envs.step(envs.dials.encode(classes=share))
    third = envs.state["given"] == 3
    assert (envs.state["uses"] * third).sum() < 0.02 * envs.state["uses"].sum()


def test_trust_and_labels_decide_what_is_learned(make: Callable[..., Select]) -> None:
    scores = []
    for good in (True, False):
        envs = make(16, steps=2, updates=60, learning_rate=3e-3, place=(2,), items=600)
        trust = envs.hidden()["good"] == good
        train(envs, envs.dials.encode(scorer=trust, labels=1))
        scores.append(envs.examine()["score"])
    assert (scores[0] > scores[1]).mean() > 0.8


@pytest.mark.parametrize("dial", [d for d in DIALS if d.name not in ("mix", "within_class", "scorer")])
def test_every_dial_changes_what_is_learned(make: Callable[..., Select], dial: Any) -> None:
    rng = np.random.default_rng(0)
    value = rng.random((STUDENTS, dial.members)) if dial.members > 1 else 0.3
    plain, envs = make(steps=2), make(steps=2)
    changed = {"keep": 0.5, dial.name: value}
    assert not torch.equal(
        train(plain, plain.dials.encode(keep=0.5)), train(envs, envs.dials.encode(STUDENTS, **changed))
    )
    assert torch.isfinite(envs.state["student"]).all()


# --- what is seen -----------------------------------------------------------------------------------------------------


def ranked(x: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(x, kind="stable"), kind="stable").astype(float)


def test_observations_say_what_scorers_and_student_say_of_the_pool(make: Callable[..., Select]) -> None:
    envs = make(2)
    envs.step(np.zeros((2, *envs.dials.shape), np.float32))
    seen, state, calls = observe(envs), envs.state, names(envs.state["cycle"])
    models = BANK.of("good")
    for s in range(2):
        item, given = state["item"][s], state["given"][s]
        believed = []
        for m in range(SCORERS):
            p = torch.softmax(BANK.logits[0][models[state["model"][s, m]], BANK.place[item]], dim=1)
            named = torch.zeros_like(p)
            named[:, calls[s, state["reading"][s, m]]] = p
            believed.append(named[torch.arange(len(item)), given].numpy())
            assert seen["loss_mean"][s, m] == pytest.approx(-np.log(believed[-1]).mean(), abs=1e-3)
            assert seen["entropy_mean"][s, m] == pytest.approx(float(-(p * p.log()).sum(1).mean()), abs=1e-3)
        said = torch.softmax(
            envs.study.learner.say(state["student"][s : s + 1], POOL.images(item)[None]).logits[0], dim=1
        )
        own = said[torch.arange(len(item)), given].numpy()
        between = np.corrcoef([ranked(b) for b in (*believed, own)])
        np.testing.assert_allclose(seen["student_agreement"][s], between[-1, :-1], atol=1e-3)
        np.testing.assert_allclose(
            seen["scorer_agreement"][s], (between[:-1, :-1].sum(1) - 1) / (SCORERS - 1), atol=1e-3
        )
        bins = np.bincount((-np.log(own) / 0.5).astype(int).clip(0, 9), minlength=10) / len(own)
        np.testing.assert_allclose(seen["histogram"][s], bins, atol=0.011)
        np.testing.assert_allclose(seen["pool_share"][s], np.bincount(given, minlength=C) / len(given), atol=1e-6)


@pytest.mark.parametrize("name", ["order", "mixed"])
def test_hidden_facts_are_not_seen(make: Callable[..., Select], name: str) -> None:
    plain, changed = make(), make()
    changed.state[name][:] = 1 - changed.state[name] if name == "mixed" else changed.state[name].flip(1)
    action = np.zeros((STUDENTS, *plain.dials.shape), np.float32)
    for _ in range(2):
        (seen, reward, *_, info), (seen_too, reward_too, *_, info_too) = plain.step(action), changed.step(action)
        assert all(np.array_equal(seen[key], seen_too[key]) for key in seen)
        assert np.array_equal(reward, reward_too)
        assert repr(info) == repr(info_too)


def test_beside_its_place_nothing_tells_which_reading_is_right(make: Callable[..., Select]) -> None:
    """Who is right has the place that the settings say, and no other company or loss than a wrong scorer in that place."""
    envs = make(300, place=(0, 1), foreign=(0.0,))
    place, state, seen = envs.hidden()["place"], envs.state, observe(envs)
    assert place.mean() == pytest.approx(0.5, abs=0.1)
    for at in range(2):  # of the scorers in a place, those of episodes in which they are right, and of others
        member = (state["reading"] == state["order"][:, at : at + 1]).numpy()
        for fact in (
            member.sum(1),
            *((seen[n] * member).sum(1) / member.sum(1) for n in ("loss_mean", "scorer_agreement")),
        ):
            right, wrong = fact[place == at], fact[place != at]
            spread = np.sqrt(right.var() / len(right) + wrong.var() / len(wrong))
            assert abs(right.mean() - wrong.mean()) < 3.5 * spread


def test_a_scorers_place_says_nothing(make: Callable[..., Select]) -> None:
    envs = make()
    before, order = observe(envs), torch.tensor([3, 0, 5, 4, 1, 2])
    for name in ("model", "reading"):
        envs.state[name][:] = envs.state[name][:, order]
    envs._ask_scorers(torch.arange(STUDENTS))
    envs._look(slice(None))
    for name, value in observe(envs).items():
        wanted = before[name][:, order] if value.shape[1] == SCORERS else before[name]
        np.testing.assert_allclose(value, wanted, atol=1e-5)


@pytest.mark.parametrize("company", [[2], [4, 1], [5, 3, 0]])
def test_a_student_learns_alike_in_any_company(make: Callable[..., Select], company: list[int]) -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (3, STUDENTS, *Select(1).dials.shape)).astype(np.float32)

    def episode(seeds: list[int]) -> list[dict[str, np.ndarray]]:
        envs = make(len(seeds), seed=seeds)
        return [envs.step(action[seeds])[0] for action in actions]

    for all_of_them, some in zip(episode(list(range(STUDENTS))), episode(company), strict=True):
        for name, value in some.items():
            np.testing.assert_allclose(value, all_of_them[name][company], atol=1e-3, rtol=1e-3, err_msg=name)


def test_students_go_on_from_a_snapshot_as_they_would_have(make: Callable[..., Select], tmp_path: Any) -> None:
    actions = np.random.default_rng(1).uniform(-1, 1, (3, STUDENTS, *Select(1).dials.shape)).astype(np.float32)
    envs = make()
    envs.step(actions[0])
    kept = envs.snapshot()
    ends = [envs.step(action) for action in actions[1:]]
    again = make(seed=99)
    again.restore(kept)
    for action, (seen, reward, *_rest) in zip(actions[1:], ends, strict=True):
        seen_too, reward_too, *_ = again.step(action)
        assert np.array_equal(reward, reward_too)
        assert all(np.array_equal(seen[key], seen_too[key]) for key in seen)


@pytest.mark.parametrize(
    "settings", [{"place": ()}, {"place": (4,)}, {"foreign": (-0.1,)}, {"items": 5}, {"student": "oracle"}]
)
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Select(1, **settings)


def test_the_page_lists_dials_and_observations(make: Callable[..., Select]) -> None:
    page, at = Select.__doc__ or "", 0
    for dial in DIALS:
        place = f"{at} to {at + dial.members - 1}" if dial.members > 1 else f"{at}"
        span = (
            f"{dial.members} shares | equal"
            if dial.members > 1
            else f"{dial.low:g} to {dial.high:g} | {dial.neutral:g}"
        )
        assert f"| {place} | {dial.name} | {span} | {dial.meaning} |" in page
        at += dial.members
    assert f"({at},), float32" in page
    for name, box in make(1).single_observation_space.spaces.items():
        assert f"| {name} | ({box.shape[0]},) | [{box.low[0]:g}, {box.high[0]:.3g}] |" in page
