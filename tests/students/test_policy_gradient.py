"""The policy gradient against what can be computed by hand, against TRL, and where there is nothing to learn."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from kdgym import random
from kdgym.students import TransformerConfig, TransformerStudents
from kdgym.students.policy_gradient import SHAPINGS, Objective, Rollouts, group_advantages, grpo_loss, pick
from kdgym.tasks import make_task
from kdgym.tasks.scratchpad import Scratchpad

MASK, PLAIN, RATIO, AWARE = range(len(SHAPINGS))


def rollouts(log_p: Tensor, feedback: Tensor | None = None, valid: Tensor | None = None) -> Rollouts:
    """Sequences of nothing but probabilities."""
    nothing = torch.zeros(log_p.shape, dtype=torch.int64)
    everything = torch.ones(log_p.shape, dtype=torch.bool)
    return Rollouts(
        nothing[..., 0],
        nothing,
        log_p.detach(),
        everything if valid is None else valid,
        ~everything if feedback is None else feedback,
    )


def loss_of(
    log_p: Tensor, given: Rollouts, advantage: Tensor, shaping: int = PLAIN, weight: float = 1.0, **kwargs: Any
) -> Tensor:
    s = len(log_p)
    counted = kwargs.pop("counted", torch.ones(log_p.shape[:2], dtype=torch.bool))
    return grpo_loss(
        log_p,
        given,
        advantage,
        counted,
        torch.full((s,), shaping),
        torch.full((s,), weight, dtype=log_p.dtype),
        **kwargs,
    )


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_two_arms_by_hand() -> None:
    """Softmax policy over two arms, pi(left) = sigmoid(theta); one pull of each, left pays 1.

    A = +-1/2 / (sqrt(1/2) + 1e-4); d loss / d theta = -(A_left (1 - pi) + A_right (-pi)) / 2 = -A_left / 2.
    """
    theta = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    log_p = torch.nn.functional.logsigmoid(torch.stack([theta, -theta])).view(1, 2, 1)
    advantage = group_advantages(torch.tensor([[1.0, 0.0]], dtype=torch.float64))
    expected = 0.5 / (math.sqrt(0.5) + 1e-4)
    assert advantage[0].tolist() == pytest.approx([expected, -expected], abs=1e-12)
    loss = loss_of(log_p, rollouts(log_p), advantage)
    (gradient,) = torch.autograd.grad(loss.sum(), theta)
    assert float(loss.detach()) == pytest.approx(0, abs=1e-12)  # at ratio 1 the advantages cancel
    assert float((theta - 0.1 * gradient).detach()) == pytest.approx(0.3 + 0.1 * expected / 2, abs=1e-6)


@pytest.mark.parametrize(
    ("advantage", "ratio", "expected"), [(2.0, 1.5, 2.4), (2.0, 0.5, 1.0), (-2.0, 1.5, -3.0), (-2.0, 0.5, -1.6)]
)
def test_the_ratio_is_clipped_where_it_would_gain(advantage: float, ratio: float, expected: float) -> None:
    log_p = torch.tensor(math.log(0.3 * ratio)).view(1, 1, 1)
    given = rollouts(torch.tensor(math.log(0.3)).view(1, 1, 1))
    assert float(loss_of(log_p, given, torch.tensor([[advantage]]))) == pytest.approx(-expected, rel=1e-5)


@pytest.mark.parametrize("advantage", [1.5, -1.5])
def test_every_shaping_of_a_feedback_token_by_hand(advantage: float) -> None:
    """Gradient by the token's log-probability: 0, -A, -A c pi / (pi + c)^2, and that only for A > 0."""
    pi, c = 0.2, 0.1
    ratio = advantage * c * pi / (pi + c) ** 2
    expected = {MASK: 0.0, PLAIN: advantage, RATIO: ratio, AWARE: max(ratio, 0.0)}
    for shaping, gain in expected.items():
        log_p = torch.tensor(math.log(pi), dtype=torch.float64).view(1, 1, 1).requires_grad_()
        given = rollouts(log_p, feedback=torch.ones(1, 1, 1, dtype=torch.bool))
        loss = loss_of(log_p, given, torch.tensor([[advantage]], dtype=torch.float64), shaping)
        (gradient,) = torch.autograd.grad(loss.sum(), log_p, allow_unused=True)
        assert float(gradient) == pytest.approx(-gain, abs=1e-9), SHAPINGS[shaping]


def test_the_weight_scales_feedback_and_nothing_else() -> None:
    log_p = torch.log(torch.tensor([[[0.2, 0.5]]], dtype=torch.float64)).requires_grad_()
    given = rollouts(log_p, feedback=torch.tensor([[[True, False]]]))
    slopes = []
    for weight in (1.0, 0.25, 0.0):
        loss = loss_of(log_p, given, torch.ones(1, 1, dtype=torch.float64), PLAIN, weight)
        slopes.append(torch.autograd.grad(loss.sum(), log_p)[0].flatten())
    assert torch.stack(slopes)[:, 0].tolist() == pytest.approx([-0.5, -0.125, 0.0])
    assert torch.stack(slopes)[:, 1].tolist() == pytest.approx([-0.5] * 3)


# --- nothing to learn ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_groups_that_are_all_alike_have_no_advantage(reward: float) -> None:
    assert group_advantages(torch.full((3, 4, 8), reward)).eq(0).all()


def test_a_divergence_counts_only_where_it_is_asked_for() -> None:
    now = torch.tensor([[[-1.0]]])
    given, advantage = rollouts(now), torch.ones(1, 1)
    alone = loss_of(now, given, advantage)
    assert torch.equal(loss_of(now, given, advantage, base_log_p=now + 1), alone)
    asked = loss_of(now, given, advantage, base_log_p=now + 1, objective=Objective(kl=0.5))
    torch.testing.assert_close(asked - alone, torch.tensor([0.5 * (math.e - 2)]))  # k3: e^lead - lead - 1


def test_a_single_winner_stands_out() -> None:
    advantage = group_advantages(torch.tensor([1.0] + [0.0] * 7))
    assert advantage[0] > 2
    assert advantage.sum() == pytest.approx(0, abs=1e-5)


def test_empty_sequences_and_uncounted_ones_are_finite() -> None:
    log_p = torch.log(torch.full((2, 3, 4), 0.5)).requires_grad_()
    given = rollouts(log_p, valid=torch.zeros(2, 3, 4, dtype=torch.bool))
    loss = loss_of(log_p, given, torch.ones(2, 3), counted=torch.zeros(2, 3, dtype=torch.bool))
    assert loss.eq(0).all()
    assert torch.autograd.grad(loss.sum(), log_p)[0].eq(0).all()


@pytest.mark.parametrize("shaping", range(len(SHAPINGS)))
@pytest.mark.parametrize("reward", [math.nan, math.inf])
def test_an_advantage_that_is_no_number_teaches_nothing(reward: float, shaping: int) -> None:
    """Nor does it keep the other group from teaching."""
    log_p = torch.log(torch.tensor([[0.2, 0.5, 0.3, 0.4]])).unsqueeze(2).requires_grad_()
    advantage = group_advantages(torch.tensor([[[reward, 0.0], [1.0, 0.0]]])).flatten(1)
    assert not advantage[0, :2].isfinite().any()
    given = rollouts(log_p, feedback=torch.tensor([[[True], [False], [True], [False]]]))
    (slope,) = torch.autograd.grad(loss_of(log_p, given, advantage, shaping).sum(), log_p)
    assert slope.isfinite().all()
    assert slope[0, :2].eq(0).all()
    assert slope[0, 3] > 0


def test_who_is_picked_comes_first_and_in_order() -> None:
    chosen = torch.tensor([[False, True, False, True], [False, False, False, False], [True, False, False, False]])
    values = torch.arange(12).view(3, 4)
    first, flags = pick(chosen, values, chosen)
    assert first[flags].tolist() == [1, 3, 8]
    assert first.shape == flags.shape == (3, 2)
    assert pick(chosen[1:2], values[1:2])[0].shape == (1, 1)  # nobody: one that does not count


def test_uncounted_groups_change_nothing() -> None:
    torch_rng = torch.Generator().manual_seed(0)
    log_p = -torch.rand(1, 4, 5, generator=torch_rng)
    advantage = torch.tensor([[1.0, -1.0, 5.0, 5.0]])
    counted = torch.tensor([[True, True, False, False]])
    whole = loss_of(log_p, rollouts(log_p - 0.1), advantage, counted=counted)
    part = loss_of(log_p[:, :2], rollouts(log_p[:, :2] - 0.1), advantage[:, :2])
    assert float(whole) == pytest.approx(float(part))


# --- against TRL -----------------------------------------------------------------------------------------------------


class AsLanguageModel(torch.nn.Module):
    """One of our students behind the call TRL makes: tokens in, log-probabilities and entropies of its labels out."""

    def __init__(self, reasoners: TransformerStudents, state: Tensor) -> None:
        super().__init__()
        self.network, self.weights = reasoners.network, torch.nn.Parameter(state.clone())

    def forward(self, input_ids: Tensor, labels: Tensor, **_: Any) -> Any:
        prompt = self.network.shape.prompt
        logits = self.network.logits(self.weights, input_ids[None, :, :-1])[0]
        every = torch.log_softmax(logits, dim=-1)
        picked = every.gather(-1, input_ids[:, prompt:, None]).squeeze(-1)
        assert labels[:, :prompt].eq(-100).all()
        return SimpleNamespace(log_probs=picked, entropy=-(every.exp() * every).sum(-1))


def trl_loss(model: AsLanguageModel, batch: dict[str, Tensor], clip: float, kl: float, folder: Path) -> Tensor:
    """The loss of TRL's own `GRPOTrainer._compute_loss`.

    Its constructor wants a Hugging Face model and a tokenizer, which our student has not; so the trainer is made without it and
    gets the attributes that this method reads. The method, and those it calls, are TRL's.
    """
    trl = pytest.importorskip("trl", reason="the reference implementation is an optional dependency")
    accelerate = pytest.importorskip("accelerate")
    from trl.trainer.grpo_trainer import GRPOTrainer

    trainer = GRPOTrainer.__new__(GRPOTrainer)
    trainer.args = trl.GRPOConfig(
        output_dir=str(folder),
        loss_type="grpo",
        beta=kl,
        epsilon=clip,
        use_bias_correction_kl=False,
        use_cpu=True,
        report_to=[],
        bf16=False,
    )
    trainer.accelerator = accelerate.Accelerator(cpu=True)
    trainer.model, trainer.beta, trainer.loss_type = model, kl, "grpo"
    trainer.epsilon_low = trainer.epsilon_high = clip
    trainer.aux_loss_enabled = trainer.use_vllm = trainer._entropy_bonus_enabled = False
    trainer.top_entropy_quantile, trainer.off_policy_mask_threshold = 1.0, None
    trainer.importance_sampling_level = "token"
    trainer.current_gradient_accumulation_steps = 1
    trainer._metrics = {"train": defaultdict(list), "eval": defaultdict(list)}
    loss: Tensor = trainer._compute_loss(model, batch)
    return loss


@pytest.mark.parametrize("kl", [0.0, 0.05])
def test_loss_and_gradient_are_those_of_trl(kl: float, tmp_path: Path) -> None:
    """One student, no feedback, rollouts sampled two updates ago, so that ratios are not 1 and some are clipped."""
    task = make_task("Scratchpad", radix=6)
    assert isinstance(task, Scratchpad)
    reasoners = TransformerStudents(task, TransformerConfig(), engine="torch")
    base = reasoners.initialise(torch.tensor([5]))
    problem = task.pool("train").start[:3].expand(1, -1)
    state = base.clone()
    tokens, old = reasoners.sample(state, problem, random.uniform(torch.tensor([9]), 3 * 4 * 16).view(1, 12, 16))
    each = problem.repeat_interleave(4, dim=1)
    valid = torch.arange(16) < task.length(tokens).unsqueeze(2)
    given = Rollouts(each, tokens, old, valid, torch.zeros_like(valid))
    advantage = group_advantages(random.uniform(torch.tensor([[3]]), 12).float().view(1, 3, 4)).flatten(1)
    for _ in range(2):
        everybody = torch.ones(1, dtype=torch.bool)
        reasoners.update(state, each, tokens, lambda log_p, _: loss_of(log_p, given, advantage), everybody, 0.02)

    model = AsLanguageModel(reasoners, state[:, : reasoners.weights])
    base_log_p = reasoners.log_p(base, each, tokens)
    batch = {
        "prompt_ids": task.prompt[each[0]],
        "prompt_mask": torch.ones_like(task.prompt[each[0]]),
        "completion_ids": tokens[0],
        "completion_mask": valid[0].long(),
        "advantages": advantage[0],
        "old_per_token_logps": old[0],
        "ref_per_token_logps": base_log_p[0],
    }
    theirs = trl_loss(model, batch, clip=0.2, kl=kl, folder=tmp_path)
    (their_gradient,) = torch.autograd.grad(theirs, model.weights)

    def ours(log_p: Tensor) -> Tensor:
        return loss_of(log_p, given, advantage, objective=Objective(0.2, kl), base_log_p=base_log_p if kl else None)

    now = reasoners.log_p(state, each, tokens)
    ratio = (now - old).exp()[valid]
    assert ((ratio < 0.8) | (ratio > 1.2)).any()  # or nothing would be clipped
    assert float(ours(now)) == pytest.approx(float(theirs), abs=1e-4)
    variable = now.clone().requires_grad_()
    slope = torch.autograd.grad(ours(variable).sum(), variable)[0]
    _, gradient = reasoners.network.gradient(
        state, torch.cat([task.prompt[each], tokens[..., :-1]], dim=-1), tokens, lambda _: slope
    )
    torch.testing.assert_close(gradient, their_gradient, atol=1e-4, rtol=1e-3)
