"""Distill: companies of teachers, labels as all of them have it, and what a student may see of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch.nn import functional as F

from kdgym import testing
from kdgym.core import study
from kdgym.envs.distill.distill import DIALS, TEACHERS, Distill
from kdgym.envs.distill.losses import TERMS
from kdgym.students.recipes.bank import ALIKE, SOUND, TURNS, WIDTHS, Bank, load_bank, turned
from kdgym.studies.distillation import first_sight
from kdgym.tasks.images import CLASSES, garments

STUDENTS = 6
SMALL: dict[str, Any] = {"steps": 3, "updates": 2, "test_items": 50, "autoreset": False}
C = len(CLASSES)


def made_up_bank() -> Bank:
    """Models that know the labels, or move them on as their kind has it; nothing is trained."""
    generator = torch.Generator().manual_seed(0)
    corpus = garments()
    seen = torch.cat([corpus.parts["labelled"], corpus.parts["pool"]])
    place = torch.full((len(corpus.label),), -1)
    place[seen] = torch.arange(len(seen))
    kinds = tuple(kind for kind in ALIKE for _ in range(SOUND))
    said = [turned(ALIKE.index(kind))[corpus.label[seen]] for kind in kinds]
    noise = torch.rand(2, len(kinds), len(seen), C, generator=generator)
    logits = 4 * F.one_hot(torch.stack(said), C).float() + noise
    some = lambda *shape: torch.rand(*shape, generator=generator)  # noqa: E731
    return Bank(
        kinds, place, logits - logits.amax(3, keepdim=True),
        (some(len(kinds), len(seen), WIDTHS[0]).half(), some(len(kinds), len(seen), WIDTHS[1]).half()),
        (some(len(kinds), WIDTHS[1], C), some(len(kinds), C)),
        (some(len(kinds), C, WIDTHS[1], 2), some(len(kinds), C, 2)),
        some(4, C, len(corpus.parts["labelled"]), C),
    )  # fmt: skip


BANK = made_up_bank()


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Distill]:
    """Makes populations whose teachers are of the made-up bank."""
    monkeypatch.setattr(study, "load_bank", lambda half, device: BANK)

    def made(students: int = STUDENTS, seed: int | list[int] = 0, **settings: Any) -> Distill:
        envs = Distill(students, **{**SMALL, **settings})
        envs.reset(seed=seed)
        return envs

    return made


def observe(envs: Distill) -> dict[str, np.ndarray]:
    return {name: value.numpy().copy() for name, value in envs._observe().items()}


@pytest.mark.slow
def test_contract() -> None:
    testing.check("kdgym/Distill-Images-v0", steps=6, updates=2, test_items=50)


# --- what an episode is made of ---------------------------------------------------------------------------------------


def test_companies_come_one_after_the_other(make: Callable[..., Distill]) -> None:
    envs = make(64, steps=12, updates=1)
    begins, model = (envs.state[name].numpy() for name in ("begins", "model"))
    assert (begins[:, 0] == 0).all()
    assert [{*turn} for turn in begins.T[1:]] == [{3, 4, 5}, {7, 8, 9}]
    seen = []
    for step in range(12):
        good = envs.hidden()["good"]
        now = model[np.arange(64), (begins <= step).sum(1) - 1]
        assert np.array_equal(good, now < SOUND)
        assert (good.sum(1) == 1).all()
        assert all(len({*(row // SOUND)}) == len({*(row % SOUND)}) == TEACHERS for row in now)  # no two are alike
        seen.append(now // SOUND)
        envs.step(np.zeros((64, *envs.dials.shape), np.float32))
    kinds = np.concatenate(seen)
    assert {*kinds.flat} == {*range(TURNS)}
    assert {*(kinds == 0).argmax(1)} == {*range(TEACHERS)}  # in any order


def test_labels_are_as_each_kind_would_have_them(make: Callable[..., Distill]) -> None:
    label, shares = garments().label, (0.5, 0.3, 0.2)
    envs = make(64, labelled=400, shares=shares)
    true, given, place = label[envs.state["item"][:, :400]], envs.state["given"], envs.hidden()["place"]
    moved = turned(1)[true] != true
    by_kind = torch.stack([((given == turned(by)[true]) & moved).sum(1) / moved.sum(1) for by in range(TURNS)], dim=1)
    assert torch.equal(given[~moved], true[~moved])
    assert {*place} == {0, 1, 2}
    np.testing.assert_allclose(by_kind[:, 0], np.array(shares)[place], atol=0.13)
    np.testing.assert_allclose(by_kind.sort(1, descending=True)[0].mean(0), [*shares, 0, 0, 0], atol=0.02)
    assert (make(shares=(1.0,)).state["given"] == label[make(shares=(1.0,)).state["item"][:, :100]]).all()


def test_shares_add_up_to_one() -> None:
    with pytest.raises(ValueError, match=r"shares.*add up to 0\.9"):
        Distill(1, shares=(0.5, 0.4))


def test_turned_models_are_the_sound_ones_with_classes_exchanged() -> None:
    """They disagree on the same six classes, and return after six turns."""
    kinds = torch.stack([turned(by) for by in range(TURNS)])
    assert torch.equal(kinds[0], torch.arange(C))
    assert sorted(len({*column.tolist()}) for column in kinds.T) == [1] * 4 + [TURNS] * 6


@pytest.mark.slow
def test_turned_models_are_as_sure_as_sound_ones() -> None:
    bank = load_bank("evaluation", torch.device("cpu"))
    sound = bank.of("sound")
    for by, kind in enumerate(ALIKE):
        same, moved = bank.of(kind), turned(by)
        assert torch.equal(bank.logits[:, same][..., moved], bank.logits[:, sound])
        assert torch.equal(bank.hidden[1][same], bank.hidden[1][sound])
        feature = bank.hidden[1][same, :50].float()
        said = torch.baddbmm(bank.head[1][same].unsqueeze(1), feature, bank.head[0][same])
        assert (said.argmax(2) == bank.logits[0, same, :50].argmax(2)).float().mean() > 0.97  # features are rounded
        assert torch.equal(
            bank.within(torch.tensor(same), feature)[:, :, moved], bank.within(torch.tensor(sound), feature)
        )


@pytest.mark.slow
def test_the_first_observation_does_not_tell_whom_to_trust() -> None:
    """A fitted rule names the sound one of five for 20 % of 768 unseen students, or 5 % more: 3.5 standard errors."""
    assert np.mean(first_sight(768)) < 0.25


def test_items_are_of_their_splits(make: Callable[..., Distill]) -> None:
    envs = make(labelled=200, unlabelled=300)
    parts = {name: set(index.tolist()) for name, index in garments().parts.items()}
    item = envs.state["item"]
    assert {*item[:, :200].flatten().tolist()} <= parts["labelled"]
    assert {*item[:, 200:].flatten().tolist()} <= parts["pool"]
    assert {*envs.state["validation"].flatten().tolist()} <= parts["validation"]
    assert all(not parts[a] & parts[b] for a in parts for b in parts if a < b)


# --- what is decided --------------------------------------------------------------------------------------------------


def train(envs: Distill, action: Any) -> torch.Tensor:
    for _ in range(envs.steps):
        envs.step(np.broadcast_to(action, (envs.num_envs, *envs.dials.shape)).astype(np.float32))
    return envs.state["student"].clone()


def test_the_neutral_action_hears_no_teacher(make: Callable[..., Distill]) -> None:
    neutral = train(make(), 0)
    assert torch.equal(neutral, train(make(), Distill(1).dials.encode(ce=1)))
    others, relabelled = make(), make()
    others.state["model"][:] = others.state["model"].flip(2)
    assert torch.equal(neutral, train(others, 0))
    relabelled.state["given"][:] = (relabelled.state["given"] + 1) % C
    assert not torch.equal(neutral, train(relabelled, 0))


def test_the_neutral_action_is_cross_entropy(make: Callable[..., Distill]) -> None:
    envs = make(3, steps=1, updates=3)
    state, learner = envs.state, envs.study.learner
    model = [learner.named(state["student"][s : s + 1].clone()) for s in range(3)]
    wanted = []
    for s in range(3):
        layers = [model[s][f"{kind}_{i}"][0].requires_grad_() for i in range(3) for kind in ("matrix", "bias")]
        optimiser = torch.optim.AdamW(layers, lr=envs.config.learning_rate, betas=(0.9, 0.99), weight_decay=0)
        for update in range(3):
            place = envs.study.places(state, 0, 16, envs.config.labelled)[update, s]
            x = garments().images(state["item"][s, place])
            for i in range(3):
                x = x @ layers[2 * i] + layers[2 * i + 1]
                x = x.relu() if i < 2 else x
            optimiser.zero_grad()
            F.cross_entropy(x, state["given"][s, place]).backward()
            optimiser.step()
        wanted.append(torch.cat([layer.detach().flatten() for layer in layers]))
    found = train(envs, 0)[:, : learner.network]
    torch.testing.assert_close(found, torch.stack(wanted), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("term", TERMS)
def test_every_term_changes_what_is_learned(make: Callable[..., Distill], term: str) -> None:
    envs = make(steps=1)
    assert not torch.equal(train(make(steps=1), 0), train(envs, envs.dials.encode(**{term: 1})))
    assert torch.isfinite(envs.state["student"]).all()


def test_the_model_that_reads_labels_is_of_any_kind(make: Callable[..., Distill]) -> None:
    envs, others = make(48), make(48)
    assert {*envs.state["assistant"].tolist()} == {*range(TURNS)}
    others.state["assistant"][:24] = (others.state["assistant"][:24] + 1) % TURNS
    action = envs.dials.encode(assisted=1)
    same = (train(envs, action) == train(others, action)).all(1)
    assert same.tolist() == [False] * 24 + [True] * 24


def test_trust_decides_whom_students_imitate(make: Callable[..., Distill]) -> None:
    scores = []
    for good in (True, False):
        envs = make(16, steps=2, updates=60, learning_rate=3e-3, companies=1)
        for _ in range(2):
            trust = envs.hidden()["good"] == good
            envs.step(envs.dials.encode(ce=0, forward=3, temperature=1, teacher=trust))
        scores.append(envs.examine()["score"])
    assert (scores[0] > scores[1]).mean() > 0.8


# --- what is seen -----------------------------------------------------------------------------------------------------


def test_observations_say_what_teachers_say_of_labelled_items(make: Callable[..., Distill]) -> None:
    envs = make(2)
    seen, state = observe(envs), envs.state
    for s in range(2):
        item, given = state["item"][s, : envs.config.labelled], state["given"][s]
        said = [torch.log_softmax(BANK.logits[0][m, BANK.place[item]], dim=1) for m in state["model"][s, 0]]
        output = envs.study.learner.say(state["student"][s : s + 1], garments().images(item)[None])
        student = torch.log_softmax(output.logits[0], dim=1)
        for m, log in enumerate(said):
            alike = [(log.argmax(1) == other.argmax(1)).float().mean() for n, other in enumerate(said) if n != m]
            wanted = {
                "agreement": (log.argmax(1) == given).float().mean(),
                "label_loss": F.nll_loss(log, given),
                "entropy": -(log.exp() * log).sum(1).mean(),
                "divergence": F.kl_div(student, log, log_target=True, reduction="batchmean"),
                "peers": torch.stack(alike).mean(),
            }
            for name, value in wanted.items():
                assert seen[name][s, m] == pytest.approx(float(value), abs=1e-4)


@pytest.mark.parametrize("name", ["begins", "place", "assistant", "model"])
def test_hidden_facts_and_coming_teachers_are_not_seen(make: Callable[..., Distill], name: str) -> None:
    plain, changed = make(steps=6), make(steps=6)
    changed.state["begins"][:, 1:] = plain.state["begins"][:, 1:] = 4
    if name == "begins":
        changed.state["begins"][:, 1:] = 5
    elif name in ("place", "assistant"):
        changed.state[name][:] = (changed.state[name] + 1) % TURNS
    else:
        changed.state[name][:, 1:] = 0
    action = np.zeros((STUDENTS, *plain.dials.shape), np.float32)
    for _ in range(3):
        (seen, reward, *_, info), (seen_too, reward_too, *_, info_too) = plain.step(action), changed.step(action)
        assert all(np.array_equal(seen[key], seen_too[key]) for key in seen)
        assert np.array_equal(reward, reward_too)
        assert repr(info) == repr(info_too)


def test_a_teachers_place_says_nothing(make: Callable[..., Distill]) -> None:
    """Which models teach is seen; in which order they stand changes the order alone."""
    envs = make()
    before = observe(envs)
    order = torch.tensor([3, 0, 4, 1, 2])
    envs.state["model"][:] = envs.state["model"][:, :, order]
    envs._look(slice(None), envs.state["step"])
    for name, value in observe(envs).items():
        by_teacher = name in ("agreement", "label_loss", "entropy", "divergence", "peers")
        np.testing.assert_allclose(value, before[name][:, order] if by_teacher else before[name], atol=1e-6)


@pytest.mark.parametrize("company", [[2], [4, 1], [5, 3, 0]])
def test_a_student_learns_alike_in_any_company(make: Callable[..., Distill], company: list[int]) -> None:
    actions = np.random.default_rng(0).uniform(-1, 1, (3, STUDENTS, *Distill(1).dials.shape)).astype(np.float32)

    def episode(seeds: list[int]) -> list[dict[str, np.ndarray]]:
        envs = make(len(seeds), seed=seeds)
        return [envs.step(action[seeds])[0] for action in actions]

    for all_of_them, some in zip(episode(list(range(STUDENTS))), episode(company), strict=True):
        for name, value in some.items():
            np.testing.assert_allclose(value, all_of_them[name][company], atol=1e-4, rtol=1e-4, err_msg=name)


def test_test_images_are_looked_at_once_for_the_same_weights(
    make: Callable[..., Distill], monkeypatch: pytest.MonkeyPatch
) -> None:
    envs, asked = make(), []
    examine = envs.study.examine
    monkeypatch.setattr(envs.study, "examine", lambda state, split: asked.append(split) or examine(state, split))
    before, score = envs.outcome()["calibration"], envs.examine()["score"]
    assert asked == ["test"]
    assert np.array_equal(envs.examine()["score"], score)
    envs.examine("validation")
    envs.step(np.zeros((STUDENTS, *envs.dials.shape), np.float32))
    after = envs.outcome()["calibration"]
    assert asked == ["test", "validation", "test"]
    assert np.array_equal(after, examine(envs.state, "test")["calibration"].numpy())
    assert not np.array_equal(after, before)


# --- for people -------------------------------------------------------------------------------------------------------


def test_the_page_lists_dials_and_observations(make: Callable[..., Distill]) -> None:
    page, at = Distill.__doc__ or "", 0
    for dial in DIALS:
        place = f"{at} to {at + dial.members - 1}" if dial.members > 1 else f"{at}"
        span = (
            f"{dial.members} shares | equal"
            if dial.members > 1
            else f"{dial.low:g} to {dial.high:g} | {dial.neutral:g}"
        )
        assert f"| {place} | {dial.name} | {span} | {dial.meaning} |" in page
        at += dial.members
    for name, box in make(1).single_observation_space.spaces.items():
        assert f"| {name} | ({box.shape[0]},) | [{box.low[0]:g}, {box.high[0]:.3g}] |" in page


def test_the_panel_shows_moved_dials(make: Callable[..., Distill]) -> None:
    envs = make(2)
    moves = np.stack([envs.dials.encode(forward=3), envs.dials.encode()])
    envs.step(moves)
    shown = []
    for student in range(2):
        console = Console(width=100, record=True, file=None, quiet=False)
        with console.capture() as capture:
            console.print(envs.panel(student))
        shown.append(capture.get())
    assert "forward" in shown[0]
    assert "all neutral" in shown[1]
    assert all(name in shown[0] for name in CLASSES)
    assert envs.frame(0).shape == envs.frame(1).shape
    envs.reset(seed=1)
    assert envs.recipe(0).moved() == []
