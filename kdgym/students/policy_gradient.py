"""Group relative policy optimisation, and what it does with tokens the student did not choose.

The loss is that of DeepSeekMath (Shao et al., 2024, equation 3): a sequence's tokens are averaged, then the sequences. Tokens
that a teacher wrote into a rollout are off-policy. What to do with them is a family, `SHAPINGS`:

* ``mask``: they are read, and not learned from.
* ``plain``: the same term as a token of the student's own; with a positive advantage that is supervised learning on them.
* ``ratio``: pi / (pi + c) in place of the probability ratio, without clipping: LUFFY's policy shaping (Yan et al., "Learning to
  reason under off-policy guidance", 2025), which takes most from tokens that the student finds unlikely. c = 0.1 is theirs.
* ``advantage_aware``: as ``ratio`` where the advantage is positive, and nothing where it is not, so that a student is never
  driven away from what it did not choose. ThinkTuning (RRV et al., EMNLP 2025) names its shaping so; its formula was never
  available to us, and this is our reading of the name.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

SHAPINGS = ("mask", "plain", "ratio", "advantage_aware")
_EPSILON = 1e-4  # keeps the advantages of groups without differences at 0; the value is TRL's


@dataclass(frozen=True)
class Rollouts:
    """What students wrote, B sequences each, and how much of it was their own.

    Attributes:
        problem: int64 [S, B].
        tokens: int64 [S, B, A].
        log_p: log-probability of every token when it was written, [S, B, A].
        valid: tokens up to the end of the answer, bool [S, B, A].
        feedback: tokens that a teacher wrote, bool [S, B, A].
    """

    problem: Tensor
    tokens: Tensor
    log_p: Tensor
    valid: Tensor
    feedback: Tensor

    def of(self, students: slice) -> Rollouts:
        """What some of the students wrote."""
        return Rollouts(*(getattr(self, field.name)[students] for field in fields(self)))

    def only(self, chosen: Tensor) -> Rollouts:
        """The sequences chosen, bool [S, B], and others as far as rows are to be as long; see `pick`."""
        return Rollouts(*pick(chosen, *(getattr(self, field.name) for field in fields(self))))


@dataclass(frozen=True)
class Objective:
    """Constants of the loss.

    Attributes:
        clip: the ratio of new to old probability counts within 1 - clip and 1 + clip.
        kl: weight of the divergence from the base student (k3 estimator of Schulman, 2020).
        shaping_constant: c of the shapings ``ratio`` and ``advantage_aware``.
    """

    clip: float = 0.2
    kl: float = 0.0
    shaping_constant: float = 0.1


def pick(chosen: Tensor, *of: Tensor) -> list[Tensor]:
    """Of tensors [S, B, ...] the entries chosen, bool [S, B], first of all: [S, m, ...], where m is the most of any student."""
    most = max(1, int(chosen.sum(1).max()))
    index = (~chosen).long().argsort(dim=1, stable=True)[:, :most]
    student = torch.arange(len(chosen), device=chosen.device).unsqueeze(1)
    return [tensor[student, index] for tensor in of]


def group_advantages(reward: Tensor) -> Tensor:
    """(r - mean) / std within every group: rewards [..., G] -> [..., G]; 0 in a group whose rewards are all alike."""
    centred = reward - reward.mean(-1, keepdim=True)
    return centred / (reward.std(-1, keepdim=True) + _EPSILON)


def grpo_loss(
    log_p: Tensor,
    rollouts: Rollouts,
    advantage: Tensor,
    counted: Tensor,
    shaping: Tensor,
    weight: Tensor,
    objective: Objective = Objective(),
    base_log_p: Tensor | None = None,
) -> Tensor:
    """Each student's loss, [S].

    Args:
        log_p: log-probabilities of the rollouts' tokens now, [S, B, A].
        rollouts: what was written.
        advantage: [S, B]; one that is not finite counts as 0.
        counted: rollouts that are learned from, bool [S, B]; the loss is their mean, and 0 where there are none.
        shaping: index into `SHAPINGS`, int64 [S].
        weight: of feedback tokens, beside their shaping, [S].
        objective: clip range and weights.
        base_log_p: log-probabilities of the tokens under the base student, [S, B, A]; needed where ``kl`` > 0.
    """
    advantage = torch.where(advantage.isfinite(), advantage, 0).unsqueeze(2)
    ratio = (log_p - rollouts.log_p).exp()
    own = torch.minimum(ratio * advantage, ratio.clamp(1 - objective.clip, 1 + objective.clip) * advantage)
    off_policy = log_p.exp() / (log_p.exp() + objective.shaping_constant) * advantage
    forms = torch.stack([torch.zeros_like(own), own, off_policy, torch.where(advantage > 0, off_policy, 0.0)])
    shaped = forms[shaping, torch.arange(len(shaping), device=shaping.device)] * weight.view(-1, 1, 1)
    term = torch.where(rollouts.feedback, shaped, own)
    if base_log_p is not None:
        log_ratio = base_log_p - log_p
        term = term - objective.kl * (log_ratio.exp() - log_ratio - 1)
    per_sequence = (term * rollouts.valid).sum(2) / rollouts.valid.sum(2).clamp_min(1)
    loss: Tensor = -(per_sequence * counted).sum(1) / counted.sum(1).clamp_min(1)
    return loss
