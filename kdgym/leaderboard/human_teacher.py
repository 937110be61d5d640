"""A person as the teacher: sees what teachers see, in the terminal, and decides in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import typer
from gymnasium import spaces
from rich.console import Console
from rich.table import Table

from kdgym.spaces import Shares, WordedBox

Floats = npt.NDArray[np.float32]


class HumanTeacher:
    """An agent whose decisions are typed, one student after the other.

    Shares of money are typed as weights of skills, ``add=3 mul``; of one source, ``mul:2=1`` (sources are numbered from 1).
    Other decisions have names too, ``explore add, change mul=-0.5``; what is left out stays neutral. Texts are typed as they
    are, numbered choices with spaces between. An empty line repeats the student's last decision. What cannot be read is
    asked again.

    Args:
        envs: the students.
        console: where they are shown.
    """

    def __init__(self, envs: Any, console: Console) -> None:
        self.envs, self.console = envs, console
        self.space = envs.single_action_space
        self.skills = [skill["name"] for skill in envs.metadata.get("skills", [])]
        self.last: list[Any] = [None] * envs.num_envs

    def act(self, observation: Any) -> Any:
        """Ask for an action for every student."""
        for student in range(self.envs.num_envs):
            self.console.rule(f"student {student + 1} of {self.envs.num_envs}")
            self.console.print(self.envs.panel(student))
            self._show_text(observation, student)
            self.last[student] = self._ask(student)
        return list(self.last) if isinstance(self.space, spaces.Text) else np.stack(self.last)

    def _show_text(self, observation: Any, student: int) -> None:
        """What the panel does not show: texts, prices, and what items of each source were like."""
        seen = self.envs.row(observation, student)
        if not isinstance(seen, dict):
            self.console.print(str(seen), markup=False)
            return
        if "price" not in seen or not self.skills:
            return
        price, loss = (np.asarray(seen[name]).reshape(len(self.skills), -1) for name in ("price", "source_loss"))
        columns = (f"source {i + 1}" for i in range(price.shape[1]))
        table = Table("price, loss", *columns, box=None, header_style="bold")
        for skill, prices, losses in zip(self.skills, price, loss, strict=True):
            table.add_row(skill, *(f"{p:.2f}  {x:.2f}" for p, x in zip(prices, losses, strict=True)))
        self.console.print(table)

    def _ask(self, student: int) -> Any:
        while True:
            said = typer.prompt(self._question(), default="", show_default=False).strip()
            if not said and self.last[student] is not None:
                return self.last[student]
            try:
                return self.read(said)
            except ValueError as error:
                self.console.print(f"[red]{error}[/]", highlight=False)

    def _question(self) -> str:
        if isinstance(self.space, Shares) and self.skills:
            return "Weights of skills, e.g. " + " ".join(
                f"{name}={w}" for name, w in zip(self.skills, (2, 1), strict=False)
            )
        if isinstance(self.space, spaces.Text):
            return "JSON"
        if isinstance(self.space, WordedBox):
            return f"Decisions, by commas ({self.space.words})"
        return f"{self.space.shape[0]} numbers ({self.space})"

    def read(self, said: str) -> Any:
        """An action from what was typed.

        Raises:
            ValueError: it is none; the message says what is missing.
        """
        if isinstance(self.space, spaces.Text):
            if not self.space.contains(said):
                raise ValueError(f"At most {self.space.max_length} printable characters are allowed.")
            return said
        if isinstance(self.space, Shares) and self.skills:
            return self.space.encode(self._weights(said))
        if isinstance(self.space, WordedBox):
            return self.space.compose(_decided(said), self.skills)
        numbers = [float(part) for part in said.replace(",", " ").split()]
        action = np.array(numbers, self.space.dtype)
        if not self.space.contains(action):
            raise ValueError(f"{len(numbers)} numbers were given; {self.space} is asked for.")
        return action

    def _weights(self, said: str) -> npt.NDArray[np.float64]:
        sources = self.space.shape[0] // len(self.skills)
        weights = np.zeros((len(self.skills), sources))
        for part in said.replace(",", " ").split():
            where, _, amount = part.partition("=")
            skill, _, source = where.partition(":")
            if skill not in self.skills:
                raise ValueError(f"There is no skill {skill!r}; there are {', '.join(self.skills)}.")
            if source and not (source.isdecimal() and 1 <= int(source) <= sources):
                raise ValueError(f"{where!r} names no source; they are numbered from 1 to {sources}.")
            value = _number(part, where, amount)
            if not 0 <= value < float("inf"):
                raise ValueError(f"{part!r} has a weight that is negative or too large.")
            chosen = slice(int(source) - 1, int(source)) if source else slice(None)
            weights[self.skills.index(skill), chosen] = value / (1 if source else sources)
        if not weights.any():
            raise ValueError("Give at least one skill a weight above 0.")
        return weights.ravel()


def _decided(said: str) -> dict[str, float]:
    """Decisions ``name=value`` by commas; 1 where no value is given."""
    parts = [part.strip() for part in said.split(",") if part.strip()]
    named = [(part, *part.partition("=")) for part in parts]
    return {name.strip(): _number(part, name, value.strip()) for part, name, _, value in named}


def _number(part: str, name: str, amount: str) -> float:
    try:
        return float(amount or 1)
    except ValueError as error:
        raise ValueError(f"{part!r} has no number; write {name}=2.") from error
