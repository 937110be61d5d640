"""DataGen, Open-Ended: the teacher writes the training items itself.

After the Open-Ended environments of DataEnvGym (Khan, Stengel-Eskin, Cho and Bansal, ICLR 2025): no skill has a name, the
teacher sees what the student got wrong and writes what it should learn.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from kdgym import random
from kdgym.core import SingleEnv, ledger
from kdgym.core.course import FIRST_PURPOSE, Course, CourseEnv
from kdgym.core.course_settings import CourseSettings
from kdgym.core.fields import Layout
from kdgym.core.population import Array, Info, common_arguments
from kdgym.envs.datagen.data_engines import shuffle
from kdgym.envs.datagen.engines import NAMES, Engines
from kdgym.envs.datagen.written_items import MOST_CHARACTERS, REASONS, WrittenLesson, read_lesson
from kdgym.spaces import JsonText
from kdgym.students import Batch, Tables, is_language_model

_PROBE, _DRAW, _ENGINES, _MAKER, _ASKED = range(
    FIRST_PURPOSE, FIRST_PURPOSE + 5
)  # purposes of a student's random streams


class OpenEndedSettings(CourseSettings):
    """Arguments of `OpenEnded`; see there."""

    later = ("engines", "engine_errors", "checks")
    errors: int = Field(32, ge=1, le=256)
    engines: int = Field(1, ge=1, le=len(NAMES))
    engine_errors: float = Field(0.7, ge=0, le=1)
    checks: int = Field(4, ge=0, le=256)


class OpenEnded(CourseEnv):
    """Teach by writing training items: the Open-Ended level.

    ## Description
    The same students, targets, budget and splits as on the Skill-List level, but nobody tells the teacher what the skills are,
    and the teacher writes items itself or orders real ones. With ``engines=5`` these come from five data engines: in every
    skill one is sound, and the others are often wrong. Which one is sound is hidden and drawn anew every episode. Faulty
    engines share their wrong answers, so that agreement proves nothing.

    After every step the student tries practice problems, drawn from the *train* split in proportion to the targets; its errors
    are shown. (Not validation errors: copying those back would be training on the examination.) The teacher answers with a
    list of items, which the student learns once each, in random order. Wrong answers are learned as well, the teacher's own
    and the engines'.

    ## Action Space
    ``Text``: a JSON list. ``{"problem": ..., "answer": "..."}`` is an item of the teacher's own, a problem written as in the
    errors shown (a sentence; for pictures ``{"cells": [...], "question": "..."}``, see `kdgym.tasks.vqa.task.VQA.render`).
    ``{"draw": n}`` buys n real items: random problems of the train split with their right answers. ``{"draw": n, "like":
    problem}`` buys n others of that problem's kind: DataEnvGym's data specification, carried out by an engine. With several
    engines their answers may be wrong; ``"engine": "B"`` in a draw chooses one, and without it every item comes from any.

    Every item read costs 1, refused or not. What is refused, and why, is in ``info``: no JSON, a malformed item, no problem of
    this task, a problem held out for examinations, no possible answer, over budget. ``items/verified`` is the share of accepted
    items that are right; with several engines, of those that the teacher wrote.

    ## Observation Space
    ``Text``: a JSON object.

    | key | meaning |
    |---|---|
    | score | target-weighted validation accuracy, [0, 1] |
    | change | score minus score one step ago |
    | items | how many items the step's allowance pays for |
    | steps_left | steps until the end |
    | practice | how many practice problems were tried, and how many were right |
    | engines | only with several: their names |
    | errors | up to ``errors`` of the wrong ones: ``problem``, the student's ``given`` answer, the ``right`` answer |
    | wrong_rules | only with ``misconceptions``: what practice says about each known wrong rule |

    With several engines the first ``checks`` errors also have ``engine``, a name drawn at random, and ``engine_answer``: what
    this engine says to that problem, and would sell with it. A sound engine says what is right, a faulty one sometimes.

    Of every wrong rule known of the task, the student's own or not, ``wrong_rules`` tells its ``description``, on how many
    practice problems it is wrong (``asked``), and how many of those the student answered as it says (``followed``).

    ## Rewards
    As on the Skill-List level: change of the target-weighted validation accuracy, or of minus the validation loss.

    ## Starting State
    As on the Skill-List level.

    ## Episode End
    ``terminated`` after ``steps`` steps. Truncated by ``max_episode_steps`` alone.

    ## Student
    As on the Skill-List level.

    ## Budget
    ``budget`` units of money an episode, an item costs 1; a step's allowance is the money left divided by the steps left.

    ## Splits
    Practice problems and drawn items come from ``train``; an item whose problem belongs to another split is refused. Rewards
    come from ``validation``, `examine` asks ``test``.

    ## Determinism
    As on the Skill-List level.

    ## Headroom
    ``docs/datagen.md`` shows the table.

    ## Arguments
    * ``errors``: practice problems of a step.
    * ``engines``: data engines, up to 16; one alone makes no mistakes. ``engine_errors``: share of the problems that a faulty
      one answers wrongly. ``checks``: errors of a step beside which an engine's answer is shown.
    * All others but ``sources``: as on the Skill-List level (`kdgym.envs.datagen.skill_list.SkillList`).

    ## Version History
    * v1: real items come from five engines, four of which are often wrong; with reasoning-gym, no held-out problem has a twin
      in train. Programs have no v1.
    * v0: first version, one flawless engine. All but that of programs are closed: the best rule stands at the upper bound, and
      with reasoning-gym held-out problems have commuted and reordered twins in train.
    """

    course: Course[OpenEndedSettings]
    config: OpenEndedSettings
    family, level = "DataGen", "OpenEnded"
    skills_are_named = False
    recorded = False  # a lesson is read on the host

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        common = common_arguments(settings)
        course = Course(OpenEndedSettings.parse(settings))
        self._lessons = [WrittenLesson() for _ in range(num_envs)]
        pool, device = course.task.pool("train"), course.students.device
        self._train_problems = pool.start.to(device), pool.count.to(device)
        self._solution = course.task.solution.to(device)
        n, tokens, number = course.config.errors, course.students.answer_width, course.config.engines
        self._engines = Engines(course.task, number, course.config.engine_errors, device) if number > 1 else None
        asked: Layout = {} if self._engines is None else {"asked": ((n,), torch.int64)}
        super().__init__(
            course,
            num_envs,
            observation_space={},
            action_space=JsonText(MOST_CHARACTERS, example="draw"),
            layout={"probe": ((n,), torch.int64), "given": ((n, tokens), torch.int64), **asked},
            text_space=JsonText(MOST_CHARACTERS, example="score"),
            **common,
        )

    # --- the decision process ------------------------------------------------------------------------------------

    def _limits(self) -> dict[str, tuple[float, float]]:
        first, number = self._train_problems
        tokens = torch.inf if is_language_model(self.config.student) else self.task.vocabulary - 1
        own = {
            "probe": (int(first.min()), int((first + number).max()) - 1),
            "given": (0, tokens),
            "asked": (0, self.config.engines - 1),
        }
        return {**super()._limits(), **own}

    def _begin(self, rows: Tensor, restart: str) -> None:
        if restart == "base":
            self.course.draw_base(self.state, rows)
        self.course.begin(self.state, rows, self.course.draw_targets(self.state, rows))
        self._practise(rows, 0)

    def _receive(self, actions: Any) -> Tensor:
        """Read what the teachers wrote."""
        many = isinstance(actions, list | tuple) or (isinstance(actions, np.ndarray) and actions.ndim == 1)
        texts = list(actions) if many else [actions]
        if len(texts) != self.num_envs or not all(isinstance(text, str) for text in texts):
            given = f"{len(texts)} of {type(actions).__name__}" if many else f"one {type(actions).__name__}"
            raise ValueError(f"The actions are {given}; give {self.num_envs} texts.")
        for i, text in enumerate(texts):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise ValueError(
                    f"The text of student {i} has half of a surrogate pair in it; leave it out."
                ) from error
        most = torch.floor(self.course.allowance(self.state)).long().clamp(0, self.course.step_items).tolist()
        engines = self._engines.names if self._engines else ""
        self._lessons = [read_lesson(self.task, str(text), n, engines) for text, n in zip(texts, most, strict=True)]
        return torch.tensor([lesson.processed for lesson in self._lessons], device=self.device)

    def _teach(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """``action``: how many items of each teacher were read, int64 [S]."""
        state, course, size, task = self.state, self.course, self.course.step_items, self.task
        written = torch.tensor([len(lesson.answer) for lesson in self._lessons], device=self.device)
        drawn = torch.tensor([lesson.drawn for lesson in self._lessons], device=self.device)
        total, place = written + drawn, torch.arange(size, device=self.device)
        bits, order = random.bits(self.stream(_DRAW, state["step"]), 2 * size).view(-1, 2, size).unbind(1)
        own = (written.cumsum(0) - written).unsqueeze(1) + place  # behind the task's own problems and answers
        skill, other, engine = self._wanted(written)
        mine, real = place < written.unsqueeze(1), self._draw(bits, skill, other)
        problem = torch.where(mine, len(task.prompt) + own, real)
        answer = torch.where(mine, len(task.answer) + own, self._made(real, engine))
        shuffled = shuffle(order, total)
        course.train(state, Batch(problem.gather(1, shuffled), answer.gather(1, shuffled), total), self._tables())
        # Nobody says what skill an item is for, so the picture of the lesson shows the money spread over all.
        course.pay(state, total, (action.double().unsqueeze(1) / len(task.skills)).expand(-1, len(task.skills)))
        ledger.charge(state["ledger"], "teacher", items=action)
        self._practise(slice(None), 1)
        return course.validate(state)

    def _observe(self) -> dict[str, Tensor]:
        return self.course.observe(self.state)

    def _wanted(self, written: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of which skill every item is to be, which problem it is not to be, and from which engine: int64 [S, lesson size]
        each, -1 for any.
        """
        wanted = torch.full((self.num_envs, self.course.step_items, 3), -1)
        for i, (lesson, first) in enumerate(zip(self._lessons, written.tolist(), strict=True)):
            if lesson.asked:
                wanted[i, first : first + len(lesson.asked)] = torch.tensor(lesson.asked)
        skill, other, engine = wanted.to(self.device).unbind(2)
        return skill, other, engine

    def _made(self, problem: Tensor, engine: Tensor) -> Tensor:
        """Answers that engines give with real problems [S, N]; which engine, where it is -1, is drawn."""
        if self._engines is None:
            return self._solution[problem]
        anyone = random.integers(self.stream(_MAKER, self.state["step"]), problem.shape[1], len(self._engines.names))
        return self._engines.answers(self.stream(_ENGINES), torch.where(engine < 0, anyone, engine), problem)

    def _tables(self) -> Tables:
        """The task's problems and answers, and behind them those that teachers wrote for this step."""
        task, lessons = self.task, self._lessons
        prompts = torch.stack([task.prompt[0], *(prompt for lesson in lessons for prompt in lesson.prompt)])[1:]
        answers = torch.stack([task.answer[0], *(answer for lesson in lessons for answer in lesson.answer)])[1:]
        scene, scenes = None, None
        if task.scene is not None and task.scenes is not None:
            images = torch.stack([task.scenes[0], *(image for lesson in lessons for image in lesson.image)])[1:]
            scene = torch.cat([task.scene, len(task.scenes) + torch.arange(len(images))]).to(self.device)
            scenes = torch.cat([task.scenes, images]).to(self.device)
        prompts, answers = (torch.cat(pair) for pair in ((task.prompt, prompts), (task.answer, answers)))
        written = tuple(item for lesson in lessons for item in lesson.text)
        return Tables(prompts.to(self.device), answers.to(self.device), scene, scenes, task.pixel_scale, written)

    def _draw(self, bits: Tensor, skill: Tensor, other: Tensor) -> Tensor:
        """Problems of the train split, one for each random number; of any skill where it is -1, and not ``other``."""
        starts, counts = self._train_problems
        skill = torch.where(skill < 0, random.to_integers(random.fold(bits, 1), len(counts)), skill)
        start, count = starts[skill], counts[skill]
        problem = start + random.to_integers(bits, count)
        return torch.where(problem == other, start + (problem + 1 - start) % count, problem)

    def _practise(self, rows: Tensor | slice, after: int) -> None:
        """Try problems of the train split, by target, ``after`` the step or before any; charged as the student's inference."""
        state, n = self.state, self.config.errors
        bits, place = random.bits(self.stream(_PROBE, state["step"])[rows], 2 * n).view(-1, 2, n).unbind(1)
        goal = state["target"][rows].double().cumsum(1)
        skill = torch.searchsorted(goal, random.to_uniform(place) * goal[:, -1:], right=True)
        probe = self._draw(bits, skill.clamp_max(goal.shape[1] - 1), torch.full_like(skill, -1))
        state["probe"][rows] = probe
        state["given"][rows] = self.students.decode(state["student"][rows], probe)
        if self._engines is not None:
            asked = self.stream(_ASKED, state["step"] + after)[rows]
            state["asked"][rows] = random.integers(asked, n, len(self._engines.names))
        self.course.charge_inference(state, rows, probe)

    # --- text ----------------------------------------------------------------------------------------------------

    def _present(self, observation: dict[str, Array]) -> tuple[str, ...]:
        score = (observation["target"] * observation["accuracy"]).sum(1)
        change = (observation["target"] * observation["change"]).sum(1)
        over = self.state["step"] >= self.config.steps
        items = torch.where(over, 0, self.course.allowance(self.state).clamp(0, self.course.step_items)).long().tolist()
        return tuple(
            json.dumps(
                {
                    "score": round(float(score[i]), 4),
                    "change": round(float(change[i]), 4),
                    "items": items[i],
                    "steps_left": self.config.steps - int(self.state["step"][i]),
                    **({} if self._engines is None else {"engines": list(self._engines.names)}),
                    **self._practice(i, said),
                }
            )
            for i, said in enumerate(self._said())
        )

    def _said(self) -> list[list[dict[str, str]]]:
        """What the engine that is asked says about every practice problem, S x [errors]; nothing where there is one alone."""
        if self._engines is None:
            return [[{}] * self.config.errors] * self.num_envs
        names, asked = self._engines.names, self.state["asked"]
        answers = self._engines.answers(self.stream(_ENGINES), asked, self.state["probe"])
        return [
            [{"engine": names[e], "engine_answer": self.task.answer_text(a)} for e, a in zip(*row, strict=True)]
            for row in zip(asked.tolist(), answers.tolist(), strict=True)
        ]

    def _practice(self, student: int, engine_said: list[dict[str, str]]) -> dict[str, Any]:
        task, students, probe, given = (
            self.task,
            self.students,
            self.state["probe"][student],
            self.state["given"][student],
        )
        right, said, probe = students.judge(probe, given).cpu(), students.text_of(given), probe.cpu()
        errors = [
            {
                "problem": task.write_problem(int(probe[j])),
                "given": said[j],
                "right": task.answer_text(int(task.solution[probe[j]])),
                **(engine_said[j] if place < self.config.checks else {}),
            }
            for place, j in enumerate(torch.nonzero(~right).flatten().tolist())
        ]
        practice = {"practice": {"tried": len(probe), "right": int(right.sum())}, "errors": errors}
        return practice | self._wrong_rules(student)

    def _wrong_rules(self, student: int) -> dict[str, Any]:
        """What the practice problems say about each of the task's misconceptions: known rules, not the student's own."""
        misconceptions = self.course.misconceptions
        if misconceptions is None:
            return {}
        asked, followed = misconceptions.followed(self.state["probe"][student], self.state["given"][student])
        counts = zip(self.task.misconceptions, asked.sum(1).tolist(), followed.sum(1).tolist(), strict=True)
        rules = {m.name: {"description": m.description, "asked": n, "followed": f} for m, n, f in counts}
        return {"wrong_rules": rules}

    def hidden(self) -> dict[str, Array]:
        """What the episode hides, for upper bounds only: ``target``, the weight of every skill, float32 [S, K]; and with
        several engines ``sound``, which one makes no mistakes in each skill, int64 [S, K].
        """
        sound = {} if self._engines is None else {"sound": self._engines.sound(self.stream(_ENGINES))}
        return {name: of.cpu().numpy().copy() for name, of in ({"target": self.state["target"]} | sound).items()}

    def _step_info(self) -> Info:
        """What became of the items, [S] each, and the first refusals in words."""
        lessons = self._lessons
        counts = {f"items/rejected/{why}": np.array([lesson.rejected[why] for lesson in lessons]) for why in REASONS}
        written, right, drawn = (
            np.array([count(lesson) for lesson in lessons])
            for count in (lambda one: len(one.answer), lambda one: sum(one.right), lambda one: one.drawn)
        )
        sound = drawn if self._engines is None else 0  # with several, which drawn items are right is hidden
        explained = np.array(["\n".join(lesson.explained) for lesson in lessons], dtype=object)
        verified = (right + sound) / np.maximum(written + sound, 1)
        told = {"items/accepted": written + drawn, "items/verified": verified, "items/explained": explained}
        return {**told, **counts}


class OpenEndedEnv(SingleEnv):
    __doc__ = OpenEnded.__doc__
    population = OpenEnded
