"""Students that are linear classifiers: every symbol of a problem votes for answers, and gradient descent sets the votes."""

from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, one_hot

from kdgym.random import uniform
from kdgym.settings import Settings
from kdgym.students import Batch, StudentKind, Tables
from kdgym.tasks import Task


class LinearOptions(Settings):
    rate: float = Field(0.5, gt=0, le=10)


class Linear:
    """Softmax regression from the symbols of a problem, by place, to the ids of answers of one token each."""

    answer_width, flops_per_token, training_flops, recordable = 1, 2.0, 3.0, False
    dtype = torch.float32

    def __init__(self, task: Task, options: LinearOptions, device: torch.device, engine: str, dtype: str, model: str):
        self.task, self.device, self.rate = task, device, options.rate
        symbols = one_hot(task.prompt, task.vocabulary).flatten(1).float()
        self.symbols, self.solution = symbols.to(device), task.solution.to(device)
        self.answers = len(task.answer)
        self.row = self.weights = symbols.shape[1] * self.answers
        self.recipe: dict[str, Any] = {"student": "linear", "rate": options.rate}

    def initialise(self, key: Tensor) -> Tensor:
        return (uniform(key, self.row).float() - 0.5).to(self.device)

    def draw_base(self, key: Tensor, pool: str, recipe: dict[str, Any]) -> Tensor:
        return self.initialise(2 * key + (pool == "evaluation"))

    def scores(self, state: Tensor, problem: Tensor) -> Tensor:
        """[S, N, answers]"""
        return self.symbols[problem] @ state.reshape(len(state), -1, self.answers)

    def train(self, state: Tensor, batch: Batch, tables: Tables | None = None) -> Tensor:
        loss = torch.zeros(batch.problem.shape)
        for first in range(0, batch.problem.shape[1], 16):
            part = slice(first, first + 16)
            problem, target = batch.problem[:, part], batch.target[:, part]
            valid = torch.arange(first, first + problem.shape[1]) < batch.count[:, None]
            said = self.scores(state, problem)
            loss[:, part] = cross_entropy(said.transpose(1, 2), target, reduction="none") * valid
            wrong = (said.softmax(2) - one_hot(target, self.answers)) * valid[..., None]
            slope = self.symbols[problem].transpose(1, 2) @ wrong / valid.sum(1).clamp_min(1)[:, None, None]
            state -= self.rate * slope.flatten(1)
        return loss

    def evaluate(self, state: Tensor, problem: Tensor) -> tuple[Tensor, Tensor]:
        said = self.scores(state, problem)
        right = self.solution[problem]
        return said.argmax(2) == right, -log_softmax(said, 2).gather(2, right[..., None])[..., 0]

    def logits(self, state: Tensor, problem: Tensor, answer: Tensor | None = None) -> Tensor:
        return self.scores(state, problem)[:, :, None]

    def features(self, state: Tensor, problem: Tensor, layer: int, answer: Tensor | None = None) -> Tensor:
        return self.symbols[problem][:, :, None]

    def decode(self, state: Tensor, problem: Tensor) -> Tensor:
        return self.task.answer.to(self.device)[self.scores(state, problem).argmax(2)]

    def judge(self, problem: Tensor, said: Tensor) -> Tensor:
        return self.task.judge(problem, said)

    def text_of(self, said: Tensor) -> list[str]:
        return [self.task.write_tokens(tokens) for tokens in said]

    def tokens(self, problem: Tensor, answer: Tensor | None = None, tables: Tables | None = None) -> Tensor:
        return torch.full_like(problem, self.task.prompt.shape[1] + 1)


LINEAR = StudentKind(Linear, LinearOptions, population=128)
