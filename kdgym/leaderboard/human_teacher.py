"""A person as the teacher: sees what teachers see, in the terminal, and decides in words."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import typer
from gymnasium import spaces
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kdgym.registration import find
from kdgym.spaces import Shares, WordedBox

_PANEL = ("accuracy", "target", "score", "budget", "time")  # what the panel shows already
_COMMANDS = (
    "Commands: help (what the numbers mean), all (every skill), undo (the student before), quit (without a record)."
)


class HumanTeacher:
    """An agent whose decisions are typed, one student after the other.

    Decisions have names, ``explore add, change mul=-0.5``; what is left out stays neutral. Shares of money are typed as
    weights of skills, ``add=3 mul``, or of one source, ``add.2=1`` (sources are numbered from 1). Texts are typed as they are;
    where items are written, ``40, 20 like 3`` buys 40 real items and 20 like the third error shown. Choices are numbers with
    spaces between. An empty line repeats the student's last decision; at first it stands for the neutral one. What cannot be
    read is asked again.

    Args:
        envs: the students.
        console: where they are shown.
    """

    def __init__(self, envs: Any, console: Console) -> None:
        self.envs, self.console = envs, console
        self.space = envs.single_action_space
        self.skills = [skill["name"] for skill in envs.metadata.get("skills", [])]
        self.last: list[Any] = [None] * envs.num_envs
        self.seen: list[Any] = []  # what each student shows now
        self._step = 0
        self._reward: npt.NDArray[np.float64] | None = None  # of the last step, [S]

    def act(self, observation: Any) -> Any:
        """Ask for an action for every student."""
        if self._step == 0:
            self._introduce()
        self._step += 1
        students = self.envs.num_envs
        self.seen = [self.envs.row(observation, student) for student in range(students)]
        student = 0
        while student < students:
            self.console.rule(f"step {self._step} of {self.envs.steps}, student {student + 1} of {students}")
            self._show(student)
            action = self._ask(student)
            if action is None and student == 0:
                self.console.print("There is nothing to take back: what was decided in earlier steps has been learned.")
            elif action is not None:
                self.last[student] = action
            student = max(0, student + (1 if action is not None else -1))
        return list(self.last) if isinstance(self.space, spaces.Text) else np.stack(self.last)

    def after_step(self, reward: npt.NDArray[np.float64], done: npt.NDArray[np.bool_]) -> None:
        """Keep what the last decisions earned, to be shown."""
        self._reward = reward

    # --- what is shown -------------------------------------------------------------------------------------------

    def _introduce(self) -> None:
        students, steps = self.envs.num_envs, self.envs.steps
        self.console.print(
            f"[bold]You are the teacher.[/] {escape(self._page().partition(chr(10))[0])}",
            highlight=False,
            markup=True,
        )
        self.console.print(
            f"There are {students} students. You decide for one after the other, then all of them learn; that is a step. Your "
            f"score: {find(self.envs.spec.id).measure}, in a hidden examination after {steps} steps.",
            highlight=False,
        )
        self._help(self._grammar())

    def _help(self, *lines: str) -> None:
        for line in (*lines, "An empty line repeats your last decision; the first time it favours nothing.", _COMMANDS):
            self.console.print(line, highlight=False, markup=False)

    def _page(self) -> str:
        return type(self.envs.unwrapped).__doc__ or ""

    def _meanings(self) -> list[str]:
        """What the environment's page says of the numbers that are shown."""
        table = self._page().partition("## Observation Space")[2].partition("\n    ## ")[0]
        rows = re.findall(r"^ *\| *(\w+) *\|.*\| *([^|]+?) *\|$", table, flags=re.MULTILINE)
        return [f"  {name}: {meaning}" for name, meaning in rows if name != "key"]

    def _grammar(self) -> str:
        """How decisions are typed."""
        if isinstance(self.space, spaces.Text):
            return (
                'Write a JSON list of items, such as [{"problem": "...", "answer": "..."}], with problems as in the '
                "errors shown. Or buy real items: 40 are any forty, 20 like 3 are twenty like error 3; with commas, both."
            )
        if isinstance(self.space, Shares) and self.skills:
            first, other, *_ = [*self.skills, *self.skills]
            return (
                f"Split the step's money by weights: {first}=2 {other}=1 spends twice as much on {first}, over all its sources "
                f"alike; {first}.1=3 buys from its source 1 alone."
            )
        if isinstance(self.space, WordedBox):
            return f"Type decisions with commas between: {self.space.words}. What you leave out stays neutral."
        return f"Type {self.space.shape[0]} numbers with spaces between: {self.space}."

    def _show(self, student: int, whole: bool = False) -> None:
        seen = self.seen[student]
        if self._reward is not None:
            self.console.print(f"Your last decision earned {self._reward[student]:+.3f}.", highlight=False)
        if not isinstance(seen, dict):  # the panel would tell more than such teachers are told
            self._show_text(str(seen))
            return
        self.console.print(self.envs.panel(student))
        arrays = {name: np.ravel(value) for name, value in seen.items() if name not in _PANEL}
        count = len(self.skills)
        in_parts = {name: v for name, v in arrays.items() if count and v.size > count and v.size % count == 0}
        if self._parts():
            if (table := self._table_of_parts(in_parts, seen, whole)).rows:
                self.console.print(table)
            in_parts = {}
        by_skill = {name: v for name, v in arrays.items() if v.size == count} | in_parts
        if by_skill:
            self.console.print(self._table_of_skills(by_skill, seen, whole))
        features = self.envs.metadata.get("features", [])
        for name, value in arrays.items():
            if count == 0 or value.size % count:
                named = features if len(features) == value.size else [""] * value.size
                told = (
                    f"{what}{'=' if what else ''}{x:.2f}" for what, x in zip(named, value, strict=True) if x or not what
                )
                self.console.print(f"[bold]{name}[/] {escape('  '.join(told))}", highlight=False, markup=True)

    def _parts(self) -> int:
        """Sources or subskills of a skill that can be decided one by one."""
        if not (isinstance(self.space, WordedBox) and self.skills):
            return 0
        return max(
            self.space.parts(name, self.skills)
            for name in self.space.decisions(np.zeros(self.space.shape), self.skills)
        )

    def _table_of_parts(self, arrays: dict[str, Any], seen: dict[str, Any], whole: bool) -> Table:
        """A line a source or subskill, by the name under which it is decided: of open ones, else of skills with a target."""
        parts = self._parts()
        table = Table("part", *arrays, box=None, header_style="bold")
        shown = np.asarray(seen["open"]) if "open" in seen else np.repeat(np.asarray(seen["target"]), parts)
        for row in np.flatnonzero(np.ones_like(shown) if whole else shown):
            numbers = (f"{float(v[row]):.2f}" for v in arrays.values())
            table.add_row(f"{self.skills[row // parts]}.{row % parts + 1}", *numbers)
        return table

    def _table_of_skills(self, arrays: dict[str, Any], seen: dict[str, Any], whole: bool) -> Table:
        table = Table("skill", *arrays, box=None, header_style="bold")
        for k, skill in enumerate(self.skills):
            if not (whole or seen["target"][k] > 0):
                continue
            rows = (np.reshape(v, (len(self.skills), -1))[k] for v in arrays.values())
            table.add_row(skill, *(" ".join(f"{float(x):.2f}" for x in row) for row in rows))
        return table

    def _show_text(self, text: str) -> None:
        """A text, or what a JSON object says: a table of errors, and a line each of all else."""
        try:
            told = json.loads(text)
        except ValueError:
            told = None
        if not isinstance(told, dict):
            self.console.print(text, markup=False, highlight=False)
            return
        for name, value in told.items():
            if name != "errors":
                for shown in value if isinstance(value, list) else [value]:
                    parts = (
                        ", ".join(f"{what} {x}" for what, x in shown.items()) if isinstance(shown, dict) else str(shown)
                    )
                    self.console.print(f"[bold]{escape(name)}[/] {escape(parts)}", highlight=False, markup=True)
        table = Table("error", "problem", "student's answer", "right answer", box=None, header_style="bold")
        for number, error in enumerate(told.get("errors", []), 1):
            problem, given, right = (error.get(name, "") for name in ("problem", "given", "right"))
            cells = (problem if isinstance(problem, str) else json.dumps(problem), str(given), str(right))
            table.add_row(str(number), *map(escape, cells))
        self.console.print(table)

    # --- what is typed -------------------------------------------------------------------------------------------

    def _ask(self, student: int) -> Any:
        """The student's action; None to go back to the one before."""
        while True:
            said = typer.prompt(f"Student {student + 1}", prompt_suffix="> ", default="", show_default=False).strip()
            if not said and self.last[student] is not None:
                return self.last[student]
            if said == "undo":
                return None
            if said == "quit":
                self.console.print("Stopped; nothing was written.")
                raise typer.Exit
            if said == "help":
                self._help("What you see:", *self._meanings(), self._grammar())
                continue
            if said == "all":
                self._show(student, whole=True)
                continue
            try:
                return self.read(said, student)
            except ValueError as error:
                self.console.print(f"[red]{escape(str(error))}[/]", highlight=False, markup=True)

    def read(self, said: str, student: int = 0) -> Any:
        """An action from what was typed.

        Args:
            said: see the class.
            student: whose errors numbers stand for.

        Raises:
            ValueError: it is none; the message says what is missing.
        """
        if isinstance(self.space, spaces.Text):
            written = said if said.startswith(("[", "{")) else json.dumps(self._bought(said, student))
            if not self.space.contains(written):
                raise ValueError(f"At most {self.space.max_length} printable characters are allowed.")
            return written
        if isinstance(self.space, WordedBox):
            between = r"[,\s]+" if isinstance(self.space, Shares) else ","
            return self.space.compose(_decided(re.split(between, said)), self.skills)
        numbers = [float(part) for part in said.replace(",", " ").split()]
        action = np.array(numbers, self.space.dtype)
        if not self.space.contains(action):
            raise ValueError(f"{len(numbers)} numbers were given; {self.space} is asked for.")
        return action

    def _bought(self, said: str, student: int) -> list[dict[str, Any]]:
        """``40, 20 like 3`` as items; an empty text is none."""
        items: list[dict[str, Any]] = []
        for part in filter(None, (part.strip() for part in said.split(","))):
            found = re.fullmatch(r"(\d+)(?: like (\d+))?", part)
            if found is None:
                raise ValueError(f"{part!r} is neither JSON nor a number of items, such as 40 or 20 like 3.")
            number, like = found.groups()
            items.append({"draw": int(number)})
            if like is not None:
                errors = json.loads(self.seen[student])["errors"]
                if not 1 <= int(like) <= len(errors):
                    raise ValueError(f"There is no error {like}; they are numbered from 1 to {len(errors)}.")
                items[-1]["like"] = errors[int(like) - 1]["problem"]
        return items


def _decided(said: list[str]) -> dict[str, float]:
    """Decisions ``name=value``; 1 where no value is given."""
    named = [(part, *part.partition("=")) for part in map(str.strip, said) if part]
    return {name.strip(): _number(part, name, value.strip()) for part, name, _, value in named}


def _number(part: str, name: str, amount: str) -> float:
    try:
        return float(amount or 1)
    except ValueError as error:
        raise ValueError(f"{part!r} has no number; write {name}=2.") from error
