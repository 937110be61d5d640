"""The environment: a population of S students, stepped together.

`PopulationEnv` is a `gymnasium.vector.VectorEnv`. It owns what every family shares: seeds and episodes, validation of
actions, autoreset, the ledger, snapshots, branches. A family adds spaces, how an episode begins, what an action does, and
what the teacher sees. The single environment is the same object with S = 1 (`kdgym.core.single`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from rich.console import RenderableType
from torch import Tensor

from kdgym import random
from kdgym.core import ledger
from kdgym.core.fields import Fields, Layout
from kdgym.core.recorded_step import Program
from kdgym.core.rendering import Lesson, lesson_panel, lesson_picture
from kdgym.core.snapshot import StudentSnapshot
from kdgym.core.validation import (
    checked_actions,
    checked_length,
    checked_number,
    checked_options,
    checked_seeds,
    is_whole,
)
from kdgym.settings import Settings
from kdgym.tasks.base import Split

Array: TypeAlias = npt.NDArray[Any]
Info: TypeAlias = dict[str, Any]
Autoreset: TypeAlias = bool | str | AutoresetMode
Who: TypeAlias = int | slice | npt.NDArray[np.int64]

_COMMON: Layout = {
    "seed": ((), torch.int64),
    "episode": ((), torch.int64),
    "step": ((), torch.int64),
    "done": ((), torch.int64),
    "ledger": (ledger.SHAPE, torch.float64),
    "billed": (ledger.SHAPE, torch.float64),
}
# What a copy has beside its settings and its state.
_CARRIED = {"_started", "_finished", "_np_random", "_np_random_seed", "spec", "commentator"}
_CARRIED |= {"action_space", "single_action_space", "observation_space", "single_observation_space"}
_TERMINATED, _TRUNCATED = 1, 2  # bits of the field done
_RANDOM_STREAMS = ("seed", "episode")  # fields that all of a student's random streams come from


def common_arguments(settings: dict[str, Any]) -> dict[str, Any]:
    """Take out of a family's keyword arguments those that all populations have, to be passed on to `PopulationEnv`."""
    names = ("render_mode", "autoreset", "max_episode_steps")
    return {name: settings.pop(name) for name in names if name in settings}


class PopulationEnv(VectorEnv[dict[str, Array], Array, Array], ABC):
    """S students of one family, taught side by side.

    Args:
        num_envs: number of students S, at least 1.
        observation_space: what the teacher of one student sees, as a Dict of 1-D float32 boxes.
        action_space: what the teacher of one student does.
        text_space: where teachers read text instead, the space of what `_present` makes of those boxes.
        layout: the family's own state fields, name -> (shape, dtype).
        settings: JSON-serialisable settings; a snapshot fits environments whose settings are equal.
        device: torch device of the population.
        render_mode: ``None``, ``"rgb_array"`` or ``"human"``.
        autoreset: when a finished student's next episode starts, a `gymnasium.vector.AutoresetMode` or its value: in the
            step that ends one (``"SameStep"`` or True), in the step after, whose action is ignored (``"NextStep"``), or when
            it is reset by hand (``"Disabled"`` or False).
        max_episode_steps: steps after which an episode is truncated; what a step may spend stays as it is.

    Attributes:
        config: settings of the family; set by it, as ``steps``, the length of a full episode.
        recorded: whether a step is a program of the device alone (see `kdgym.core.recorded_step`).
        items: what a teacher decides of one by one, by name of an observation: one with a number an item (a source, a scorer),
            and perhaps one with a number a group of items (a skill).
        independent: whether a student's numbers are bit for bit the same in any company; elsewhere they agree to rounding.
    """

    config: Settings
    steps: int
    recorded: bool = True
    items: tuple[str, ...] = ()
    independent: bool = True

    metadata: dict[str, Any] = {
        "render_modes": ["rgb_array", "human"],
        "render_fps": 2,
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __new__(cls, num_envs: int = 1, *_: Any, **__: Any) -> Self:
        """A population whose number of students is one, before a family makes anything of it.

        Raises:
            ValueError: it is none.
        """
        checked_number(num_envs)
        return super().__new__(cls)

    def __init__(
        self,
        num_envs: int,
        observation_space: spaces.Dict,
        action_space: spaces.Space[Any],
        layout: Layout,
        settings: dict[str, Any],
        device: torch.device,
        render_mode: str | None = None,
        autoreset: Autoreset = True,
        max_episode_steps: int | None = None,
        text_space: spaces.Text | None = None,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode is {render_mode!r}; choose from {self.metadata['render_modes']} or None.")
        self.autoreset_mode, self.max_episode_steps = _mode(autoreset), checked_length(max_episode_steps)
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.num_envs, self.render_mode, self.device, self.settings = int(num_envs), render_mode, device, settings
        self.single_observation_space, self.single_action_space = text_space or observation_space, action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(action_space, num_envs)
        self._boxes: dict[str, Any] = observation_space.spaces
        self._widths = {key: spaces.flatdim(box) for key, box in observation_space.spaces.items()}
        self._started = False
        self._finished = np.zeros(num_envs, dtype=bool)
        self.state = Fields(num_envs, {**layout, **_COMMON}, device)
        self._advance: Callable[[Tensor], Tensor] = self.advance
        if self.recorded and device.type == "cuda":
            self._advance = Program(self.advance, self.state.buffers.values())

    # --- what a family defines -----------------------------------------------------------------------------------

    @abstractmethod
    def _begin(self, rows: Tensor, restart: str) -> None:
        """Start an episode for the students ``rows`` (int64): seeds and episode numbers are already set."""

    @abstractmethod
    def _teach(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """Carry out a valid action [S, n]; return reward and terminated, both [S].

        A program of the device alone: it must not ask for a tensor's values, so that a GPU can record it.
        """

    @abstractmethod
    def _observe(self) -> dict[str, Tensor]:
        """What each teacher sees: float32 [S, n] per key of the observation space."""

    @abstractmethod
    def examine(self, split: Split = "test") -> dict[str, Array]:
        """Sit an unaided examination that leaves no trace: not for teachers, but for the protocol that scores them."""

    @abstractmethod
    def score(self) -> npt.NDArray[np.float64]:
        """What the students are worth now by validation, [S]: for curves, and not for teachers."""

    def outcome(self) -> dict[str, Array]:
        """What else came of the episode, where a family has more to tell than a score: name -> [S, ...]."""
        return {}

    def examine_retention(self, items: int, split: Split = "test") -> dict[str, Array]:
        """What is left of the targets ``before`` and ``after`` unrelated training, [S] each, where students have targets.

        Raises:
            ValueError: they have none.
        """
        raise ValueError(f"Retention is measured of students with target skills; {type(self).__name__} has none.")

    @abstractmethod
    def lesson(self, student: int) -> Lesson:
        """One student's lesson so far, as a person would want to see it."""

    def _arguments(self) -> dict[str, Any]:
        """What makes an environment of equal settings, and as long."""
        return {"max_episode_steps": self.max_episode_steps, **self.config.model_dump()}

    # --- the Gymnasium interface ---------------------------------------------------------------------------------

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], Info]:
        """Start episodes.

        Args:
            seed: student i gets the seed ``seed + i``, or ``seed[i]``; None starts each student's next episode.
            options: ``{"restart": "base" | "continue"}`` (a fresh base student, or the one just taught, with its optimiser
                fresh) and ``{"reset_mask": bool array [S]}`` (which students start; all others stay where they are).

        Raises:
            ValueError: an option or a seed is not one of these.
        """
        mask, restart = checked_options(options, self.num_envs, self._started)
        if seed is not None:
            checked_seeds(seed, self.num_envs, np.random.default_rng(0))  # before anything changes
        super().reset(seed=int(seed) if is_whole(seed) else None)
        self._seed(mask, seed)
        self._start(mask, restart)
        cost = self._pack(ledger.flat(self.state["ledger"].cpu().numpy()), mask)
        return self.observe(), cost | self._pack(self._step_info(), np.zeros_like(mask))

    def step(self, actions: Array) -> tuple[dict[str, Array], Array, Array, Array, Info]:
        """Teach every student for one step.

        Raises:
            RuntimeError: before the first reset; or, without autoreset, after all episodes have ended. (Students whose
                episode ends before those of others wait: nothing is done to them any more.)
            ValueError: an action has the wrong shape, is not finite, or leaves the action space.
        """
        if not self._started:
            raise RuntimeError("step was called before reset; call reset first.")
        waiting = self._finished.copy()
        if self.autoreset_mode is AutoresetMode.DISABLED and waiting.all():
            raise RuntimeError("step was called after the end of an episode; call reset to start the next one.")
        action = self._receive(actions)
        outcome = self._step_of_others(waiting, action) if waiting.any() else self._advance(action).cpu().numpy()
        reward, ends = outcome[:, 0].copy(), outcome[:, 1].astype(np.int64)
        done, terminated, truncated = ends > 0, ends & _TERMINATED > 0, ends & _TRUNCATED > 0
        cost = ledger.flat(outcome[:, 2 : 2 + ledger.SIZE].reshape(-1, *ledger.SHAPE))
        observation = self._present(self._split(outcome[:, 2 + ledger.SIZE :]))
        if self.autoreset_mode is AutoresetMode.SAME_STEP and done.any():
            info = self._next_episode(observation, {**cost, **self._step_info()}, done)
            observation = self.observe()
        else:
            info = self._pack(cost, np.ones(self.num_envs, dtype=bool)) | self._pack(self._step_info(), ~waiting)
            self._finished = done.copy()
        if self.render_mode == "human":
            from kdgym.console import console  # brings Typer

            console.print(self.panel(0))
        return observation, reward, terminated, truncated, info

    def _step_of_others(self, waiting: npt.NDArray[np.bool_], action: Tensor) -> Array:
        """A step without the students ``waiting``, bool [S], whose episode had ended. With `AutoresetMode.NEXT_STEP` they begin
        the next one; there is no reward, and no cost but that of a beginning.
        """
        rows = torch.from_numpy(np.flatnonzero(waiting)).to(self.device)
        next_step = self.autoreset_mode is AutoresetMode.NEXT_STEP
        if next_step:
            self.state["episode"][rows] += 1
            self._start(waiting, "base")
        as_they_are = self.state.rows(rows)
        self.state["step"][rows] = 0  # what they compute is thrown away, but has to be computable
        outcome = self._advance(action).cpu().numpy()
        self.state.put(rows, as_they_are)
        outcome[waiting, 0], outcome[waiting, 1] = 0, self.state["done"].cpu().numpy()[waiting]
        spent = (
            self.state["ledger"].flatten(1)
            if next_step
            else torch.zeros(self.num_envs, ledger.SIZE, device=self.device)
        )
        outcome[:, 2:][waiting] = torch.cat([spent, *self._seen()], dim=1).cpu().numpy()[waiting]
        return outcome

    def advance(self, action: Tensor) -> Tensor:
        """One step on the device: valid actions [S, n] -> float64 [S, 2 + costs + observation]: reward, done, ..."""
        before = self.state["ledger"].clone()
        self.state["ledger"][:] += self.state["billed"]
        self.state["billed"][:] = 0
        reward, terminated = self._teach(action)
        self.state["step"][:] += 1
        self.state["done"][:] = _TERMINATED * terminated.long()
        if self.max_episode_steps is not None:
            self.state["done"][:] += _TRUNCATED * (self.state["step"] >= self.max_episode_steps)
        cost = (self.state["ledger"] - before).flatten(1)
        return torch.cat([reward[:, None], self.state["done"][:, None], cost, *self._seen()], dim=1)

    def _next_episode(self, observation: Any, cost: Info, done: npt.NDArray[np.bool_]) -> Info:
        """Start the next episode of the finished students; their last observation and cost go to ``final_*``."""
        info = self._pack(cost, ~done) if not done.all() else {}
        final = np.full(self.num_envs, None, dtype=object)
        for i in np.flatnonzero(done):
            final[i] = self.row(observation, int(i))
        info |= {"final_obs": final, "_final_obs": done.copy()}
        info |= {"final_info": self._pack(cost, done), "_final_info": done.copy()}
        self.state["episode"][torch.from_numpy(done)] += 1
        self._start(done, "base")
        return info

    def render(self) -> tuple[npt.NDArray[np.uint8], ...] | None:
        """One picture a student with ``render_mode="rgb_array"``; ``"human"`` draws to the terminal at every step."""
        return tuple(map(self.frame, range(self.num_envs))) if self.render_mode == "rgb_array" else None

    def frame(self, student: int) -> npt.NDArray[np.uint8]:
        """A picture of one student's lesson so far, RGB [height, width, 3]."""
        return lesson_picture(self.lesson(student))

    def panel(self, student: int) -> RenderableType:
        """One student's lesson so far, for the terminal."""
        return lesson_panel(self.lesson(student))

    def observe(self) -> Any:
        """What the teachers see now, without teaching: the observation of the last reset, step or restore."""
        return self._present(self._split(torch.cat(self._seen(), dim=1).cpu().numpy()))

    def row(self, observation: Any, student: int) -> Any:
        """One student's part of the population's observation."""
        if isinstance(observation, dict):
            return {key: value[student] for key, value in observation.items()}
        return observation[student]

    # --- what a family with text defines -------------------------------------------------------------------------

    def _receive(self, actions: Any) -> Tensor:
        """Actions, checked, on the device."""
        return torch.from_numpy(checked_actions(actions, self.num_envs, self.single_action_space)).to(self.device)

    def _present(self, observation: dict[str, Array]) -> Any:
        """What teachers are shown of the boxes."""
        return observation

    def _step_info(self) -> Info:
        """What came of the last actions, beside their cost: ``part/name`` -> [S]. After a reset, infos have zeros there."""
        return {}

    def _seen(self) -> list[Tensor]:
        """The observations in the order of the observation space."""
        observation = self._observe()
        return [observation[key] for key in self._widths]

    def _split(self, columns: Array) -> dict[str, Array]:
        """The columns of all observations side by side, [S, n], per key of the observation space."""
        parts = np.split(columns.astype(np.float32), np.cumsum(list(self._widths.values()))[:-1], axis=1)
        return dict(zip(self._widths, parts, strict=True))

    # --- snapshots -----------------------------------------------------------------------------------------------

    def snapshot(self, students: Who = slice(None), random_streams: bool = True) -> StudentSnapshot:
        """A copy of everything the future of these students depends on.

        Args:
            students: which ones: a number, a slice, or an int64 array [n].
            random_streams: whether to copy the numbers that all their random streams come from; otherwise zeros stand there.

        Raises:
            RuntimeError: before the first reset.
        """
        if not self._started:
            raise RuntimeError("There is nothing to snapshot before the first reset; call reset first.")
        rows = self.state.rows(self._part(students))
        if not random_streams:
            self.state.overwrite(rows, _RANDOM_STREAMS)
        return StudentSnapshot.taken(self.settings, rows)

    def restore(self, snapshot: StudentSnapshot, students: Who = slice(None), random_streams: bool = True) -> None:
        """Put students back: from here on everything happens bitwise as it did after `snapshot`.

        Args:
            snapshot: of as many students.
            students: see `snapshot`.
            random_streams: False leaves these students the random streams they have now: they stand where others stood, and
                go on as they themselves would.

        Raises:
            ValueError: the snapshot was taken under other settings, holds another number of students, or is of none that this
                environment can have. All students are then as they were.
        """
        part = self._part(students)
        snapshot.require(self.settings, len(self.state["seed"][part]))
        rows, foreign = snapshot.rows, not snapshot.untouched
        if foreign:
            self.state.check(rows, self._limits())
        before = self.state.rows(part) if foreign or not random_streams else []
        if not random_streams:
            rows = [row.clone() for row in rows]
            self.state.overwrite(rows, _RANDOM_STREAMS, before)
        self.state.put(part, rows)
        wrong = self._impossible(part) if foreign else ""
        if wrong:
            self.state.put(part, before)
            raise ValueError(f"The snapshot is of no student that this environment can have: see its {wrong}.")
        self._started = True
        self._finished = self.state["done"].cpu().numpy() > 0

    def _limits(self) -> dict[str, tuple[float, float]]:
        """Field -> least and largest value. Whole numbers that are not listed are not negative."""
        money = (0, torch.finfo(torch.float64).max)
        return {
            "step": (0, self.steps),
            "done": (0, _TERMINATED | _TRUNCATED),
            "ledger": money,
            "billed": money,
            "spent": money,
        }

    def _impossible(self, part: slice | Tensor) -> str:
        """What of these students' fields and observations leaves its range; NaN, which a diverged student has, does not."""
        if ((self.state["step"] >= self.steps) & (self.state["done"] == 0))[part].any():
            return "step"
        for (name, box), seen in zip(self._boxes.items(), self._seen(), strict=True):
            low, high = (torch.from_numpy(bound).to(seen.device) for bound in (box.low, box.high))
            if ((seen < low) | (seen > high))[part].any():
                return name
        return ""

    def _part(self, students: Who) -> slice | Tensor:
        if isinstance(students, int):
            return slice(students, students + 1)
        return students if isinstance(students, slice) else torch.from_numpy(students).to(self.device)

    def branch(self, k: int) -> PopulationEnv:
        """Copy every student k times: a new population of S * k, in which rows ``i*k .. i*k+k-1`` are student i.

        Copies share all future randomness, so k decisions can be compared on the *same* student. The copies do not
        reset themselves.

        Raises:
            ValueError: ``k`` is smaller than 1.
            RuntimeError: before the first reset.
        """
        if not is_whole(k) or k < 1:
            raise ValueError(f"k is {k!r}; a student is copied at least once.")
        snapshot = self.snapshot()
        page: Any = type(self)
        branches: PopulationEnv = page(self.num_envs * k, autoreset=False, **self._arguments())
        rows = [row.repeat_interleave(k, dim=0) for row in snapshot.rows]
        branches.restore(StudentSnapshot.taken(self.settings, rows))
        return branches

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies (`copy.deepcopy`) and pickles are made anew from the settings, and go on as this one does."""
        arguments = {"render_mode": self.render_mode, "autoreset": self.autoreset_mode, **self._arguments()}
        carried = {name: value for name, value in vars(self).items() if name in _CARRIED}
        return _remake, (type(self), self.num_envs, arguments, list(self.state.buffers.values()), carried)

    def bill(self, actor: str, **amounts: npt.ArrayLike) -> None:
        """Enter what was spent outside the environment, such as a language model's tokens, into the next step's cost.

        Args:
            actor: one of `kdgym.core.ledger.ACTORS`.
            amounts: unit of `kdgym.core.ledger.UNITS` -> one non-negative number, or one a student, [S].

        Raises:
            ValueError: an actor, a unit or an amount is not one of these.
        """
        if actor not in ledger.ACTORS or not set(amounts) <= set(ledger.UNITS):
            raise ValueError(
                f"{actor!r} cannot be billed {sorted(amounts)}; actors are {ledger.ACTORS}, units {ledger.UNITS}."
            )
        for unit, amount in amounts.items():
            given = np.asarray(amount, dtype=np.float64)
            if given.shape not in ((), (self.num_envs,)) or not np.isfinite(given).all() or (given < 0).any():
                raise ValueError(f"{unit} is {amount!r}; give finite, non-negative numbers, one or {self.num_envs}.")
            spent = torch.from_numpy(np.broadcast_to(given, self.num_envs).copy()).to(self.device)
            ledger.charge(self.state["billed"], actor, **{unit: spent})

    def ledger(self) -> dict[str, dict[str, Array]]:
        """What each student's current episode has spent so far: actor -> unit -> [S]."""
        return {
            actor: {unit: column.copy() for unit, column in units.items()}
            for actor, units in ledger.itemise(self.state["ledger"].cpu().numpy()).items()
        }

    # --- machinery -----------------------------------------------------------------------------------------------

    def stream(self, purpose: int, step: Tensor | int = 0) -> Tensor:
        """Keys [S] of each student's random stream for a purpose at a step of its current episode."""
        return random.stream(self.state, purpose, step)

    def _seed(self, mask: npt.NDArray[np.bool_], seed: int | Sequence[int | None] | None) -> None:
        chosen = torch.from_numpy(mask)
        if seed is None and self._started:
            self.state["episode"][chosen] += 1
            return
        seeds = checked_seeds(seed, self.num_envs, self.np_random)
        self.state["seed"][chosen] = torch.tensor(seeds, device=self.device)[chosen]
        self.state["episode"][chosen] = 0

    def _start(self, mask: npt.NDArray[np.bool_], restart: str) -> None:
        rows = torch.from_numpy(np.flatnonzero(mask)).to(self.device)
        for name in ("step", "done", "ledger", "billed"):
            self.state[name][rows] = 0
        self._begin(rows, restart)
        self._finished[mask] = False
        self._started = True

    def _pack(self, info: Info, mask: npt.NDArray[np.bool_]) -> Info:
        """Gymnasium's vector info: every array has a bool mask ``_key`` of the students it speaks of."""
        packed: Info = {}
        for key, value in info.items():
            packed[key] = np.where(mask, value, "" if value.dtype == object else value.dtype.type(0))
            packed[f"_{key}"] = mask.copy()
        return packed


def _mode(given: Autoreset) -> AutoresetMode:
    if isinstance(given, bool):
        return AutoresetMode.SAME_STEP if given else AutoresetMode.DISABLED
    try:
        return AutoresetMode(given)
    except ValueError:
        known = ", ".join(repr(mode.value) for mode in AutoresetMode)
        raise ValueError(f"autoreset is {given!r}; choose True, False, {known} or an AutoresetMode.") from None


def _remake(
    page: type[Any], num_envs: int, arguments: dict[str, Any], buffers: list[Tensor], carried: dict[str, Any]
) -> PopulationEnv:
    population: PopulationEnv = page(num_envs, **arguments)
    population.state.put(slice(None), buffers)
    vars(population).update(carried)
    return population
