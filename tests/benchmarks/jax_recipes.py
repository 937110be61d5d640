"""Networks of recipes in JAX: one compiled program makes all updates, over all students by `vmap` or one by one."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import lax
from jax_baselines import MAPPINGS
from recipes import Work

from kdgym.tasks.images.corpus import SIDE

__all__ = ["MAPPINGS", "Jaxed"]


class Jaxed:
    """S students that make the updates of a piece of work when run.

    Args:
        work: what they learn.
        mapping: a name in `MAPPINGS`.
    """

    def __init__(self, work: Work, mapping: str) -> None:
        self.config, self.network = work.config, work.network
        weights = {name: jnp.asarray(weight.numpy()) for name, weight in work.weights().items()}
        zero = {name: 0 * weight for name, weight in weights.items()}
        self.state = weights, zero, zero, jnp.zeros(len(work.state))
        self.batches = (
            jnp.asarray(work.images.transpose(0, 1).numpy()),
            jnp.asarray(work.label.transpose(0, 1).numpy().astype(np.int32)),
        )
        self.learn = jax.jit(MAPPINGS[mapping](self._learn))

    def run(self) -> npt.NDArray[np.float32]:
        """Losses before each update, [updates, S]."""
        self.state, losses = jax.block_until_ready(self.learn(self.state, *self.batches))
        return np.array(losses).T

    # --- one student ---------------------------------------------------------------------------------------------

    def _logits(self, w: Any, images: Any) -> Any:
        if self.network == "perceptron":
            x = jax.nn.relu(images @ w["matrix_0"] + w["bias_0"])
            return jax.nn.relu(x @ w["matrix_1"] + w["bias_1"]) @ w["matrix_2"] + w["bias_2"]
        y = images.reshape(-1, 1, SIDE, SIDE)
        for i in range(2):
            y = lax.conv_general_dilated(
                y, w[f"filter_{i}"], (1, 1), "SAME", dimension_numbers=("NCHW", "IHWO", "NCHW")
            )
            y = jax.nn.relu(y + w[f"bias_{i}"][:, None, None])
            half = y.shape[2] // 2
            y = y[..., : 2 * half, : 2 * half].reshape(*y.shape[:2], half, 2, half, 2).mean((3, 5))
        return y.reshape(len(y), -1) @ w["matrix_out"] + w["bias_out"]

    def _loss(self, w: Any, images: Any, label: Any) -> Any:
        said = jax.nn.log_softmax(self._logits(w, images))
        return -jnp.take_along_axis(said, label[:, None], 1).mean()

    def _learn(self, state: Any, images: Any, label: Any) -> Any:
        """AdamW over all batches; the state after it, and the losses."""
        c = self.config

        def update(state: Any, batch: Any) -> Any:
            weights, m, v, t = state
            loss, gradient = jax.value_and_grad(self._loss)(weights, *batch)
            t = t + 1
            m = jax.tree.map(lambda a, g: c.beta1 * a + (1 - c.beta1) * g, m, gradient)
            v = jax.tree.map(lambda a, g: c.beta2 * a + (1 - c.beta2) * g * g, v, gradient)
            scale, root = c.learning_rate / (1 - c.beta1**t), jnp.sqrt(1 - c.beta2**t)
            weights = jax.tree.map(
                lambda w, a, b: (
                    w * (1 - c.learning_rate * c.weight_decay) - scale * a / (jnp.sqrt(b) / root + c.epsilon)
                ),
                weights,
                m,
                v,
            )
            return (weights, m, v, t), loss

        return lax.scan(update, state, (images, label))
