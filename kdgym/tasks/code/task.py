"""Short Python functions from a specification: fourteen skills from arithmetic to text conversion.

An item: ``Write a Python function f(x) that takes a list of integers, does the following and returns the result: first keep
only the even items, then multiply every item by 2, then add up all items.`` The verifier runs the program on hidden inputs
and accepts it if it returns exactly what the reference program returns, of exactly the same types.

Tokens of a problem: ``type order verb number verb number verb number``, padded. After the orders "then" and "next" the steps
come in the order in which they are done, after "after" and "once" the last one comes first. What a verb means depends on what
it is applied to: a list's "add 2" concerns every item, the same words after "total" concern the sum.

An answer has three tokens, each a line of Python or the end; they are a program, and whatever does the same is right. Every
distinct program is executed once (`kdgym.tasks.code.executions`).

Splits: a hash of what the program *does* (its outputs on the hidden inputs) assigns it to train, validation or test, once for
all skills. So neither a paraphrase nor another program with the same effect carries a problem across.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdgym import random
from kdgym.tasks.base import SPLITS, Misconception, Pool, SentenceTask, Skill, pools_of, splits_at
from kdgym.tasks.code.executions import FAILED, Executions, signature
from kdgym.tasks.code.pipelines import (
    INPUTS,
    KINDS,
    LENGTH,
    LINES,
    MISCONCEPTIONS,
    NO_STEP,
    NUMBERS,
    ORDERS,
    STEPS,
    TYPE_TEXT,
    TYPES,
    english,
    hidden_inputs,
    source,
)

Ints = npt.NDArray[np.int64]
_FENCE = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)^[ \t]*```", re.DOTALL | re.MULTILINE)
LONGEST = 20_000  # characters of a program
_CONNECTIVES = {
    "then": ("first ", ", then "),
    "next": ("", "; next "),
    "after": ("", ", but before that "),
    "once": ("at the end ", ", just before that "),
}


def program_in(text: str) -> str:
    """The first fenced block of an answer; all of it, where there is none."""
    fenced = _FENCE.search(text)
    return fenced.group(1) if fenced else text


class Code(SentenceTask):
    """The programming task. See the module's docstring for the format and `kdgym.tasks.base.Task` for the attributes.

    Args:
        paraphrases: most wordings of one program, 2 to 8, half of them in the opposite order.

    Attributes:
        free_form: an answer is judged by what it does (`judge`), not by being the one solution.
        meaning: int64 [P], the signature of what each problem asks for.

    Raises:
        ValueError: ``paraphrases`` is out of range.
    """

    name = "Code"
    version = 0
    free_form = True
    misconceptions = MISCONCEPTIONS

    def __init__(self, paraphrases: int = 4) -> None:
        if not 2 <= paraphrases <= 8:
            raise ValueError(f"paraphrases is {paraphrases}; choose 2 to 8 wordings of one program.")
        self.skills: tuple[Skill, ...] = KINDS
        self._paraphrases = paraphrases
        words = dict.fromkeys(word for step in STEPS for word in step.words)
        names = ["", *LINES, *NUMBERS, *TYPES, *(word for order in ORDERS for word in order), *words]
        self._token = {name: token for token, name in enumerate(names)}
        self.vocabulary = len(names)
        self._base = len(LINES) + 1
        self._place = self._base ** np.arange(LENGTH)
        self._line_of_step = np.array([*(self._token[step.line] for step in STEPS), 0])
        self._inputs = hidden_inputs(self.version)
        recipe = {"lines": LINES, "task": self.name, "version": self.version}
        self._executions = Executions(self._base**LENGTH, self._source, self._inputs, recipe)
        self._build()

    # --- programs ------------------------------------------------------------------------------------------------

    def _source(self, program: int) -> str:
        tokens = (program // self._place % self._base).tolist()
        return source([LINES[token - 1] for token in tokens[: (*tokens, 0).index(0)]])

    def _programs_of(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Number of the program that answers [..., A] are, and whether they are one: what follows the end is not read."""
        read = (tokens == 0).cumsum(-1) == 0
        is_program = ((tokens > 0) & (tokens < self._base) | ~read).all(-1)
        lines = torch.where(read & is_program.unsqueeze(-1), tokens, 0)
        return (lines * torch.from_numpy(self._place)).sum(-1), is_program

    def judge(self, problem: Tensor, tokens: Tensor) -> Tensor:
        """Whether answers do what their problems ask: problem ids int64 [...], tokens int64 [..., A] -> bool [...].

        Programs not seen before are executed, each once; no program is right that was not.
        """
        asked = problem.cpu()
        program, is_program = self._programs_of(tokens.cpu())
        done = self._executions.signatures(self._type_of[self.skill_of[asked]], program)
        return (is_program & (done != FAILED) & (done == self.meaning[asked])).to(problem.device)

    # --- tables --------------------------------------------------------------------------------------------------

    def _pipelines(self, kind: int) -> Ints:
        """int64 [n, LENGTH]: steps of every program of a skill that does something, each program once."""
        members = {
            group: [i for i, step in enumerate(STEPS) if step.group == group] for group in {s.group for s in STEPS}
        }
        rows = []
        for form in KINDS[kind].forms:
            grid = np.stack(np.meshgrid(*(members[group] for group in form), indexing="ij"), -1).reshape(-1, len(form))
            rows.append(np.pad(grid, ((0, 0), (0, LENGTH - len(form))), constant_values=NO_STEP))
        return np.concatenate(rows)

    def _build(self) -> None:
        self._type_of = torch.tensor([TYPES.index(kind.given) for kind in KINDS])
        pipelines = [self._pipelines(kind) for kind in range(len(KINDS))]
        skill = np.repeat(np.arange(len(KINDS)), [len(rows) for rows in pipelines])
        steps = np.concatenate(pipelines)
        answer = self._line_of_step[steps]
        meaning = self._meanings(skill, answer)
        keep = self._is_worth_asking(skill, meaning)
        skill, steps, answer, meaning = skill[keep], steps[keep], answer[keep], meaning[keep]
        self.answer = torch.from_numpy(answer)
        count = torch.from_numpy(np.bincount(skill, minlength=len(KINDS)))
        self.answer_pool = Pool(count.cumsum(0) - count, count)
        self._executions.save()

        split = random.uniform(random.fold(torch.tensor(self.version), torch.from_numpy(meaning)), 1)[:, 0].numpy()
        split = splits_at(split)
        solution, prompt, order = self._word(skill, steps)
        by_place = np.lexsort((solution, split[solution], skill[solution]))
        solution, prompt, order = solution[by_place], prompt[by_place], order[by_place]
        self.prompt, self.solution, self._order = map(torch.from_numpy, (prompt, solution, order))
        self.steps = torch.from_numpy(steps[solution])
        self.skill_of, self.meaning = torch.from_numpy(skill[solution]), torch.from_numpy(meaning[solution])
        counts = np.zeros((len(KINDS), len(SPLITS)), np.int64)
        np.add.at(counts, (skill[solution], split[solution]), 1)
        self.pools = pools_of(counts)

    def _meanings(self, skill: Ints, answer: Ints) -> Ints:
        """Signature of every answer on inputs of its skill's type."""
        program = torch.from_numpy((answer * self._place).sum(1))
        meaning = self._executions.signatures(self._type_of[torch.from_numpy(skill)], program)
        if (meaning == FAILED).any():
            failed = self._source(int(program[(meaning == FAILED).nonzero()[0]]))
            raise RuntimeError(
                f"The sandbox did not run a program of the task:\n{failed}Is the machine overloaded? Try again."
            )
        return meaning.numpy()

    def _is_worth_asking(self, skill: Ints, meaning: Ints) -> npt.NDArray[np.bool_]:
        """Whether a program does something: it neither returns its input nor always the same."""
        identity = self._executions.signatures(torch.arange(len(TYPES)), torch.zeros(len(TYPES), dtype=torch.int64))
        constant = np.array([signature([value] * INPUTS) for value in ("", [], True, False, "0", *range(-20, 21))])
        useless: npt.NDArray[np.bool_] = (meaning == identity.numpy()[self._type_of.numpy()[skill]]) | np.isin(
            meaning, constant
        )
        return ~useless

    def _word(self, skill: Ints, steps: Ints) -> tuple[Ints, Ints, Ints]:
        """Wordings of all programs: answer ids, prompts and orders, each prompt once."""
        words = np.array(
            [[self._token[step.words[i % len(step.words)]] for i in range(2)] for step in STEPS] + [[0, 0]]
        )
        numbers = np.array([*(self._token.get(step.argument, 0) if step.argument else 0 for step in STEPS), 0])
        length = (steps != NO_STEP).sum(1)
        types = np.array([self._token[kind.given] for kind in KINDS])[skill]
        prompts, orders = [], []
        for i in range(self._paraphrases):
            key = random.fold(torch.tensor(self.version), i, torch.arange(len(steps)))
            synonym = random.integers(key, LENGTH + 1, 2).numpy()
            direction = i % 2 * (length > 1)
            order = np.array([[self._token[w] for w in order] for order in ORDERS])[direction, synonym[:, LENGTH]]
            verbs, arguments = words[steps, synonym[:, :LENGTH]], numbers[steps]
            forward = np.arange(LENGTH)[None].repeat(len(steps), 0)
            place = np.where(direction[:, None] == 1, length[:, None] - 1 - forward, forward)
            place = np.where(place < 0, forward, place)
            spelled = np.stack([np.take_along_axis(verbs, place, 1), np.take_along_axis(arguments, place, 1)], 2)
            order = np.where(length > 1, order, 0)
            prompts.append(np.concatenate([types[:, None], order[:, None], spelled.reshape(len(steps), -1)], 1))
            orders.append(order)
        prompt, order = np.concatenate(prompts), np.concatenate(orders)
        _, first = np.unique(prompt, axis=0, return_index=True)
        return first % len(steps), prompt[first], order[first]

    def forms(self) -> Tensor:
        """See `Task.forms`: what the program does."""
        return self.meaning.unsqueeze(1)

    def mistaken(self, misconception: Misconception) -> Tensor:
        steps = self.steps.numpy().copy()
        backwards = torch.isin(self._order, torch.tensor([self._token[word] for word in ORDERS[1]]))
        for k, kind in enumerate(KINDS):
            if kind.name in misconception.wrong:
                here = (self.skill_of == k).numpy()
                steps[here] = misconception.wrong[kind.name](steps[here], backwards.numpy()[here])
        return torch.from_numpy(self._line_of_step[steps])

    # --- text ----------------------------------------------------------------------------------------------------

    def text(self, problem: int) -> str:
        kind = KINDS[int(self.skill_of[problem])]
        steps = english([STEPS[step] for step in self.steps[problem].tolist() if step != NO_STEP], kind.given)
        order = int(self._order[problem])
        begin, between = ("", "")
        if order:
            name = next(name for name in _CONNECTIVES if self._token[name] == order)
            begin, between = _CONNECTIVES[name]
            steps = steps[::-1] if name in ORDERS[1] else steps
        given = TYPE_TEXT[TYPES.index(kind.given)]
        task = begin + between.join(steps)
        return f"Write a Python function f(x) that takes {given}, does the following and returns the result: {task}."

    def answer_text(self, answer: int) -> str:
        return self._source(int((self.answer[answer].numpy() * self._place).sum()))

    def verify(self, problem: int, text: str) -> bool:
        """Whether ``text`` is a Python program whose ``f`` returns exactly the right values on the hidden inputs.

        Of a text with fenced blocks the first is the program, of any other the whole is.
        """
        program = program_in(text)
        if len(program) > LONGEST:
            return False
        kind = int(self._type_of[self.skill_of[problem]])
        return self._executions.try_source(program, kind) == int(self.meaning[problem])

    def write_tokens(self, tokens: Tensor) -> str:
        """The program that an answer is; lines that are none stand in brackets."""
        lines = [LINES[t - 1] if 0 < t < self._base else f"<{t}>" for t in tokens.tolist()]
        ends = (tokens == 0).nonzero()
        return source(lines[: int(ends[0])] if len(ends) else lines)
