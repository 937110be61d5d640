"""The same students in JAX: one compiled program learns and examines, over all students by `vmap` or one by one by `lax.map`.

It is what the engines are measured against where nobody minds compiling: the last block asks at the answer's places alone, and
the batches of a step are a `lax.scan`. That it makes the engine's update is checked before anything is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from baselines import Work
from jax import lax

from kdgym.students import Batch

MAPPINGS: dict[str, Callable[[Any], Any]] = {
    "jit(vmap)": jax.vmap,
    "jit(lax.map)": lambda function: lambda *students: lax.map(lambda student: function(*student), students),
}
TOLERANCE = 1e-4  # of weights and losses after one update


class Jaxed:
    """S students that do one step's work when run.

    Args:
        students: S.
        mapping: a name in `MAPPINGS`.
    """

    def __init__(self, students: int, mapping: str) -> None:
        self.students, self.work = students, Work(students, "torch")
        self.config, shape = self.work.engine.config, self.work.engine.network.shape
        self.answer, self.width, self.heads = shape.answer, shape.width, shape.heads
        every = MAPPINGS[mapping]
        self.learn, self.examine = jax.jit(every(self._learn)), jax.jit(every(self._examine))
        self.state = self._state()
        self._check()
        self.lesson, self.exam = self._tokens(self.work.lesson), self._tokens(self.work.exam)

    def run(self) -> None:
        """One step."""
        self.state, _ = self.learn(self.state, *self.lesson)
        jax.block_until_ready((self.state, self.examine(self.state[0], *self.exam)))

    def _state(self) -> tuple[Any, ...]:
        """Weights, both moments and the number of updates of untaught students, stacked."""
        weights = [jnp.asarray(view.numpy()) for view in self.work.engine.network.views(self.work.state)]
        return weights, [0 * w for w in weights], [0 * w for w in weights], jnp.zeros(self.students)

    def _tokens(self, problem: torch.Tensor) -> tuple[Any, ...]:
        """Inputs and targets in batches, int32 [S, batches, B, L] and [S, batches, B, A]."""
        parts = problem.unflatten(1, (-1, self.config.batch))
        return tuple(jnp.asarray(tokens.numpy().astype(np.int32)) for tokens in self.work.tokens(parts))

    def _check(self) -> None:
        """The first update and its losses are the engine's.

        Raises:
            AssertionError: they are not.
        """
        problem, engine, theirs = self.work.lesson[:, : self.config.batch], self.work.engine, self.work.state.clone()
        count = torch.full((self.students,), self.config.batch)
        losses = engine.train(theirs, Batch(problem, engine.solution[problem], count))
        (weights, *_), found = self.learn(self.state, *self._tokens(problem))
        np.testing.assert_allclose(np.asarray(found)[:, 0], losses.numpy(), rtol=0, atol=TOLERANCE)
        for mine, view in zip(weights, engine.network.views(theirs), strict=True):
            apart = np.abs(np.asarray(mine) - view.numpy())
            # AdamW divides by the gradient's size, also where there is hardly any.
            assert (apart > TOLERANCE).mean() < 1e-3, f"weights differ by up to {apart.max():.2g}"

    # --- one student ---------------------------------------------------------------------------------------------

    def _logits(self, weights: Any, inputs: Any) -> Any:
        token, position, output, qkv, mix, up, down = weights
        d, e, length = self.width, self.width // self.heads, inputs.shape[1]

        def norm(x: Any) -> Any:
            return x * lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-6)

        x = token[inputs] + position
        y, x = norm(x), x[:, -self.answer :]
        q = (y[:, -self.answer :] @ qkv[:, :d]).reshape(len(x), self.answer, self.heads, e)
        k, v = jnp.split(y @ qkv[:, d:], 2, axis=-1)
        score = jnp.einsum("bqhe,bke->bhqk", q, k) / e**0.5
        past = jnp.tril(jnp.ones((length, length), bool))[-self.answer :]
        attention = jax.nn.softmax(jnp.where(past, score, -jnp.inf), axis=-1)
        x = x + jnp.einsum("bhqk,bke->bqhe", attention, v).reshape(x.shape) @ mix
        x = x + jax.nn.relu(norm(x) @ up) @ down
        return norm(x) @ output

    def _loss(self, weights: Any, inputs: Any, targets: Any) -> Any:
        """Mean over the batch, and of every item."""
        log_p = jax.nn.log_softmax(self._logits(weights, inputs))
        losses = -jnp.take_along_axis(log_p, targets[..., None], -1)[..., 0].mean(-1)
        return losses.mean(), losses

    def _learn(self, state: Any, inputs: Any, targets: Any) -> Any:
        """AdamW over all batches; the state after it, and the losses of all items."""
        c = self.config

        def update(state: Any, batch: Any) -> Any:
            weights, m, v, t = state
            gradients, losses = jax.grad(self._loss, has_aux=True)(weights, *batch)
            t = t + 1
            m = [c.beta1 * a + (1 - c.beta1) * g for a, g in zip(m, gradients, strict=True)]
            v = [c.beta2 * a + (1 - c.beta2) * g * g for a, g in zip(v, gradients, strict=True)]
            scale, root = c.learning_rate / (1 - c.beta1**t), jnp.sqrt(1 - c.beta2**t)
            weights = [
                w * (1 - c.learning_rate * c.weight_decay) - scale * a / (jnp.sqrt(b) / root + c.epsilon)
                for w, a, b in zip(weights, m, v, strict=True)
            ]
            return (weights, m, v, t), losses

        return lax.scan(update, state, (inputs, targets))

    def _examine(self, weights: Any, inputs: Any, targets: Any) -> Any:
        """Exact match and loss, batch by batch."""

        def one(batch: Any) -> Any:
            logits = self._logits(weights, batch[0])
            log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), batch[1][..., None], -1)[..., 0]
            return (logits.argmax(-1) == batch[1]).all(-1), -log_p.mean(-1)

        return lax.map(one, (inputs, targets))
