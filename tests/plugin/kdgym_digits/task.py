"""Three questions about two digits: "What is the larger of 3 and 7?", answered by 7. The verifier wants that digit alone."""

import numpy as np
import torch
from torch import Tensor

from kdgym import random
from kdgym.tasks import Pool, Skill, UnreadableError
from kdgym.tasks.base import SentenceTask, pools_of


class Digits(SentenceTask):
    """Every ordered pair of digits, for each of three skills; the two orders of a pair lie in one split."""

    name = "Digits"
    version = 0
    vocabulary = 13  # ten digits, then the skills
    skills = (
        Skill("larger", "The larger of two digits."),
        Skill("smaller", "The smaller of two digits."),
        Skill("last of sum", "The last digit of the sum of two digits."),
    )

    def __init__(self) -> None:
        a, b = np.indices((10, 10)).reshape(2, -1)
        pair = torch.from_numpy(np.minimum(a, b) * 10 + np.maximum(a, b))
        place = random.uniform(random.fold(torch.tensor(self.version), pair), 1)[:, 0].numpy()
        split = np.searchsorted([0.5, 0.75], place)
        order = np.argsort(split, kind="stable")
        a, b = a[order], b[order]
        self.pairs = np.tile(np.stack([a, b], axis=1), (3, 1))
        self.skill_of = torch.arange(3).repeat_interleave(100)
        self.prompt = torch.cat([torch.from_numpy(self.pairs), 10 + self.skill_of[:, None]], dim=1)
        self.solution = torch.from_numpy(np.concatenate([np.maximum(a, b), np.minimum(a, b), (a + b) % 10]))
        self.answer = torch.arange(10)[:, None]
        self.answer_pool = Pool(torch.zeros(3, dtype=torch.int64), torch.full((3,), 10))
        self.pools = pools_of(np.tile(np.bincount(split, minlength=3), (3, 1)))

    def text(self, problem: int) -> str:
        name = self.skills[int(self.skill_of[problem])].name
        a, b = self.pairs[problem]
        return f"What is the {name} of {a} and {b}?" if "sum" not in name else f"What is the last digit of {a} + {b}?"

    def answer_text(self, answer: int) -> str:
        return str(answer)

    def verify(self, problem: int, text: str) -> bool:
        return text.strip() == str(int(self.solution[problem]))

    def write_tokens(self, tokens: Tensor) -> str:
        return str(int(tokens[0]))

    def read_answer(self, text: str) -> Tensor:
        if text.strip() not in {str(digit) for digit in range(10)}:
            raise UnreadableError("answer", f"{text[:20]!r} is no digit.")
        return torch.tensor([int(text)])
