"""Label: its makers of labels, what an action decides, what is bought, and what a teacher may see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kdgym import testing
from kdgym.core import study
from kdgym.core.ledger import itemise
from kdgym.envs.label.belief import aligned, believed, votes
from kdgym.envs.label.label import DIALS, Label
from kdgym.students.recipes.bank import ALIKE, SOUND, TURNS, Bank, turned
from kdgym.students.recipes.companies import MEMBERS as SOURCES
from kdgym.studies.labelling import first_sight
from kdgym.tasks.images import CLASSES, garments

STUDENTS = 6
SMALL: dict[str, Any] = {"steps": 4, "updates": 2, "unlabelled": 60, "test_items": 50, "autoreset": False}
C = len(CLASSES)
GARMENTS = garments()


def made_up_bank() -> Bank:
    """Models that say garments' labels, or move them on as their kind has it. Nothing is trained."""
    generator = torch.Generator().manual_seed(0)
    seen = torch.cat([GARMENTS.parts["labelled"], GARMENTS.parts["pool"]])
    place = torch.full((len(GARMENTS.label),), -1)
    place[seen] = torch.arange(len(seen))
    kinds = tuple(kind for kind in ALIKE for _ in range(SOUND))
    said = torch.stack([turned(ALIKE.index(kind))[GARMENTS.label[seen]] for kind in kinds])
    logits = torch.rand(2, len(kinds), len(seen), C, generator=generator) + 1.2 * F.one_hot(said, C)
    logits[..., 0] += torch.linspace(0, 1, len(kinds)).unsqueeze(1)  # no two models are right equally often
    none = torch.zeros(0)
    return Bank(kinds, place, logits, (none, none), (none, none), (none, none), none)


BANK = made_up_bank()


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Label]:
    """Makes populations whose sources are of the made-up bank."""
    monkeypatch.setattr(study, "load_bank", lambda half, device: BANK)

    def made(students: int = STUDENTS, seed: int | list[int] = 0, **settings: Any) -> Label:
        envs = Label(students, **{**SMALL, **settings})
        envs.reset(seed=seed)
        return envs

    return made


def observe(envs: Label) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in envs._observe().items()}


def train(envs: Label, action: Any) -> torch.Tensor:
    for _ in range(envs.steps):
        envs.step(np.broadcast_to(action, (envs.num_envs, *envs.dials.shape)).astype(np.float32))
    return envs.state["student"].clone()


@pytest.mark.slow
def test_contract() -> None:
    testing.check("kdgym/Label-Weak-v0", steps=6, updates=2, test_items=50)


# --- what an episode is made of ---------------------------------------------------------------------------------------


def test_items_are_of_their_splits(make: Callable[..., Label]) -> None:
    envs = make(labelled=30)
    parts = {name: set(index.tolist()) for name, index in GARMENTS.parts.items()}
    assert {*envs.state["item"][:, :30].flatten().tolist()} <= parts["labelled"]
    assert {*envs.state["item"][:, 30:].flatten().tolist()} <= parts["pool"]
    assert {*envs.state["validation"].flatten().tolist()} <= parts["validation"]


def test_given_labels_are_as_each_kind_would_have_them(make: Callable[..., Label]) -> None:
    shares = (0.5, 0.3, 0.2)
    envs = make(64, labelled=400, shares=shares)
    true, given, place = GARMENTS.label[envs.state["item"][:, :400]], envs.state["given"], envs.hidden()["place"]
    moved = turned(1)[true] != true
    by_kind = torch.stack([((given == turned(by)[true]) & moved).sum(1) / moved.sum(1) for by in range(TURNS)], dim=1)
    assert torch.equal(given[~moved], true[~moved])
    assert {*place} == {0, 1, 2}
    np.testing.assert_allclose(by_kind[:, 0], np.array(shares)[place], atol=0.13)
    np.testing.assert_allclose(by_kind.sort(1, descending=True)[0].mean(0), [*shares, 0, 0, 0], atol=0.02)


def test_the_expert_is_right_in_half_of_the_episodes_and_else_of_any_turned_kind(make: Callable[..., Label]) -> None:
    envs = make(100)
    true = GARMENTS.label[envs.state["item"][:, 40:]]
    same = torch.stack([(turned(by)[true] == envs.state["expert"]).all(1) for by in range(TURNS)])
    assert (same.sum(0) == 1).all()
    kind = same.int().argmax(0)
    assert np.array_equal(envs.hidden()["faulty"], kind > 0)
    assert {*kind.tolist()} == {*range(TURNS)}
    assert float((kind > 0).double().mean()) == pytest.approx(0.5, abs=0.15)


def test_sources_are_of_five_kinds_and_relieve_one_another(make: Callable[..., Label]) -> None:
    envs = make(64, steps=12, updates=1)
    begins, model = (envs.state[name].numpy() for name in ("begins", "model"))
    assert (begins[:, 0] == 0).all()
    assert [{*turn} for turn in begins.T[1:]] == [{3, 4, 5}, {7, 8, 9}]
    assert all(len({*(five // SOUND)}) == len({*(five % SOUND)}) == SOURCES for five in model.reshape(-1, SOURCES))
    for step in range(12):
        now = model[np.arange(64), (begins <= step).sum(1) - 1]
        assert np.array_equal(envs.hidden()["good"], now < SOUND)
        assert {*(now < SOUND).argmax(1)} == {*range(SOURCES)}  # in any order
        envs.step(np.zeros((64, *envs.dials.shape), np.float32))


@pytest.mark.slow
def test_what_is_said_of_sources_at_first_does_not_tell_whom_to_trust() -> None:
    """A fitted rule names the sound one of five for 20 % of 768 unseen students, or 5 % more: 3.5 standard errors."""
    assert np.mean(first_sight(768)) < 0.25


# --- what is decided --------------------------------------------------------------------------------------------------


def test_the_neutral_action_is_supervised_training_alone(make: Callable[..., Label]) -> None:
    neutral = train(make(), 0)
    others = make()
    for field in ("model", "expert"):
        others.state[field][:] = others.state[field].flip(1)
    others.state["memory"][:] = 1
    assert torch.equal(neutral, train(others, 0))  # hears no maker
    mixed = make()
    rule = {"pool": 1, "own": 0.5, "feedback": 0.1, "views": 1, "sublabels": 1, "buy": 1}
    moves = np.stack([mixed.dials.encode(**rule), *[mixed.dials.encode()] * 5])
    assert torch.equal(neutral[1:], train(mixed, moves)[1:])  # bit for bit, whatever another student's recipe asks for


def test_the_neutral_action_goes_down_the_loss_on_given_labels(make: Callable[..., Label]) -> None:
    envs = make(3, steps=1, updates=1, labelled=10, batch=32)
    state, learner = envs.state, envs.study.learner
    found: list[torch.Tensor] = []
    learner.update = lambda students, loss, heads=None: found.append(loss(learner.named(students)))  # type: ignore[method-assign]
    place = envs.study.places(state, 0, 8, 10)[0]
    train(envs, 0)
    images, label = GARMENTS.images(state["item"].gather(1, place)), state["given"].gather(1, place)
    said = learner.say(state["student"], images).logits
    wanted = F.cross_entropy(said.flatten(0, 1), label.flatten(), reduction="none").view(3, 8).mean(1)
    torch.testing.assert_close(found[0], wanted)


def test_trust_decides_what_is_learned(make: Callable[..., Label]) -> None:
    scores = []
    for good in (True, False):
        envs = make(12, steps=3, updates=80, unlabelled=400, learning_rate=3e-3, companies=1)
        train(envs, envs.dials.encode(given=0, pool=1, source=envs.hidden()["good"] == good))
        scores.append(envs.examine()["score"])
    assert (scores[0] > scores[1]).mean() > 0.8


BASE: dict[str, Any] = {"pool": 1, "own": 0.5, "buy": 0.5}
NEEDS: dict[str, dict[str, Any]] = {
    "low": {**{f"threshold_{i}": 0.9 for i in range(C)}, "middle": 0.5},
    "middle": {**{f"threshold_{i}": 0.9 for i in range(C)}, "low": 0.1},
    "views": {f"threshold_{i}": 0.3 for i in range(C)},
    "align": {"soft": 1},
}


@pytest.mark.parametrize("dial", DIALS, ids=[dial.name for dial in DIALS])
def test_every_dial_changes_what_is_learned(make: Callable[..., Label], dial: Any) -> None:
    base = {**BASE, **NEEDS.get(dial.name, {})}
    value = np.eye(SOURCES)[np.arange(STUDENTS) % SOURCES] if dial.members > 1 else 0.3
    if dial.name.startswith(("threshold", "views")):
        value = 1.0
    plain, envs = make(updates=6), make(updates=6)
    changed = {**base, dial.name: value}
    assert not torch.equal(
        train(plain, plain.dials.encode(**base)), train(envs, envs.dials.encode(STUDENTS, **changed))
    )
    assert torch.isfinite(envs.state["student"]).all()


def test_bought_labels_cost_money_and_are_bought_once(make: Callable[..., Label]) -> None:
    envs = make(4, budget=10)
    plain = itemise(make(4, budget=10).state["ledger"])["data_engine"]["money"]
    assert (plain == 0).all()
    owned = []
    for _ in range(4):
        seen, *_ = envs.step(envs.dials.encode(4, buy=np.array([0, 0.5, 1, 0.21])))
        owned.append(envs.state["owned"].clone())
        np.testing.assert_allclose(seen["budget"][:, 0], 1 - owned[-1] / 10, atol=1e-6)
    assert torch.stack(owned).T.tolist() == [[0] * 4, [5, 7, 9, 9], [10] * 4, [2, 4, 5, 6]]
    spent = itemise(envs.state["ledger"])["data_engine"]
    assert torch.equal(spent["money"], owned[-1].double())
    assert torch.equal(spent["items"], owned[-1].double())
    for s in range(4):
        assert len({*envs.state["bought"][s, : owned[-1][s]].tolist()}) == owned[-1][s]


def test_unsure_items_are_bought_first(make: Callable[..., Label]) -> None:
    envs = make(4, budget=10)
    doubt = envs.state["doubt"].clone()
    envs.step(envs.dials.encode(4, buy=1, unsure=np.array([1, 1, 0, 0])))
    for s, bought in enumerate(envs.state["bought"]):
        most = doubt[s].argsort(descending=True)[:10]
        assert ({*bought.tolist()} == {*most.tolist()}) == (s < 2)


def test_a_bought_label_is_the_experts(make: Callable[..., Label]) -> None:
    scores = []
    for faulty in (0.0, 1.0):
        envs = make(12, steps=2, updates=120, budget=50, faulty=faulty, learning_rate=3e-3)
        train(envs, envs.dials.encode(given=0, buy=1))
        scores.append(envs.examine()["score"].mean())
    assert scores[0] > scores[1] + 0.1


def test_the_memory_follows_at_its_rate(make: Callable[..., Label]) -> None:
    envs = make(2, steps=1, updates=1)
    network = envs.study.learner.network
    before = envs.state["memory"].clone()
    assert torch.equal(before, envs.state["student"][:, :network])
    envs.step(envs.dials.encode(2, memory=np.array([0.0, 0.9])))
    after = envs.state["student"][:, :network]
    torch.testing.assert_close(envs.state["memory"][0], after[0])
    torch.testing.assert_close(envs.state["memory"][1], 0.9 * before[1] + 0.1 * after[1])


def test_feedback_teaches_the_memory_known_labels(make: Callable[..., Label]) -> None:
    losses = []
    for feedback in (0.0, 0.1):
        envs = make(steps=1, updates=30, shares=(1.0,))
        train(envs, envs.dials.encode(memory=0.999, feedback=feedback))
        memory = F.pad(envs.state["memory"], (0, envs.study.learner.weights - envs.study.learner.network))
        said = envs.study.learner.say(memory, GARMENTS.images(envs.state["item"][:, :40])).logits
        losses.append(F.cross_entropy(said.flatten(0, 1), envs.state["given"].flatten()))
    assert losses[1] < 0.8 * losses[0]


# --- what is believed -------------------------------------------------------------------------------------------------


def test_votes_count_by_trust() -> None:
    label = torch.tensor([[[0, 1, 1], [2, 2, 0]]])
    found = votes(label, torch.tensor([[0.5, 0.3, 0.2]]), 3)
    torch.testing.assert_close(found, torch.tensor([[[0.5, 0.5, 0.0], [0.2, 0.0, 0.8]]]))


def test_alignment_divides_by_the_prior() -> None:
    said, prior = torch.tensor([[[0.6, 0.3, 0.1]]] * 2), torch.tensor([[0.6, 0.3, 0.1]] * 2)
    found = aligned(said, prior, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(found[0], said[0])
    torch.testing.assert_close(found[1, 0], torch.full((3,), 1 / 3), atol=1e-4, rtol=0)


def test_thresholds_have_a_middle_band() -> None:
    said = torch.tensor([[[0.9, 0.1], [0.4, 0.6], [0.55, 0.45], [0.3, 0.7]]])
    recipe = {"low": torch.tensor([0.75]), "middle": torch.tensor([0.5]), "soft": torch.tensor([0.25])}
    target, weight = believed(said, said.amax(2), torch.tensor([[0.8, 0.7]]), recipe)
    assert weight.tolist() == [[1, 0.5, 0, 1]]
    torch.testing.assert_close(target[0, 0], torch.tensor([0.975, 0.025]))


# --- what is seen -----------------------------------------------------------------------------------------------------


def test_observations_say_what_makers_say_of_the_pool(make: Callable[..., Label]) -> None:
    envs = make(3, companies=1, budget=20)
    envs.step(envs.dials.encode(3, buy=np.array([0.0, 0.5, 1.0])))
    seen, state, learner = observe(envs), envs.state, envs.study.learner
    memory = F.pad(state["memory"], (0, learner.weights - learner.network))
    for s in range(3):
        pool = state["item"][s, 40:]
        said = torch.softmax(learner.say(memory[s : s + 1], GARMENTS.images(pool)[None]).logits[0], dim=1)
        sure, own = said.max(1)
        label = BANK.logits[0][state["model"][s, 0]][:, BANK.place[pool]].argmax(2)
        np.testing.assert_allclose(seen["own_agreement"][s], (label == own).double().mean(1), atol=1e-5)
        alike = (label[:, None] == label).double().mean(2)
        np.testing.assert_allclose(seen["peers"][s], (alike.sum(1) - 1) / 4, atol=1e-5)
        bought = state["bought"][s, : int(state["owned"][s])]
        right = (label[:, bought] == state["expert"][s, bought]).double()
        np.testing.assert_allclose(
            seen["bought_agreement"][s], right.mean(1) if len(bought) else [0.5] * SOURCES, atol=1e-5
        )
        np.testing.assert_allclose(seen["prior"][s], said.mean(0), atol=1e-5)
        bins = np.zeros((C, 10))
        np.add.at(bins, (own.numpy(), (sure * 10).long().clamp(max=9).numpy()), 1 / len(pool))
        np.testing.assert_allclose(seen["confidence"][s], bins.ravel(), atol=1.01 / len(pool))


@pytest.mark.parametrize("name", ["place", "faulty"])
def test_hidden_facts_are_not_seen(make: Callable[..., Label], name: str) -> None:
    plain, changed = make(), make()
    changed.state[name][:] = 1 - changed.state[name].clamp(0, 1)
    action = plain.dials.encode(STUDENTS, **BASE)
    for _ in range(2):
        (seen, reward, *_, info), (seen_too, reward_too, *_, info_too) = plain.step(action), changed.step(action)
        assert all(np.array_equal(seen[key], seen_too[key]) for key in seen)
        assert np.array_equal(reward, reward_too)
        assert repr(info) == repr(info_too)


def test_what_nobody_bought_is_not_seen(make: Callable[..., Label]) -> None:
    plain, changed = make(), make()
    changed.state["expert"][:] = 0
    rule = plain.dials.encode(STUDENTS, pool=1, own=0.5)
    for _ in range(2):
        seen, seen_too = plain.step(rule)[0], changed.step(rule)[0]
        assert all(np.array_equal(seen[key], seen_too[key]) for key in seen)


def test_other_sources_are_seen_before_their_first_step(make: Callable[..., Label]) -> None:
    envs = make(30, steps=6)
    seen = [observe(envs)["peers"]]
    for _ in range(5):
        seen.append(envs.step(envs.dials.encode(30))[0]["peers"])
    for s in range(30):
        changed = [step for step in range(1, 6) if not np.array_equal(seen[step][s], seen[step - 1][s])]
        assert changed == sorted({*envs.state["begins"][s, 1:].tolist()} & {*range(1, 6)})


@pytest.mark.parametrize("company", [[2], [4, 1], [5, 3, 0]])
def test_a_student_learns_alike_in_any_company(make: Callable[..., Label], company: list[int]) -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (3, STUDENTS, *Label(1).dials.shape)).astype(np.float32)

    def episode(seeds: list[int]) -> list[dict[str, np.ndarray]]:
        envs = make(len(seeds), seed=seeds)
        return [envs.step(action[seeds])[0] for action in actions]

    for all_of_them, some in zip(episode(list(range(STUDENTS))), episode(company), strict=True):
        for name, value in some.items():
            np.testing.assert_allclose(value, all_of_them[name][company], atol=1e-3, rtol=1e-3, err_msg=name)


def test_students_go_on_from_a_snapshot_as_they_would_have(make: Callable[..., Label]) -> None:
    actions = np.random.default_rng(1).uniform(-1, 1, (3, STUDENTS, *Label(1).dials.shape)).astype(np.float32)
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
    "settings", [{"shares": ()}, {"shares": (0.5, 0.4)}, {"budget": 0}, {"faulty": 2}, {"student": "oracle"}]
)
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Label(1, **settings)


def test_the_page_lists_dials_and_observations(make: Callable[..., Label]) -> None:
    page, at = Label.__doc__ or "", 0
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
