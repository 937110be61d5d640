"""Feedback: students practise by reinforcement, and the teacher decides which of their attempts to comment on, and how.

After ThinkTuning (RRV et al., EMNLP 2025), where a fixed fraction of a student's GRPO rollouts gets a teacher's feedback; here
the fraction, the attempts, the feedback and its weight in the loss are the teacher's action.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from gymnasium import spaces
from torch import Tensor

from kdgym.core import SingleEnv, ledger
from kdgym.core.course import FIRST_PURPOSE, MAX_LOSS, Course, CourseEnv
from kdgym.core.population import Array, common_arguments
from kdgym.core.validation import checked_choices
from kdgym.envs.feedback.questions import Questions
from kdgym.envs.feedback.reliability import Reliability
from kdgym.envs.feedback.settings import FeedbackSettings
from kdgym.envs.feedback.tutoring_moves import TutoringMoves
from kdgym.spaces import MixedBox
from kdgym.students import is_language_model
from kdgym.students.base_students.pool import draw_numbers
from kdgym.students.policy_gradient import SHAPINGS, Objective, Rollouts, group_advantages, grpo_loss, pick
from kdgym.students.practice import COLUMNS, Attempts, Commentator, Practitioners, ask, attempt, summary, tally, uniform
from kdgym.students.tiny.habits import Carelessness, careless_students
from kdgym.tasks.feedback import WHICH, GivenFeedback, choose_attempts, give_feedback
from kdgym.tasks.scratchpad import Scratchpad

# Purposes of a student's random streams.
_PLACEMENT, _ATTEMPT, _CHOICE, _CONTINUATION, _RELIABILITY = range(FIRST_PURPOSE, FIRST_PURPOSE + 5)
# Base students who rarely succeed alone, and such who often do.
CARELESSNESS = {
    "rarely": Carelessness(18_432, habits=0.4, habit=(0.55, 0.8), slip=(0.02, 0.2)),
    "often": Carelessness(22_528, habits=0.25, habit=(0.2, 0.45), slip=(0.02, 0.1)),
}
LEVELS = {"fraction": 5, "length": 4, "weight": 3}  # of the discrete actions' amounts
_SPENT = ("rollout_tokens", "guided_tokens", "feedback_tokens", "updates")


@dataclass(frozen=True)
class Decision:
    """One entry a student, [S]: amounts within [0, 1], or whole steps (``length``), and choices as indices."""

    fraction: Tensor
    which: Tensor
    kind: Tensor
    length: Tensor
    shaping: Tensor
    weight: Tensor

    @classmethod
    def of(cls, moves: MixedBox, action: Tensor, most: int) -> Decision:
        """An action [S, n] of `moves`; ``most`` steps of feedback are the longest."""
        parts = action.split([max(1, len(options)) for options in moves.choices.values()], dim=1)
        decision = {
            name: part.argmax(1) if options else (part.squeeze(1) + 1) / 2
            for (name, options), part in zip(moves.choices.items(), parts, strict=True)
        }
        decision["length"] = 1 + (decision["length"] * most).long().clamp_max(most - 1)
        return cls(**decision)


class Feedback(CourseEnv):
    """Teach by commenting on a student's own attempts.

    ## Description
    Each student is a small transformer that writes out arithmetic in steps, ``35 + 4 - 3`` as ``+4=43;-3=40.`` in base 6, and
    has bad habits: it knows every step, and yet copies a wrong operator or operand, miscounts, or forgets a carry, each in its
    own way and often enough to fail (`kdgym.students.tiny.habits`). It practises by GRPO: at every update it tries one
    problem of each of K skills G times, by sampling; attempts at one problem are a group, their reward is whether the final
    answer is right, their advantage the reward's deviation from the group. The teacher decides for a whole step, ``updates``
    updates, which attempts to comment on and how. After a comment the student goes on writing, and this guided attempt takes
    the place of its own in the group (`kdgym.tasks.feedback`). The teacher's tokens enter the loss by a shaping of its choice
    (`kdgym.students.policy_gradient`).

    With ``faulty``, so many of the three kinds of feedback that show a solution are wrong. They show it with a mistake of one
    kind in every step, and all of them make the same (`kdgym.tasks.scratchpad.Scratchpad.careless`). Which kinds are wrong, and
    the mistake, is drawn ``shifts`` times an episode (`kdgym.envs.feedback.reliability`). Rewards of attempts are always right,
    so a student that follows wrong feedback fails, and its success after each kind tells whom to trust.

    ## Action Space
    ``actions="box"``: `kdgym.spaces.MixedBox`, a ``Box(-1, 1, (15,), float32)``:

    | entries | decision | meaning |
    |---|---|---|
    | 0 | fraction | of each group to comment on, from none at -1 to all at 1 |
    | 1-4 | which | the largest counts: wrong, mixed, random, stuck (`kdgym.tasks.feedback.choose_attempts`) |
    | 5-8 | kind | the largest counts: mark, next_step, prefix, full_solution |
    | 9 | length | of next_step and prefix, from one step at -1 to all of them at 1 |
    | 10-13 | shaping | the largest counts: mask, plain, ratio, advantage_aware |
    | 14 | weight | of the teacher's tokens in the loss, from 0 at -1 to 1 at 1 |

    ``actions="discrete"``: ``MultiDiscrete([5, 4, 4, 4, 4, 3])``, the same decisions; amounts are evenly spaced levels.

    ## Observation Space
    A ``Dict`` of float32 boxes; K skills, by number of steps and whether any carries:

    | key | shape | range | meaning |
    |---|---|---|---|
    | accuracy | (K,) | [0, 1] | unguided greedy accuracy on the episode's validation items |
    | loss | (K,) | [0, 10] | loss of their written-out solutions, nats a token |
    | change | (K,) | [-1, 1] | accuracy minus accuracy one step ago |
    | target | (K,) | [0, 1] | how much each skill counts: all alike |
    | success | (K,) | [0, 1] | share of the student's own sampled attempts in the last step that were right |
    | guided_success | (K,) | [0, 1] | share of the guided attempts that ended right; 0 where there were none |
    | no_signal | (K,) | [0, 1] | share of the groups that ended all right or all wrong |
    | entropy | (K,) | [0, 10] | mean surprise at the own tokens, an estimate of the entropy, nats |
    | errors | (K * 5,) | [0, 1] | share of the attempts whose first error was of each kind (`kdgym.tasks.scratchpad.ERRORS`) |
    | feedback | (1,) | [0, 1] | share of the budget spent on feedback so far |
    | budget | (1,) | [0, 1] | share of the budget left |
    | time | (1,) | [0, 1] | share of the steps left |

    ## Rewards
    Change of the validation accuracy, mean over the skills (``reward="accuracy"``), or of minus the validation loss
    (``"log_loss"``), minus ``feedback_cost`` times the share of the budget that this step's feedback took.

    ## Starting State
    A base student of the pool (``succeed="rarely"``: about a fifth of the answers are right; ``"often"``: most are), fresh
    optimiser. What the teacher sees first is from one round of attempts that are neither paid for nor learned from.
    ``reset(options={"restart": "continue"})`` keeps the weights.

    ## Episode End
    ``terminated`` after ``steps`` steps. Truncated by ``max_episode_steps`` alone.

    ## Student
    As in DataGen (12 thousand weights), sampled at temperature 1 with a key-value cache.

    ## Budget
    ``budget`` tokens an episode: of attempts, of what follows feedback, and of feedback at ``price`` each. An update may spend
    what is left divided by the updates left; groups are held one after another as long as it lasts. The default lets a silent
    teacher hold nearly all; whoever speaks holds fewer. Infos itemise a step: ``practice/rollout_tokens`` of attempts,
    ``guided_tokens`` of what follows feedback, ``feedback_tokens``, and ``updates`` that anything was learned from.

    ## Splits
    Students practise on ``train``, rewards and observations come from ``validation``, `examine` asks ``test``; no problem
    continues one of another split. No feedback is ever given in an examination. Hidden are the kinds that are wrong, their
    mistake, and when they change: no observation or info has them.

    ## Determinism
    Equal settings, seeds, actions and population give bitwise equal observations on one machine at one thread. Another
    population may differ by rounding, which may change a sampled token.

    ## Headroom
    ``docs/feedback.md`` shows the tables.

    ## Arguments
    * ``num_envs``: number of students S; ``task_options``: of `kdgym.tasks.scratchpad.Scratchpad`.
    * ``pool``: base students, ``"train"`` or ``"evaluation"``; ``succeed``: ``"rarely"`` or ``"often"``.
    * ``steps``, ``updates``, ``group``: steps of an episode, updates of a step, attempts G of a group.
    * ``budget``, ``price``, ``feedback_cost``: as above.
    * ``learning_rate``, ``epochs``, ``clip``, ``kl``: of GRPO: ``epochs`` AdamW steps an update, ``kl`` weighs the divergence
      from the base student; ``shaping_constant``: c of pi / (pi + c).
    * ``faulty``: kinds of feedback that are wrong at any time, 0 to 3; ``shifts``: how often an episode draws which.
    * ``validation_items``: a skill; ``reward``, ``actions``: as above; the rest: see `kdgym.core.population.PopulationEnv`.

    ## Version History
    * v1: two kinds of feedback are wrong, drawn three times; no held-out problem has its steps in another order in train.
    * v0: first version.
    """

    course: Course[Any]
    config: FeedbackSettings
    family, level, currency = "Feedback", "Practice", "tokens"
    arguments: ClassVar[type[FeedbackSettings]] = FeedbackSettings
    asks: ClassVar[bool] = False  # whether a pupil decides which attempts may get feedback
    recorded = False  # how many attempts are continued is known on the host alone
    students: Practitioners

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        common = common_arguments(settings)
        course: Course[Any] = Course(self.arguments.parse(settings))
        config, students, k = course.config, _practitioners(course), len(course.task.skills)
        self.objective = Objective(config.clip, config.kl, config.shaping_constant)
        named = {"which": WHICH, "kind": students.kinds, "length": (), "shaping": SHAPINGS, "weight": ()}
        self.moves = MixedBox({"fraction": (), **named})
        action_space: spaces.Space[Any] = self.moves
        if config.actions == "discrete":
            levels = [LEVELS.get(name, len(options)) for name, options in self.moves.choices.items()]
            action_space = spaces.MultiDiscrete(levels)
        self._questions = Questions(course, students) if self.asks else None
        self._reliability = _reliability(course)
        if self._questions:
            action_space = TutoringMoves(k, self.moves.choices)
        shown = {"success": k, "guided_success": k, "no_signal": k, "entropy": k, "errors": k * len(students.errors)}
        self._shown = tuple(shown)
        super().__init__(
            course,
            num_envs,
            observation_space={
                **{name: spaces.Box(0, MAX_LOSS if name == "entropy" else 1, (n,)) for name, n in shown.items()},
                "feedback": spaces.Box(0, 1, (1,)),
                **(self._questions.observation_space if self._questions else {}),
            },
            action_space=action_space,
            layout={
                **{name: ((n,), torch.float32) for name, n in shown.items()},
                "base": ((students.weights if config.kl else 0,), students.dtype),
                "feedback": ((), torch.float64),
                **(self._questions.layout if self._questions else {}),
                **(self._reliability.layout if self._reliability else {}),
            },
            **common,
        )
        errors = [f"{skill.name}: {kind}" for skill in course.task.skills for kind in students.errors]
        self.metadata["fields"] = [{"name": "errors", "entries": errors}]
        self.commentator: Commentator | None = None
        self._spent = torch.zeros(num_envs, 4, dtype=torch.float64, device=self.device)

    def _limits(self) -> dict[str, tuple[float, float]]:
        return {**super()._limits(), **(self._reliability.limits if self._reliability else {})}

    # --- the decision process ------------------------------------------------------------------------------------

    def _begin(self, rows: Tensor, restart: str) -> None:
        state, skills = self.state, len(self.task.skills)
        if restart == "base":
            self._draw_base(rows)
        self.course.begin(state, rows, torch.full((len(rows), skills), 1 / skills, device=self.device))
        for name in ("feedback", *self._shown):
            state[name][rows] = 0
        if self._questions:
            self._questions.begin(state, rows)
        if self._reliability:
            self._reliability.begin(state, rows, self.stream(_RELIABILITY)[rows])
        state["base"][rows] = state["student"][rows, : state["base"].shape[1]]
        key, group = self.stream(_PLACEMENT)[rows], self.config.group
        first = attempt(self.students, state["student"][rows], key, group, self.config.problems)
        nothing = torch.zeros_like(first.right)
        self._show(rows, tally(self.students, first, nothing, first.right, nothing, ~nothing[:, :, 0]))
        self.course.charge_inference(state, rows, first.problem)

    def _teach(self, action: Tensor) -> tuple[Tensor, Tensor]:
        state, config, questions = self.state, self.config, self._questions
        if questions:
            action = questions.ask(state, action)
        spent = {name: state[name].clone() for name in ("feedback", "questions") if name in state.layout}
        decision = Decision.of(self.moves, action, self.students.most_steps)
        self._spent.zero_()
        tallies = [self._practise(decision, update) for update in range(config.updates)]
        self._show(slice(None), torch.stack(tallies).sum(0))
        reward, terminated = self.course.validate(state)
        reward = reward - config.feedback_cost * (
            config.price * (state["feedback"] - spent["feedback"]) / config.budget
        )
        if questions:
            asked = (state["questions"] - spent["questions"]) / config.budget
            reward = reward - questions.config.question_cost * asked
        return reward, terminated

    def _observe(self) -> dict[str, Tensor]:
        state, share = self.state, self.config.price * self.state["feedback"] / self.config.budget
        return {
            **self.course.observe(state),
            **{name: state[name] for name in self._shown},
            "feedback": share.unsqueeze(1),
            **(self._questions.observe(state) if self._questions else {}),
        }

    # --- one update ----------------------------------------------------------------------------------------------

    def _practise(self, decision: Decision, update: int) -> Tensor:
        """One update: attempts in groups, feedback on some, the students go on from it, and learn from all of them."""
        state, students, at = self.state, self.students, self.state["step"] * self.config.updates + update
        config = self.config
        tried = attempt(students, state["student"], self.stream(_ATTEMPT, at), config.group, config.problems)
        asked = self._questions.about(state, tried) if self._questions else None
        key, right = self.stream(_CHOICE, at), tried.right.flatten(1)
        chosen = choose_attempts(key, tried.right, decision.fraction, decision.which, asked).flatten(1)
        words = self._ask(tried, chosen, decision.kind)
        said = self._comment(tried, right, decision, words)
        guided = chosen & (said.given > said.own)
        chance = uniform(self.stream(_CONTINUATION, at), tried.tokens.shape)
        tokens, log_p = students.resume(state["student"], tried.problem, chance, said.tokens, said.given, guided)
        tokens = torch.where(guided.unsqueeze(2), tokens, tried.tokens)
        log_p = torch.where(guided.unsqueeze(2), log_p, tried.log_p)
        feedback = said.mask & guided.unsqueeze(2)
        rollouts = Rollouts(tried.problem, tokens, log_p, students.written(tokens), feedback)
        continued = (rollouts.valid.sum(2) - said.given).clamp_min(0) * guided
        attempts = students.written(tried.tokens).sum(2)
        if self._questions and asked is not None:
            attempts = attempts + self._questions.config.question_tokens * asked.flatten(1)
        held = self._afford(attempts, continued, feedback.sum(2), tried.problem, update)
        ends = students.judge(tried.problem, tokens).view_as(tried.right)
        self._learn(rollouts, group_advantages(ends.float()).flatten(1), held, decision)
        return tally(students, tried, guided.view_as(ends), ends, feedback.sum(2).view_as(ends), held)

    def _ask(self, tried: Attempts, chosen: Tensor, kind: Tensor) -> Callable[[int, int], str] | None:
        """What the commentator, if there is one, says to the attempts chosen; its tokens are billed to the teacher."""
        if self.commentator is None:
            return None
        comments = ask(self.students, self.commentator, tried, chosen, kind)
        tokens = torch.zeros_like(self.state["spent"])
        for (student, _), (_, spent) in comments.items():
            tokens[student] += spent
        ledger.charge(self.state["ledger"], "teacher", tokens=tokens)
        return lambda s, b: comments[s, b][0] if (s, b) in comments else ""

    def _comment(
        self, tried: Attempts, right: Tensor, decision: Decision, words: Callable[[int, int], str] | None
    ) -> GivenFeedback:
        attempts = tried.problem, tried.tokens, right, decision.kind, decision.length
        if self._reliability is None:
            return self.students.comment(*attempts, words)
        solution = self._reliability.solution(self.state, tried.problem, decision.kind)
        return give_feedback(cast(Scratchpad, self.task), *attempts, solution)

    def _afford(self, attempts: Tensor, continued: Tensor, feedback: Tensor, problem: Tensor, update: int) -> Tensor:
        """Hold groups one after another while this update's allowance lasts: tokens [S, B] -> bool [S, P]. Charged."""
        state, config = self.state, self.config
        updates_left = (config.steps - state["step"]) * config.updates - update
        tokens = torch.stack([attempts, continued, feedback]).unflatten(2, (-1, config.group)).sum(3).double()
        price = tokens[0] + tokens[1] + config.price * tokens[2]
        held: Tensor = price.cumsum(1) <= ((config.budget - state["spent"]) / updates_left).unsqueeze(1)
        attempts, continued, feedback = (tokens * held).sum(2)
        state["spent"][:] += (price * held).sum(1)
        state["feedback"][:] += feedback
        self._spent += torch.stack([attempts, continued, feedback, held.any(1)], dim=1)
        skill = self.task.skill_of.to(problem.device)[problem[:, :: config.group]]
        by_skill = torch.zeros(len(skill), len(self.task.skills), dtype=price.dtype, device=price.device)
        by_skill = by_skill.scatter_add_(1, skill, price * held).float()
        state["spending_history"][torch.arange(len(skill), device=price.device), state["step"]] += by_skill
        flops = self.students.flops_per_token * (attempts + continued)
        bill = {"items": held.sum(1) * config.group, "tokens": attempts + continued, "flops": flops}
        ledger.charge(state["ledger"], "student_inference", **bill)
        ledger.charge(state["ledger"], "teacher", tokens=feedback, money=config.price * feedback)
        if self._questions:
            self._questions.pay(state, problem, held)
        return held

    def _learn(self, rollouts: Rollouts, advantage: Tensor, held: Tensor, decision: Decision) -> None:
        """GRPO on the groups that were held. What has no advantage, and no divergence to pay for, is not read again."""
        state, config, students = self.state, self.config, self.students
        counted, base = held.repeat_interleave(config.group, dim=1), None
        matters = counted & (advantage != 0) if config.kl == 0 else counted
        told, gain, kept = rollouts.only(matters), *pick(matters, advantage, matters)
        share = matters.sum(1) / counted.sum(1).clamp_min(1)  # a loss is the mean over all that counts
        if config.kl > 0:
            base = students.log_p(state["base"], told.problem, told.tokens)

        def loss(log_p: Tensor, part: slice) -> Tensor:
            shaping, weight = decision.shaping[part], decision.weight[part]
            anchor = None if base is None else base[part]
            mean = grpo_loss(log_p, told.of(part), gain[part], kept[part], shaping, weight, self.objective, anchor)
            return mean * share[part]

        for epoch in range(config.epochs):
            learners = state["student"], told.problem, told.tokens  # at first just those who wrote
            students.update(*learners, loss, held.any(1), config.learning_rate, None if epoch else told.log_p)
        items = config.epochs * counted.sum(1)
        tokens = config.epochs * (students.rollout_tokens(rollouts.problem, rollouts.valid) * counted).sum(1)
        bill = {"items": items, "tokens": tokens, "flops": students.training_flops * students.flops_per_token * tokens}
        ledger.charge(state["ledger"], "student_training", **bill)

    def _show(self, rows: Tensor | slice, total: Tensor) -> None:
        """Keep what teachers see of a tally [rows, K, columns]; skills without practice keep their last values."""
        practised = total[:, :, COLUMNS.index("groups")] > 0
        for name, value in summary(total, self.config.group).items():
            known = practised.repeat_interleave(value.shape[1] // practised.shape[1], dim=1)
            finite = torch.nan_to_num(value.float(), nan=MAX_LOSS).clamp(0, MAX_LOSS)
            self.state[name][rows] = torch.where(known, finite, self.state[name][rows])

    def _step_info(self) -> dict[str, Any]:
        spent = self._spent.cpu().numpy()
        return {f"practice/{name}": column for name, column in zip(_SPENT, spent.T, strict=True)}

    def hidden(self) -> dict[str, Array]:
        """For upper bounds only: ``wrong``, which kinds of feedback are wrong at the coming step, int64 [S, kinds]."""
        none = torch.zeros(self.num_envs, len(self.students.kinds), dtype=torch.int64)
        wrong = self._reliability.wrong(self.state) if self._reliability else none
        return {"wrong": wrong.cpu().numpy().copy()}

    # --- actions -------------------------------------------------------------------------------------------------

    def _receive(self, actions: Array) -> Tensor:
        if self.config.actions == "box":
            return super()._receive(actions)
        assert isinstance(self.single_action_space, spaces.MultiDiscrete)
        chosen = checked_choices(actions, self.num_envs, self.single_action_space)
        named = zip(self.moves.choices, chosen.T, strict=True)
        decisions = {name: column / (LEVELS.get(name, 2) - 1) for name, column in named}
        return torch.from_numpy(self.moves.encode(self.num_envs, **decisions)).to(self.device)

    # --- students ------------------------------------------------------------------------------------------------

    def _draw_base(self, rows: Tensor) -> None:
        if is_language_model(self.config.student):
            self.course.draw_base(self.state, rows)
            return
        base = draw_numbers(self.course.base_key(self.state, rows))
        carelessness, recipe = CARELESSNESS[self.config.succeed], {**self.course.recipe(), **self.students.recipe}
        task = cast(Scratchpad, self.task)
        weights = careless_students(self.students, task, self.config.pool, recipe, carelessness, base)
        self.state["student"][rows, : self.students.weights] = weights


def _practitioners(course: Course[Any]) -> Practitioners:
    """The students of a course, if they can practise.

    Raises:
        ValueError: they cannot.
    """
    config, students = course.config, course.students
    able = isinstance(course.task, Scratchpad) or is_language_model(config.student)
    if not (able and hasattr(students, "kinds")) or config.placebo or config.skills:
        raise ValueError(
            "Feedback is for task='Scratchpad' with student='reasoner', or a task in words with student='hf:...', with the "
            f"task's own skills and without placebo; got task={config.task!r}, skills={config.skills!r}, "
            f"student={config.student!r}, placebo={config.placebo}."
        )
    return cast(Practitioners, students)


def _reliability(course: Course[Any]) -> Reliability | None:
    """Of the kinds of feedback, where some are wrong.

    Raises:
        ValueError: the task knows no wrong solutions.
    """
    config, task = course.config, course.task
    if not config.faulty:
        return None
    if not isinstance(task, Scratchpad) or is_language_model(config.student):
        raise ValueError(
            f"faulty is {config.faulty}, but feedback is wrong in task='Scratchpad' with student='reasoner' alone; got "
            f"task={config.task!r}, student={config.student!r}. Leave faulty out, or set it to 0."
        )
    return Reliability(task, config.faulty, config.shifts, config.steps, course.students.device)


class FeedbackEnv(SingleEnv):
    __doc__ = Feedback.__doc__
    population = Feedback
