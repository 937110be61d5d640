"""DataGen, Skill-Tree: the teacher explores subskills and decides how much practice each gets.

After the Skill-Tree environments of DataEnvGym (Khan, Stengel-Eskin, Cho and Bansal, ICLR 2025): per skill, explore (open new
subskills) or exploit (change what the open ones get).
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from pydantic import Field
from torch import Tensor

from kdgym import random
from kdgym.core import SingleEnv
from kdgym.core.course import FIRST_PURPOSE, MAX_LOSS, Course, CourseEnv
from kdgym.core.course_settings import CourseSettings
from kdgym.core.population import Array, common_arguments
from kdgym.core.validation import checked_choices
from kdgym.envs.datagen.data_engines import another_answer, in_random_order
from kdgym.envs.datagen.subskills import split_into_regions
from kdgym.envs.datagen.tree_moves import TreeChoices, TreeMoves
from kdgym.students import Batch

_OPENING, _LESSON, _FAULTY, _ERRORS = range(FIRST_PURPOSE, FIRST_PURPOSE + 4)  # purposes of a student's random streams
_ERROR_RATE = 0.9  # of a faulty engine, as of the Skill-List's


class SkillTreeSettings(CourseSettings):
    """Arguments of `SkillTree`; see there."""

    later = ("faulty",)
    depth: int = Field(3, ge=1, le=4)
    opened: int = Field(2, ge=1, le=16)
    first_items: int = Field(20, ge=1, le=10_000)
    largest_change: int = Field(40, ge=1, le=10_000)
    faulty: float = Field(0.0, ge=0, lt=1)
    actions: Literal["box", "discrete"] = "box"


class SkillTree(CourseEnv):
    """Teach by growing a tree of subskills: the Skill-Tree level.

    ## Description
    The same students, targets, budget and splits as on the Skill-List level. The train problems of every skill are split into
    M = 2 ** ``depth`` subskills, regions of problems that have something in common (`kdgym.envs.datagen.subskills`); all are
    closed at first. At each step the teacher decides for every skill: *explore* opens ``opened`` further subskills, in an
    order drawn anew every episode, and allocates ``first_items`` items to each; *exploit* changes the allocations of the open
    ones, which never fall below 0. The student then learns as many items of every subskill as are allocated to it.
    Exploring a skill whose subskills are all open changes nothing.

    Every subskill has an engine that makes its items. With ``faulty`` a share of each skill's engines, drawn anew every
    episode and hidden, is faulty: nine of ten of their answers are wrong. All faulty engines of a skill make the same
    mistake, so a student learns it as easily as what is right.

    ## Action Space
    ``actions="box"``: `kdgym.envs.datagen.tree_moves.TreeMoves`, a ``Box(-1, 1, (K * (1 + M),), float32)``, skill by skill.
    A positive first entry explores; otherwise the other M entries, times ``largest_change``, are added to the allocations of
    the open subskills.

    ``actions="discrete"``: `kdgym.envs.datagen.tree_moves.TreeChoices`, a ``MultiDiscrete([5] * K)``: 0 keep the allocations,
    1 explore, 2 more and 3 less for every open subskill (half of ``largest_change``), 4 stop them all. `action_masks` says what
    would have an effect, bool [S, 5 * K].

    ## Observation Space
    A ``Dict`` of float32 boxes: ``accuracy``, ``loss``, ``change``, ``target``, ``budget`` and ``time`` as on the Skill-List
    level, and

    | key | shape | range | meaning |
    |---|---|---|---|
    | open | (K * M,) | [0, 1] | 1 for open subskills |
    | allocation | (K * M,) | [0, 1] | items of the next lesson, over the most items that fit into one |
    | subskill_loss | (K * M,) | [0, 10] | training loss of the items last learned there, just before they were learned |
    | subskill_spend | (K * M,) | [0, 1] | share of the whole budget spent there so far |

    Where nothing was learned yet, the loss shows the skill's validation loss at the start.

    ## Rewards
    As on the Skill-List level: change of the target-weighted validation accuracy, or of minus the validation loss.

    ## Starting State
    As on the Skill-List level; all subskills closed.

    ## Episode End
    ``terminated`` after ``steps`` steps. Truncated by ``max_episode_steps`` alone.

    ## Student
    As on the Skill-List level.

    ## Budget
    ``budget`` units of money an episode, an item costs 1. A step may spend the money left divided by the steps left;
    allocations that ask for more are all cut by the same factor.

    ## Splits
    Items come from ``train``, rewards and observations from ``validation``, `examine` asks ``test``.

    ## Determinism
    As on the Skill-List level.

    ## Headroom
    ``docs/datagen.md`` shows the table.

    ## Arguments
    * ``depth``, ``opened``, ``first_items``, ``largest_change``, ``faulty``, ``actions``: as above.
    * All others but ``sources``: as on the Skill-List level (`kdgym.envs.datagen.skill_list.SkillList`).

    ## Version History
    * v1 (Code and reasoning-gym): five of eight engines are faulty, ``faulty=0.625``. No held-out problem of reasoning-gym has
      a twin in train.
    * v0: first version. Those of Code and reasoning-gym are closed: what `tree_target` does was nearly the best that can be
      done, and held-out problems of reasoning-gym have commuted and reordered twins in train.
    """

    course: Course[SkillTreeSettings]
    config: SkillTreeSettings
    family, level = "DataGen", "SkillTree"

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        common = common_arguments(settings)
        course = Course(SkillTreeSettings.parse(settings))
        config, device = course.config, course.students.device
        skills, subskills = len(course.task.skills), 2**config.depth
        regions = split_into_regions(course.task, config.depth)
        self._problems = regions.problems.to(device)
        self._place = torch.stack([regions.start.flatten(), regions.count.flatten()]).to(device)
        self._solution = course.task.solution.to(device)
        answers = course.task.answer_pool
        self._answers = torch.stack([answers.start, answers.count]).repeat_interleave(subskills, dim=1).to(device)
        self._shape, pairs = (skills, subskills), skills * subskills
        box = TreeMoves(skills, subskills, config.largest_change / course.step_items)
        self._choices = TreeChoices(skills)
        unit = spaces.Box(0, 1, (pairs,))
        super().__init__(
            course,
            num_envs,
            observation_space={
                "open": unit,
                "allocation": unit,
                "subskill_loss": spaces.Box(0, MAX_LOSS, (pairs,)),
                "subskill_spend": unit,
            },
            action_space=box if config.actions == "box" else self._choices,
            layout={
                "open": (self._shape, torch.int64),
                "turn": (self._shape, torch.int64),
                "allocation": (self._shape, torch.int64),
                "subskill_loss": ((pairs,), torch.float32),
                "money": ((pairs,), torch.float64),
                **({"faulty": (self._shape, torch.int64)} if config.faulty else {}),
            },
            **common,
        )

    def _begin(self, rows: Tensor, restart: str) -> None:
        state, (skills, subskills) = self.state, self._shape
        if restart == "base":
            self.course.draw_base(state, rows)
        self.course.begin(state, rows, self.course.draw_targets(state, rows))
        turn = random.bits(self.stream(_OPENING)[rows], skills * subskills).view(-1, skills, subskills)
        state["turn"][rows] = turn.argsort(dim=2).argsort(dim=2)
        for name in ("open", "allocation", "money"):
            state[name][rows] = 0
        if self.config.faulty:
            drawn = random.bits(self.stream(_FAULTY)[rows], skills * subskills).view(-1, skills, subskills)
            order = drawn.argsort(dim=2).argsort(dim=2)
            state["faulty"][rows] = (order < round(self.config.faulty * subskills)).long()
        state["subskill_loss"][rows] = state["loss"][rows].repeat_interleave(subskills, dim=1)

    def _teach(self, action: Tensor) -> tuple[Tensor, Tensor]:
        explore, change = self._decide(action)
        self._grow(explore, change)
        state, course, size = self.state, self.course, self.course.step_items
        wanted = state["allocation"].flatten(1).double()
        room = course.allowance(state).clamp_max(size).unsqueeze(1) / wanted.sum(1, keepdim=True).clamp_min(1)
        count = torch.floor(wanted * room.clamp_max(1)).long()
        order, which = random.bits(self.stream(_LESSON, state["step"]), 2 * size).view(-1, 2, size).unbind(1)
        region = in_random_order(count, order)
        first, number = self._place[:, region]
        problem = self._problems[first + random.to_integers(which, number)]
        item_loss = course.train(state, Batch(problem, self._answer(problem, region), count.sum(1)))
        loss = torch.zeros_like(state["money"]).scatter_add_(1, region, item_loss)
        last = (loss / count.clamp_min(1)).float().clamp(0, MAX_LOSS)
        state["subskill_loss"][:] = torch.where(count > 0, last, state["subskill_loss"])
        state["money"][:] += count
        course.pay(state, count.sum(1), count.double().unflatten(1, self._shape).sum(2))
        return course.validate(state)

    def _answer(self, problem: Tensor, region: Tensor) -> Tensor:
        """What the engines of the subskills ``region`` say is right, int64 [S, N]."""
        right = self._solution[problem]
        if not self.config.faulty:
            return right
        error = random.bits(self.stream(_ERRORS, self.state["step"]), right.shape[1])
        shift = random.bits(self.stream(_ERRORS), self._shape[0]).gather(1, region // self._shape[1])
        first, answers = self._answers[:, region]
        wrong = another_answer(right, first, answers, shift)
        fails = self.state["faulty"].flatten(1).gather(1, region) * _ERROR_RATE
        return torch.where(random.to_uniform(error) < fails, wrong, right)

    def hidden(self) -> dict[str, Array]:
        """For upper bounds only: which subskills have a faulty engine, ``faulty``, bool [S, K * M]."""
        faulty = self.state["faulty"] if self.config.faulty else torch.zeros(self.num_envs, *self._shape)
        return {"faulty": faulty.flatten(1).bool().cpu().numpy().copy()}

    def _decide(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """Which skills explore, bool [S, K], and by how much the others change, int64 [S, K, M]."""
        skills, subskills = self._shape
        if self.config.actions == "box":
            given = action.view(-1, skills, 1 + subskills)
            return given[:, :, 0] > 0, torch.round(given[:, :, 1:] * self.config.largest_change).long()
        choice, step, moves = action.long().unsqueeze(2), (self.config.largest_change + 1) // 2, TreeChoices
        change = step * ((choice == moves.MORE).long() - (choice == moves.LESS).long())
        change = torch.where(choice == moves.STOP, -self.state["allocation"], change)
        return choice.squeeze(2) == moves.EXPLORE, change.expand(-1, -1, subskills)

    def _grow(self, explore: Tensor, change: Tensor) -> None:
        state, opened = self.state, self.state["open"]
        turn = torch.where(opened > 0, self._shape[1], state["turn"])  # of the closed ones, whose turn is first
        new = explore.unsqueeze(2) & (opened == 0) & (turn.argsort(dim=2).argsort(dim=2) < self.config.opened)
        exploited = (state["allocation"] + change * opened).clamp(0, self.course.step_items)
        kept = torch.where(explore.unsqueeze(2), state["allocation"], exploited)
        state["allocation"][:] = torch.where(new, self.config.first_items, kept).clamp_max(self.course.step_items)
        state["open"][:] = opened | new

    def _observe(self) -> dict[str, Tensor]:
        state = self.state
        return {
            **self.course.observe(state),
            "open": state["open"].flatten(1).float(),
            "allocation": state["allocation"].flatten(1) / self.course.step_items,
            "subskill_loss": state["subskill_loss"],
            "subskill_spend": state["money"] / self.config.budget,
        }

    # --- discrete actions ----------------------------------------------------------------------------------------

    def _receive(self, actions: Array) -> Tensor:
        if self.config.actions == "box":
            return super()._receive(actions)
        return torch.from_numpy(checked_choices(actions, self.num_envs, self._choices)).to(self.device)

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Which discrete choices would have an effect, bool [S, 5 * K]; keeping is always possible."""
        opened, allocation = (self.state[name].flatten(1).cpu().numpy() for name in ("open", "allocation"))
        return self._choices.masks(opened, allocation)


class SkillTreeEnv(SingleEnv):
    __doc__ = SkillTree.__doc__
    population = SkillTree

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """See `SkillTree.action_masks`: bool [5 * K], as sb3-contrib's ``MaskablePPO`` asks for."""
        students = self.students
        assert isinstance(students, SkillTree)
        masks: npt.NDArray[np.bool_] = students.action_masks()[0]
        return masks
