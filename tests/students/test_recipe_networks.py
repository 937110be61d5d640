"""Networks of recipes: S side by side are as S by themselves, learn alone as in company, and learn at all."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kdgym.students.recipes.engine import Learner, LearnerConfig, Weights, follow
from kdgym.students.recipes.networks import ARCHITECTURES, log_softmax, softmax
from kdgym.tasks.images import PIXELS, garments

NAMES = sorted(ARCHITECTURES)


def make(name: str, **heads: tuple[int, ...]) -> Learner:
    return Learner(ARCHITECTURES[name](10), heads, LearnerConfig(learning_rate=3e-3))


def entropy(learner: Learner, images: Tensor, label: Tensor):
    def loss(w: Weights) -> Tensor:
        logits = learner.architecture.forward(w, images).logits
        return F.cross_entropy(logits.flatten(0, 1), label.flatten(), reduction="none").view_as(label).mean(1)

    return loss


@pytest.mark.parametrize("name", NAMES)
def test_a_network_says_the_same_in_any_company(name: str) -> None:
    learner = make(name)
    state, images = learner.initialise(torch.arange(3)), torch.rand(3, 5, PIXELS)
    together = learner.say(state, images)
    assert together.logits.shape == (3, 5, 10)
    assert tuple(h.shape[2] for h in together.hidden) == learner.architecture.stages
    for i in range(3):
        alone = learner.say(state[i : i + 1], images[i : i + 1])
        torch.testing.assert_close(alone.logits[0], together.logits[i], atol=1e-5, rtol=1e-4)
        for one, other in zip(alone.hidden, together.hidden, strict=True):
            torch.testing.assert_close(one[0], other[i], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_an_update_is_that_of_adamw_on_each_network_by_itself(name: str) -> None:
    learner = make(name)
    state, images, label = learner.initialise(torch.arange(2)), torch.rand(2, 6, PIXELS), torch.randint(0, 10, (2, 6))
    alone = [{k: w[i : i + 1].clone().requires_grad_() for k, w in learner.named(state).items()} for i in range(2)]
    settings = learner.config
    for i, weights in enumerate(alone):
        optimiser = torch.optim.AdamW(
            weights.values(), settings.learning_rate, (settings.beta1, settings.beta2), settings.epsilon, weight_decay=0
        )
        for _ in range(3):
            optimiser.zero_grad()
            entropy(learner, images[i : i + 1], label[i : i + 1])(weights).sum().backward()
            optimiser.step()
    for _ in range(3):
        learner.update(state, entropy(learner, images, label))
    for i, weights in enumerate(alone):
        for key, weight in learner.named(state).items():
            torch.testing.assert_close(weight[i], weights[key][0].detach(), atol=2e-5, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_networks_learn_garments(name: str) -> None:
    learner, corpus = make(name), garments()
    state, part = learner.initialise(torch.arange(2)), corpus.parts["labelled"]
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        item = part[torch.randint(0, len(part), (2, 32), generator=generator)]
        learner.update(state, entropy(learner, corpus.images(item), corpus.label[item]))
    test = corpus.parts["test"][:500]
    said = learner.say(state, corpus.images(test).expand(2, -1, -1)).logits.argmax(2)
    assert ((said == corpus.label[test]).float().mean(1) > 0.55).all()


def test_heads_of_who_does_not_use_them_stay_with_all_their_momentum() -> None:
    learner = make("perceptron", matrix_extra=(32, 3), bias_extra=(3,))
    state, images = learner.initialise(torch.arange(2)), torch.rand(2, 4, PIXELS)

    def loss(w: Weights) -> Tensor:
        hidden = learner.architecture.forward(w, images).hidden[-1]
        return torch.baddbmm(w["bias_extra"].unsqueeze(1), hidden, w["matrix_extra"]).square().mean((1, 2))

    learner.update(state, loss, torch.tensor([True, True]))
    before = {name: weight.clone() for name, weight in learner.named(state).items()}
    learner.update(state, loss, torch.tensor([True, False]))
    after = learner.named(state)
    assert not torch.equal(after["matrix_extra"][0], before["matrix_extra"][0])
    assert torch.equal(after["matrix_extra"][1], before["matrix_extra"][1])
    assert not torch.equal(after["matrix_0"][1], before["matrix_0"][1])


def test_a_memory_follows_at_its_rate() -> None:
    memory = torch.zeros(2, 3)
    follow(memory, torch.ones(2, 3), torch.tensor([0.9, 0.0]))
    torch.testing.assert_close(memory, torch.tensor([[0.1] * 3, [1.0] * 3]))


def test_softmax_over_items_side_by_side_is_softmax() -> None:
    logits = torch.randn(2, 3, 5, 10, requires_grad=True)
    torch.testing.assert_close(softmax(logits), torch.softmax(logits, dim=3))
    weight = torch.rand(2, 3, 5, 10)
    mine, theirs = (
        torch.autograd.grad((weight * said).sum(), logits)[0]
        for said in (log_softmax(logits), torch.log_softmax(logits, dim=3))
    )
    torch.testing.assert_close(mine, theirs)


def test_images_are_those_of_the_items_in_any_shape() -> None:
    corpus, item = garments(), torch.tensor([[5, 0], [7, 5]])
    images = corpus.images(item)
    assert images.shape == (2, 2, PIXELS)
    assert torch.equal(images[1, 1], corpus.pixels[5].float() / 15)
    assert torch.equal(images[0, 1], corpus.pixels[0].float() / 15)
