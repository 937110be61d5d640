"""AdamW on many students at once is torch's, student by student."""

from __future__ import annotations

import pytest
import torch

from kdgym.students.adamw import adamw_step
from kdgym.students.control.actor_critic import PPOConfig

CONFIG = PPOConfig(learning_rate=0.1, beta1=0.8, beta2=0.9, epsilon=0.01, weight_decay=0.3)


def test_every_student_steps_as_far_as_torch_with_its_share_of_the_learning_rate() -> None:
    """Shares of three students change from step to step; 0 is a pause, which neither decays weights nor counts."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    weight, m, v = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    updates = torch.zeros(3, 1, dtype=torch.float64)
    theirs = [torch.nn.Parameter(row.clone()) for row in start]
    betas = CONFIG.beta1, CONFIG.beta2
    optimisers = [
        torch.optim.AdamW([each], betas=betas, eps=CONFIG.epsilon, weight_decay=CONFIG.weight_decay) for each in theirs
    ]
    for shares in ([1.0, 1.0, 0.0], [1.0, 0.5, 0.25], [1.0, 0.0, 1.0], [1.0, 0.25, 0.5]):
        gradient = torch.randn(3, 5, generator=generator, dtype=torch.float64)
        for share, row, each, optimiser in zip(shares, gradient, theirs, optimisers, strict=True):
            if share > 0:
                each.grad = row.clone()
                optimiser.param_groups[0]["lr"] = share * CONFIG.learning_rate
                optimiser.step()
        adamw_step(CONFIG, weight, m, v, updates, gradient, torch.tensor(shares, dtype=torch.float64).unsqueeze(1))
        torch.testing.assert_close(weight, torch.stack([each.detach() for each in theirs]))
    assert updates.flatten().tolist() == [4, 3, 3]


def test_the_root_of_tiny_squares_may_be_rounded_up_as_epsilon_hides_it() -> None:
    """Weights without any gradient, and of gradients whose squares are subnormal, move as by the plain formula, bit for bit."""
    config = PPOConfig(learning_rate=0.1, beta1=0.9, beta2=0.99, epsilon=1e-8, weight_decay=0.0)
    gradient = torch.tensor([[0.0, 1e-30, 1e-20, 3e-19, 1e-12, 0.5, float("nan")]])
    m, v = (torch.zeros_like(gradient) for _ in range(2))
    weight = torch.zeros_like(gradient)
    adamw_step(config, weight, m, v, torch.zeros(1, 1), gradient.clone(), torch.ones(1, 1))
    correction = (1 - 0.99 ** torch.ones(1, 1)).sqrt()
    wanted = (m / (v.sqrt() + 1e-8 * correction)) * (
        -torch.full((1, 1), 0.1) * correction / (1 - 0.9 ** torch.ones(1, 1))
    )
    assert torch.equal(weight.nan_to_num(7), wanted.nan_to_num(7))
    assert weight[0, 0] == 0


@pytest.mark.parametrize("size", [1, 1e-3])
def test_the_first_step_is_as_long_as_the_learning_rate(size: float) -> None:
    """Whatever the gradient's size: both moments are corrected for having begun at 0."""
    config = PPOConfig(learning_rate=0.1, epsilon=0.0)
    weight, gradient = torch.zeros(1, 2), size * torch.tensor([[2.0, -3.0]])
    moments = torch.zeros(2, 1, 2)
    adamw_step(config, weight, *moments, torch.zeros(1, 1), gradient, torch.ones(1, 1))
    torch.testing.assert_close(weight, torch.tensor([[-0.1, 0.1]]))
