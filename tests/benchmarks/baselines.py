"""What kdgym's engines are compared with: the same students, taught and examined as one would first write it.

``Loop`` is an ``nn.Module`` with PyTorch's own attention and ``torch.optim.AdamW``, one student after the other. ``Vmapped``
stacks the same module's parameters and lets ``torch.func.vmap`` train all students at once. Both compute the engines'
function, which is checked before anything is timed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from kdgym import random
from kdgym.students import Batch, Engine, TransformerConfig, TransformerStudents
from kdgym.tasks import make_task

ITEMS, EXAMINED = 640, 14 * 64  # one environment step: items learned, items examined


class Student(nn.Module):
    """The tiny student as a module: same function, same parameters, nothing stacked."""

    def __init__(self, engine: TransformerStudents, state: Tensor) -> None:
        super().__init__()
        views = [nn.Parameter(view[0].clone()) for view in engine.network.views(state)]
        self.token, self.position, self.output, self.qkv, self.mix, self.up, self.down = views
        self.width, self.heads = views[0].shape[1], engine.config.heads
        self.answer = engine.network.shape.answer

    def forward(self, inputs: Tensor) -> Tensor:
        b, length = inputs.shape
        x = F.embedding(inputs, self.token) + self.position
        e = self.width // self.heads
        q, k, v = (F.rms_norm(x, (self.width,), eps=1e-6) @ self.qkv).split([self.width, e, e], dim=-1)
        q = q.view(b, length, self.heads, e).transpose(1, 2)
        k, v = (t.unsqueeze(1).expand(-1, self.heads, -1, -1) for t in (k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + mixed.transpose(1, 2).reshape(b, length, -1) @ self.mix
        x = x + F.relu(F.rms_norm(x, (self.width,), eps=1e-6) @ self.up) @ self.down
        return (F.rms_norm(x, (self.width,), eps=1e-6) @ self.output)[:, -self.answer :]


class Work:
    """What one environment step asks of S students, and of the engine that does it."""

    def __init__(
        self, students: int, engine: Engine = "auto", config: TransformerConfig | None = None, device: str = "cpu"
    ) -> None:
        self.students = students
        self.engine = TransformerStudents(make_task("Math"), config or TransformerConfig(), device, engine=engine)
        key = random.fold(torch.tensor(0, device=device), torch.arange(students, device=device))
        self.state = self.engine.initialise(key)
        problems = len(self.engine.tables.prompts)
        self.lesson = random.integers(random.fold(key, 1), ITEMS, problems)
        self.exam = random.integers(random.fold(key, 2), EXAMINED, problems)
        self.count = torch.full((students,), ITEMS, device=device)

    @property
    def flops(self) -> int:
        """Floating-point operations of the matrix products in one step of one student."""
        return (3 * ITEMS + EXAMINED) * self.engine.forward_flops

    def run(self) -> None:
        """One step."""
        self.learn()
        self.examine()

    def learn(self) -> None:
        """Its training items."""
        self.engine.train(self.state, Batch(self.lesson, self.engine.solution[self.lesson], self.count))

    def examine(self) -> None:
        """Its examination."""
        self.engine.evaluate(self.state, self.exam)

    def tokens(self, problem: Tensor) -> tuple[Tensor, Tensor]:
        """A student's inputs and targets, [..., L] and [..., A]."""
        targets = self.engine.tables.answers[self.engine.solution[problem]]
        return torch.cat([self.engine.tables.prompts[problem], targets[..., :-1]], dim=-1), targets

    def module(self, student: int) -> Student:
        """A student as a module, checked against the reference."""
        module = Student(self.engine, self.state[student : student + 1])
        inputs, _ = self.tokens(self.exam[student, :64])
        expected = self.engine.network.logits(self.state[student : student + 1], inputs[None])[0]
        torch.testing.assert_close(module(inputs), expected)
        return module

    def optimiser(self, parameters: list[Tensor]) -> torch.optim.Optimizer:
        """PyTorch's AdamW with the engine's settings."""
        c = self.engine.config
        return torch.optim.AdamW(parameters, c.learning_rate, (c.beta1, c.beta2), weight_decay=c.weight_decay)


def examine(model: Callable[[Tensor], Tensor], inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Exact match and loss."""
    with torch.no_grad():
        logits = model(inputs)
        loss = F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="none")
        return (logits.argmax(-1) == targets).all(-1), loss


class Loop:
    """One student after the other; a step of one student is measured, S students take S times as long."""

    students = 1

    def __init__(self) -> None:
        self.work = Work(1, "torch")
        self.model = self.work.module(0)
        self.optimiser = self.work.optimiser(list(self.model.parameters()))

    def run(self) -> None:
        """One step."""
        size = self.work.engine.config.batch
        for begin in range(0, ITEMS, size):
            inputs, targets = self.work.tokens(self.work.lesson[0, begin : begin + size])
            loss = F.cross_entropy(self.model(inputs).flatten(0, 1), targets.flatten())
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
        examine(self.model, *self.work.tokens(self.work.exam[0]))


class Vmapped:
    """All students at once by `torch.func.vmap` over stacked parameters; of PyTorch's attentions, the one that vmap knows."""

    def __init__(self, students: int) -> None:
        self.students, self.work = students, Work(students, "torch")
        modules = [self.work.module(i) for i in range(students)]
        self.parameters, _ = stack_module_state(modules)  # type: ignore[arg-type]
        self.module = modules[0]
        self.optimiser = self.work.optimiser(list(self.parameters.values()))
        self.gradient = vmap(grad(self._loss))

    def _forward(self, parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
        return functional_call(self.module, parameters, (inputs,))

    def _loss(self, parameters: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(self._forward(parameters, inputs).flatten(0, 1), targets.flatten())

    def run(self) -> None:
        """One step."""
        with sdpa_kernel(SDPBackend.MATH):
            self._run()

    def _run(self) -> None:
        size = self.work.engine.config.batch
        for begin in range(0, ITEMS, size):
            inputs, targets = self.work.tokens(self.work.lesson[:, begin : begin + size])
            gradients = self.gradient({k: p.detach() for k, p in self.parameters.items()}, inputs, targets)
            for name, parameter in self.parameters.items():
                parameter.grad = gradients[name]
            self.optimiser.step()
        examine(lambda x: vmap(self._forward)(self.parameters, x), *self.work.tokens(self.work.exam))
