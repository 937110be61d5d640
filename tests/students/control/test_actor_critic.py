"""Actor-critics learn by PPO: an update is Stable-Baselines3's, student by student."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.logger import configure
from torch import Tensor

from kdgym.students.control.actor_critic import ActorCritics, PPOConfig, RolloutBatch

STUDENTS, STEPS, HIDDEN, UNBOUNDED = 2, 64, 8, 1e9
ENV_ID, INPUTS, ACTIONS = "Acrobot-v1", 6, 3
# One minibatch and no momentum: the first moment is then the gradient itself.
CONFIG = PPOConfig(epochs=1, minibatches=1, beta1=0.0, entropy_coef=0.05, max_grad_norm=UNBOUNDED)
KEY, ALL = torch.arange(STUDENTS), torch.ones(STUDENTS, dtype=torch.bool)


def make(config: PPOConfig = CONFIG) -> tuple[ActorCritics, Tensor]:
    """Students whose policies are far from uniform and whose critics are far from 0."""
    students = ActorCritics(INPUTS, ACTIONS, HIDDEN, config)
    state = students.initialise(KEY)
    state[:, : students.weights] = 0.7 * torch.randn(
        STUDENTS, students.weights, generator=torch.Generator().manual_seed(1)
    )
    return students, state


def experience(students: ActorCritics, state: Tensor) -> RolloutBatch:
    """Steps taken by policies that differ from today's, so that many ratios are out of the clip range, on both sides."""
    rng = np.random.default_rng(0)
    observation = torch.from_numpy(rng.normal(size=(STUDENTS, STEPS, INPUTS))).float()
    action = torch.from_numpy(rng.integers(0, ACTIONS, (STUDENTS, STEPS)))
    advantage, target, lead = torch.from_numpy(rng.normal(size=(3, STUDENTS, STEPS))).float()
    now = students.logits(state, observation).log_softmax(2).gather(2, action.unsqueeze(2)).squeeze(2)
    return RolloutBatch(observation, action, now - 0.5 * lead, 3 * advantage + 1, target)


class Theirs:
    """One student's weights in Stable-Baselines3's PPO, and one student's experience in its rollout buffer."""

    def __init__(
        self, weights: Tensor, batch: RolloutBatch, student: int, optimizer: type[torch.optim.Optimizer]
    ) -> None:
        c = CONFIG
        options = {} if optimizer is torch.optim.SGD else {"betas": (c.beta1, c.beta2), "eps": c.epsilon}
        self.model = PPO(
            "MlpPolicy",
            gym.make(ENV_ID),
            learning_rate=1.0 if optimizer is torch.optim.SGD else c.learning_rate,
            n_steps=STEPS,
            batch_size=STEPS,
            n_epochs=1,
            clip_range=c.clip,
            ent_coef=c.entropy_coef,
            vf_coef=0.5,
            max_grad_norm=UNBOUNDED,
            policy_kwargs={
                "net_arch": {"pi": [HIDDEN, HIDDEN], "vf": [HIDDEN, HIDDEN]},
                "optimizer_class": optimizer,
                "optimizer_kwargs": options,
            },
            device="cpu",
        )
        self.model.set_logger(configure(None, []))
        policy = self.model.policy
        actor, critic = policy.mlp_extractor.policy_net, policy.mlp_extractor.value_net
        self.layers = [actor[0], actor[2], policy.action_net, critic[0], critic[2], policy.value_net]
        sizes = [layer.weight.numel() + layer.bias.numel() for layer in self.layers]
        with torch.no_grad():
            for layer, part in zip(self.layers, weights.split(sizes), strict=True):
                outputs, inputs = layer.weight.shape
                layer.weight.copy_(part[: inputs * outputs].view(inputs, outputs).T)
                layer.bias.copy_(part[inputs * outputs :])
        buffer = self.model.rollout_buffer
        for observation, action, log_p in zip(
            batch.observation[student], batch.action[student], batch.log_p[student], strict=True
        ):
            buffer.add(
                observation.numpy()[None], action.numpy()[None], np.zeros(1), np.zeros(1), torch.zeros(1), log_p[None]
            )
        buffer.advantages[:, 0] = batch.advantage[student]
        buffer.returns[:, 0] = batch.target[student]

    def weights(self) -> Tensor:
        """In the order of ours."""
        return torch.cat([torch.cat([layer.weight.T.flatten(), layer.bias]) for layer in self.layers]).detach()

    def gradient(self) -> Tensor:
        """Of the loss that `train` goes down: the step of plain gradient descent at rate 1."""
        before = self.weights()
        self.model.train()
        return before - self.weights()


def gradient(config: PPOConfig) -> tuple[Tensor, Tensor, RolloutBatch]:
    """Of one update, [S, weights]; weights before it, and what it learned from."""
    students, state = make(config)
    batch, before = experience(students, state), state[:, : students.weights].clone()
    students.update(state, batch, KEY, ALL)
    return state[:, students.weights : 2 * students.weights], before, batch


def parts(row: Tensor) -> tuple[Tensor, ...]:
    """The actor's and the critic's."""
    actor = INPUTS * HIDDEN + HIDDEN + HIDDEN * HIDDEN + HIDDEN + HIDDEN * ACTIONS + ACTIONS
    return row.split([actor, len(row) - actor])


def test_the_gradient_is_that_of_stable_baselines3() -> None:
    ours, before, batch = gradient(CONFIG)
    for student in range(STUDENTS):
        theirs = Theirs(before[student], batch, student, torch.optim.SGD).gradient()
        torch.testing.assert_close(ours[student], theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("change", [{"clip": 1e6}, {"entropy_coef": 0.0}, {"entropy_coef": -CONFIG.entropy_coef}])
def test_the_batch_shows_the_clip_and_the_entropy(change: dict[str, float]) -> None:
    """So the comparison above is no comparison of parts that happen to be 0."""
    ours, *_ = gradient(CONFIG)
    other, *_ = gradient(replace(CONFIG, **change))
    assert all((parts(row)[0] - parts(changed)[0]).norm() > 0.02 for row, changed in zip(ours, other, strict=True))


def test_several_passes_over_a_batch_are_those_of_stable_baselines3() -> None:
    config = replace(CONFIG, epochs=4)
    students, state = make(config)
    batch, before = experience(students, state), state[:, : students.weights].clone()
    students.update(state, batch, KEY, ALL)
    for student in range(STUDENTS):
        theirs = Theirs(before[student], batch, student, torch.optim.Adam)
        theirs.model.n_epochs = config.epochs
        theirs.model.train()
        torch.testing.assert_close(state[student, : students.weights], theirs.weights(), rtol=0, atol=2e-5)
    assert state[:, -1].tolist() == [config.epochs] * STUDENTS


@pytest.mark.parametrize(
    ("norm", "clipped"), [(0.6, [[True, True], [False, True]]), (1.0, [[False] * 2, [False, True]])]
)
def test_actor_and_critic_are_clipped_to_the_norm_each_by_itself(norm: float, clipped: list[list[bool]]) -> None:
    whole, *_ = gradient(CONFIG)
    ours, *_ = gradient(replace(CONFIG, max_grad_norm=norm))
    assert [[bool(part.norm() > norm) for part in parts(row)] for row in whole] == clipped
    for found, expected in zip(map(parts, ours), map(parts, whole), strict=True):
        for part, other in zip(found, expected, strict=True):
            parameter = torch.nn.Parameter(torch.zeros_like(other))
            parameter.grad = other.clone()
            torch.nn.utils.clip_grad_norm_(parameter, norm)
            torch.testing.assert_close(part, parameter.grad, rtol=1e-4, atol=1e-6)


def test_minibatches_part_the_batch_and_every_student_draws_its_own_order() -> None:
    """Two halves are two steps; both are met by a student in an order that only its key decides."""
    config = replace(CONFIG, minibatches=2)
    students, state = make(config)
    batch, start = experience(students, state), state.clone()
    students.update(state, batch, KEY, ALL)
    assert state[:, -1].tolist() == [2, 2]
    again = start.clone()
    students.update(again, batch, KEY, ALL)
    assert torch.equal(again, state)
    students.update(start, batch, KEY + torch.tensor([0, 7]), ALL)
    assert torch.equal(start[0], state[0]) and not torch.equal(start[1], state[1])


def test_a_student_that_rests_stays_as_it_is() -> None:
    students, state = make()
    before = state.clone()
    students.update(state, experience(students, state), KEY, torch.tensor([True, False]))
    assert torch.equal(state[1], before[1]) and not torch.equal(state[0], before[0])


def test_untrained_actors_are_nearly_uniform_and_critics_near_0() -> None:
    students = ActorCritics(INPUTS, ACTIONS, 64, CONFIG)
    state = students.initialise(torch.arange(8))
    observation = torch.randn(8, 32, INPUTS, generator=torch.Generator().manual_seed(0))
    assert (students.logits(state, observation).softmax(2) - 1 / ACTIONS).abs().max() < 0.02
    assert 0 < students.values(state, observation).abs().max() < 0.05
    first = state[:, : INPUTS * 64]
    assert float(first.var()) == pytest.approx(1 / INPUTS, rel=0.05)  # keeps the variance of what comes in
    assert float(first.abs().max()) <= math.sqrt(3 / INPUTS)
    assert (state[:, INPUTS * 64 : INPUTS * 64 + 64] == 0).all()  # biases
    assert (state[:, students.weights :] == 0).all()  # moments and number of updates
    assert not torch.equal(state[0], state[1])


def test_a_decision_takes_two_operations_a_weight_of_the_actor() -> None:
    students, state = make()
    actor, critic = parts(state[0, : students.weights])
    assert students.flops == 2 * len(actor)
    assert students.row == state.shape[1] == 3 * (len(actor) + len(critic)) + 1


def test_constants_are_those_of_stable_baselines3() -> None:
    theirs = inspect.signature(PPO).parameters
    ours = {"clip_range": PPOConfig.clip, "gae_lambda": PPOConfig.gae_lambda, "max_grad_norm": PPOConfig.max_grad_norm}
    assert ours == {name: theirs[name].default for name in ours}
