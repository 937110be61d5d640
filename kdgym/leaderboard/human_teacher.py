"""A person as the teacher: sees what teachers see, in the terminal, and decides in words."""

from __future__ import annotations

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
from kdgym.teaching.text import Numbers, text_interface

_CHARACTERS = 400  # of what is told of a student
_PANEL = ("accuracy", "target", "score")  # what the panel shows already
_COMMANDS = (
    "Commands: help (what the numbers mean), all (every number), undo (the student before), quit (without a record)."
)


_TYPED = "Or type it: add=2 mul.1=1; explore add, change mul=-0.5; which=wrong; of items, 40, 20 like 3 from B."


class HumanTeacher:
    """An agent whose decisions are typed, one student after the other.

    What is shown and how decisions are read is the matter of `kdgym.teaching.text`. Decisions have names, ``explore add, change
    mul=-0.5``; what is left out stays neutral. Shares of money are typed as weights of skills, ``add=3 mul``, or of one source,
    ``add.2=1`` (sources are numbered from 1). Where items are written, ``40, 20 like 3 from B`` buys 40 real items, and 20 like
    the third error shown from engine B. Choices are numbers with spaces between. JSON is read, too. An empty line repeats the
    student's last decision; at first it stands for the neutral one. What cannot be read is asked again.

    Args:
        envs: the students.
        console: where they are shown.
    """

    def __init__(self, envs: Any, console: Console) -> None:
        self.envs, self.console = envs, console
        self.space = envs.single_action_space
        spaces_of = envs.single_observation_space, self.space
        self.views = [text_interface(*spaces_of, envs.metadata, _CHARACTERS) for _ in range(envs.num_envs)]
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
        self._help(self.views[0].instructions, _TYPED)

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

    def _show(self, student: int, whole: bool = False) -> None:
        if self._reward is not None and not whole:
            self.console.print(f"Your last decision earned {self._reward[student]:+.3f}.", highlight=False)
        seen, view = self.seen[student], self.views[student]
        if isinstance(view, Numbers):  # of texts the panel would tell more than such teachers are told
            self.console.print(self.envs.panel(student))
            if view.skills:
                if (table := _table(view, seen, whole)).rows:
                    self.console.print(table)
                seen = {name: value for name, value in seen.items() if np.size(value) % len(view.skills)}
        self.console.print(view.tell(seen, whole), markup=False, highlight=False, soft_wrap=True)

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
                self._help("What you see:", *self._meanings(), self.views[student].instructions, _TYPED)
                continue
            if said == "all":
                self._show(student, whole=True)
                continue
            try:
                return self.views[student].read(said)
            except ValueError as error:
                self.console.print(f"[red]{escape(str(error))}[/]", highlight=False, markup=True)


def _table(view: Numbers, seen: dict[str, Any], whole: bool) -> Table:
    """A line a skill, or a source or subskill of it: of all skills, or of those that are open or have a target, if any can."""
    count = len(view.skills)
    rows = {name: np.reshape(v, (count, -1)) for name, v in seen.items() if np.size(v) % count == 0}
    parts = max(v.shape[1] for v in rows.values())
    chosen = rows.get("open", rows.get("target", np.ones((count, 1))))
    shown = np.broadcast_to(chosen, (count, parts)) > 0
    columns = {name: v for name, v in rows.items() if name not in _PANEL}
    table = Table("", *columns, box=None, header_style="bold")
    for i, label in enumerate(view.labels("", count * parts)):
        skill, part = divmod(i, parts)
        if whole or shown[skill, part]:
            cells = (v[skill, part % v.shape[1]] if part < v.shape[1] else "" for v in columns.values())
            table.add_row(label, *(f"{cell:.2f}" if cell != "" else "" for cell in cells))
    return table
