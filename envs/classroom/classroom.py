"""Classroom: several teachers, each with a subject of its own, share one student's time.

The student's weights are shared, so subjects help and disturb each other; its time is limited, so teachers compete for it. A
teacher may be paid for its own subject, for everybody's, or for a mixture: what selfishness costs is the price of anarchy
(Koutsoupias and Papadimitriou, STACS 1999), measured by ``python -m kdgym.studies.anarchy``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from pettingzoo.utils import parallel_to_aec
from pydantic import Field
from rich.console import Group, RenderableType
from torch import Tensor

from kdgym import random
from kdgym.core import SingleEnv
from kdgym.core.course import TARGET, Course, CourseEnv, draw_targets, record
from kdgym.core.population import Array, Info, common_arguments
from kdgym.envs.classroom.bids import LARGEST_LOSS, MOST_CREDITS, Bids
from kdgym.envs.classroom.parallel import ClassroomParallelEnv
from kdgym.envs.classroom.timetable import Timetable, timetable_panel, timetable_picture
from kdgym.envs.datagen.data_engines import Market, MarketSettings

__all__ = ["Classroom", "ClassroomEnv", "ClassroomSettings", "env", "parallel_env"]

_SUBJECT = 3  # keys of a subject's goals, beside those that `draw_targets` makes of them


class ClassroomSettings(MarketSettings):
    """Arguments of `Classroom`; see there."""

    num_teachers: int = Field(3, ge=1, le=64)
    subjects: tuple[tuple[str, ...], ...] | None = None
    mixing: float = Field(0.0, ge=0, le=1)
    sources: int = Field(1, ge=1, le=16)
    max_targets: int = Field(2, ge=1)


class Classroom(CourseEnv):
    """Teach beside other teachers: bid for the student's time, and plan what to do with it.

    ## Description
    A student as in DataGen (`kdgym.envs.datagen.skill_list.SkillList`), and N teachers. Each owns a *subject*, a set of the
    task's skills, with goals of its own. At every step each bids credits of its purse for the student's time, and says how
    its time is split over its skills (and their sources, if ``sources`` is more than one). Time goes in proportion to bids
    (Kelly's mechanism: Johari and Tsitsiklis, Mathematics of Operations Research 29, 2004); the student trains once on the
    mixture of what all teachers made, in random order, and is examined. Where nobody bids, all get the same time.

    Here all teachers act at once and as one, which is the seat of a central planner. `parallel_env` is the same classroom for
    teachers that are separate agents (PettingZoo).

    ## Action Space
    `kdgym.envs.classroom.bids.Bids`, a ``Box(-1, 1, (N * (1 + W * M),), float32)``, teacher by teacher: W skills of the largest
    subject, M sources a skill.

    | entry of a teacher | decision | meaning |
    |---|---|---|
    | 0 | bid | b stands for ``(1 + b) ** 2`` credits, 0 to 4, as far as the purse has them; 0 is the even pace |
    | 1 ... W * M | plan | shares of its time are ``softmax(4 * plan)``; entries beyond the own skills mean nothing |

    ## Observation Space
    A ``Dict`` of float32 boxes: all of DataGen's Skill-List level (accuracy, loss, change, target, price, source_loss,
    source_loss_mean, source_spend, budget, time), and

    | key | shape | range | meaning |
    |---|---|---|---|
    | gain | (N,) | [-10, 10] | change of each subject's target-weighted score in the last step |
    | purse | (N,) | [0, 1] | share of each teacher's credits left |
    | bid | (N,) | [0, 4] | credits each paid in the last step |
    | share | (N,) | [0, 1] | share of the student's time each got in the last step |

    A teacher by itself sees its own skills in full and the others in summary: `kdgym.envs.classroom.bids.Bids.seen`.

    ## Rewards
    The common gain: mean of the teachers' gains, a gain being the change of a subject's target-weighted validation accuracy
    (``reward="accuracy"``) or of minus its loss (``"log_loss"``). A teacher that is an agent of its own gets
    ``(1 - mixing) * own gain + mixing * common gain``. ``info["gain/teacher_0"]`` and so on have all gains.

    ## Starting State
    A base student of the pool. One to ``max_targets`` target skills of every subject, with random weights that sum to 1 within
    the subject. Purses hold one credit for every step.

    ## Episode End
    ``terminated`` after ``steps`` steps (PettingZoo's ``max_cycles``). Truncated by ``max_episode_steps`` alone.

    ## Student
    As in DataGen.

    ## Budget
    ``budget`` units of money an episode, in equal allowances, as in DataGen. Purses are a second budget, which no teacher can
    overdraw; credits that are left at the end are worth nothing.

    ## Splits
    As in DataGen.

    ## Determinism
    As in DataGen.

    ## Headroom
    ``kdgym headroom ID``; ``docs/classroom.md`` shows the tables.

    ## Arguments
    * ``num_envs``: number of classrooms S.
    * ``num_teachers``: N; the task's skills are split in their order, as evenly as can be. ``subjects``: names of the skills of
      every teacher instead.
    * ``mixing``: see Rewards.
    * ``max_targets``: most target skills of a subject.
    * All arguments of `kdgym.envs.datagen.skill_list.SkillList`; ``sources`` is 1 if left out (a clean one).

    ## Version History
    * v1: four sources a skill, of hidden quality, ``sources=4``. In v0 the best rule was nearly as good as the upper bound.
    * v0: first version.
    """

    course: Course[ClassroomSettings]
    config: ClassroomSettings
    family, level = "Classroom", "Classroom"

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        common = common_arguments(settings)
        course = Course(ClassroomSettings.parse(settings))
        self._market, device = Market(course), course.students.device
        self.bids = Bids(_subjects([skill.name for skill in course.task.skills], course.config), course.config.sources)
        teachers, f32, f64 = self.bids.teachers, torch.float32, torch.float64
        self._temperature, self._places = self.bids.temperature, torch.from_numpy(self.bids.places).to(device)
        self._member = torch.zeros(len(course.task.skills), teachers, dtype=f64, device=device)
        for teacher, subject in enumerate(self.bids.subjects):
            self._member[list(subject), teacher] = teachers  # targets sum to 1 over all, and so to 1 / N over a subject
        super().__init__(
            course,
            num_envs,
            observation_space={
                **self._market.observation_space,
                "gain": spaces.Box(-LARGEST_LOSS, LARGEST_LOSS, (teachers,)),
                "purse": spaces.Box(0, 1, (teachers,)),
                "bid": spaces.Box(0, MOST_CREDITS, (teachers,)),
                "share": spaces.Box(0, 1, (teachers,)),
            },
            action_space=self.bids,
            layout={
                **self._market.layout,
                "gain": ((teachers,), f64),
                "credits": ((teachers,), f64),
                "bid": ((teachers,), f32),
                "share": ((teachers,), f32),
                "share_history": ((course.config.steps, teachers), f32),
            },
            **common,
        )
        self.metadata["subjects"] = [[self.task.skills[k].name for k in subject] for subject in self.bids.subjects]

    # --- the decision process ------------------------------------------------------------------------------------

    def _limits(self) -> dict[str, tuple[float, float]]:
        return {**super()._limits(), **self._market.limits}

    def _begin(self, rows: Tensor, restart: str) -> None:
        state, course = self.state, self.course
        if restart == "base":
            course.draw_base(state, rows)
        course.begin(state, rows, self._draw_targets(self.stream(TARGET)[rows]))
        self._market.begin(state, rows)
        for name in ("gain", "bid", "share", "share_history"):
            state[name][rows] = 0
        state["credits"][rows] = float(self.config.steps)

    def _teach(self, action: Tensor) -> tuple[Tensor, Tensor]:
        before = self._standing()
        self._market.teach(self.state, self._split_time(action))
        reward, terminated = self.course.validate(self.state)
        self.state["gain"][:] = self._standing() - before
        return reward, terminated

    def _split_time(self, action: Tensor) -> Tensor:
        """Take the bids, and give every teacher its share of the student's time: actions -> shares float64 [S, K * M]."""
        state, by_teacher = self.state, action.double().unflatten(1, (self.bids.teachers, -1))
        bid = torch.minimum((1 + by_teacher[:, :, 0]) ** 2, state["credits"])
        state["credits"][:] -= bid
        state["bid"][:] = bid
        total = bid.sum(1, keepdim=True)
        share = torch.where(total > 0, bid / total.clamp_min(torch.finfo(bid.dtype).tiny), 1 / self.bids.teachers)
        state["share"][:] = share
        record(state["share_history"], state["step"], share)
        logits = (self._temperature * by_teacher[:, :, 1:]).masked_fill(self._places < 0, -torch.inf)
        of_teacher = share.unsqueeze(2) * torch.softmax(logits, dim=2)
        shares = torch.zeros_like(state["money"])
        index = self._places.clamp_min(0).flatten().expand(len(shares), -1)
        return shares.scatter_add_(1, index, of_teacher.flatten(1))

    def _standing(self) -> Tensor:
        """What every teacher's gain is the change of: its subject's target-weighted score, float64 [S, N]."""
        worth = self.state["accuracy"] if self.config.reward == "accuracy" else -self.state["loss"]
        return (self.state["target"].double() * worth.double()) @ self._member

    def _draw_targets(self, key: Tensor) -> Tensor:
        """Every subject's own goals, each subject counting alike: float32 [rows, K], summing to 1."""
        target = torch.zeros(len(key), len(self.task.skills), device=key.device)
        for teacher, subject in enumerate(self.bids.subjects):
            most = min(self.config.max_targets, len(subject))
            goals = draw_targets(random.fold(key, _SUBJECT + teacher), len(subject), most)
            target[:, list(subject)] = goals / self.bids.teachers
        return target

    def _observe(self) -> dict[str, Tensor]:
        state = self.state
        return {
            **self.course.observe(state),
            **self._market.observe(state),
            "gain": state["gain"],
            "purse": state["credits"] / self.config.steps,
            "bid": state["bid"],
            "share": state["share"],
        }

    def hidden(self) -> dict[str, Array]:
        """See `Market.hidden`: for upper bounds only."""
        return self._market.hidden(self.state)

    # --- who got what --------------------------------------------------------------------------------------------

    def _step_info(self) -> Info:
        gains = self.state["gain"].cpu().numpy()
        return {f"gain/teacher_{i}": gains[:, i].copy() for i in range(self.bids.teachers)}

    def outcome(self) -> dict[str, Array]:
        """``gains``: change of every subject's target-weighted validation accuracy over the episode, and ``time``: each
        teacher's share of the student's; float64 [S, N].
        """
        state, steps = self.state, self.state["step"].clamp_min(1).unsqueeze(1)
        change = state["accuracy"].double() - state["accuracy_history"][:, 0].double()
        gains = (state["target"].double() * change) @ self._member
        time = state["share_history"].double().sum(1) / steps
        return {**super().outcome(), "gains": gains.cpu().numpy().copy(), "time": time.cpu().numpy().copy()}

    def timetable(self, student: int) -> Timetable:
        """Who got one student's time, and what came of it."""
        state, done = self.state, int(self.state["step"][student])
        history = state["accuracy_history"][student, : done + 1].double() * state["target"][student].double()
        return Timetable(
            share=state["share_history"][student, :done].cpu().numpy().copy(),
            score=(history @ self._member).cpu().numpy().copy(),
            credits=state["credits"][student].cpu().numpy().copy(),
            subjects=self.metadata["subjects"],
            steps=self.config.steps,
        )

    def panel(self, student: int) -> RenderableType:
        """Who got the student's time, and below it the student's skills."""
        return Group(timetable_panel(self.timetable(student)), super().panel(student))

    def frame(self, student: int) -> npt.NDArray[np.uint8]:
        """A picture of who got one student's time and what came of it, RGB [height, width, 3]."""
        return timetable_picture(self.timetable(student))


def _subjects(skills: list[str], config: ClassroomSettings) -> list[list[int]]:
    """The skills of every teacher, as numbers."""
    if config.subjects is None:
        if config.num_teachers > len(skills):
            raise ValueError(f"num_teachers is {config.num_teachers}, but the task has only {len(skills)} skills.")
        return [part.tolist() for part in np.array_split(np.arange(len(skills)), config.num_teachers)]
    given = [name for subject in config.subjects for name in subject]
    if sorted(given) != sorted(skills) or not all(config.subjects):
        raise ValueError(f"Every skill belongs to one of the subjects, and no subject is empty; skills: {skills}.")
    return [[skills.index(name) for name in subject] for subject in config.subjects]


class ClassroomEnv(SingleEnv):
    __doc__ = Classroom.__doc__
    population = Classroom


def parallel_env(
    task: str = "Math",
    num_teachers: int = 3,
    *,
    max_cycles: int | None = None,
    subjects: Sequence[Sequence[str]] | None = None,
    render_mode: str | None = None,
    **settings: Any,
) -> ClassroomParallelEnv:
    """A classroom whose teachers are agents of their own: PettingZoo's parallel interface.

    Args:
        task, num_teachers, subjects: see `Classroom`.
        max_cycles: steps of an episode; 12 if left out.
        render_mode: ``None``, ``"rgb_array"`` or ``"human"``.
        settings: `Classroom`'s others.
    """
    if max_cycles is not None:
        settings["steps"] = max_cycles
    named = None if subjects is None else tuple(map(tuple, subjects))
    given = {"task": task, "num_teachers": num_teachers, "subjects": named, **settings}
    return ClassroomParallelEnv(Classroom(1, render_mode=render_mode, autoreset=False, **given))


def env(**settings: Any) -> Any:
    """The same for agents that take turns (PettingZoo's AEC interface); they do not see each other's bids before all are in."""
    return parallel_to_aec(parallel_env(**settings))
