"""Orchestrate: students are frozen. The teacher chooses how much supervision each task gets, and what the memory keeps.

After ATLAS ("Continual Learning, Not Training", Arc Computer, 2025), whose runtime chooses a supervision lane by a rule and
keeps notes in place of training. Here the action is the lane, the starting note and a memory operation; every token costs.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from torch import Tensor

from kdgym.core import ledger
from kdgym.core.population import Array, Info, PopulationEnv, common_arguments
from kdgym.core.rendering import Lesson
from kdgym.core.validation import as_options, checked_choices
from kdgym.envs.orchestrate import history
from kdgym.envs.orchestrate import memory as notes
from kdgym.envs.orchestrate.frozen_students import NO_ADVICE, TaskInfo, World
from kdgym.envs.orchestrate.llm_supervisor import make_supervisor
from kdgym.envs.orchestrate.memory_file import Notebook
from kdgym.envs.orchestrate.settings import OrchestrateSettings
from kdgym.envs.orchestrate.supervision import LANES, Session
from kdgym.spaces import MixedBox
from kdgym.students import check_device
from kdgym.tasks import Split

_CHOICES = {"lane": LANES, "plan": notes.PLANS, "operation": notes.OPERATIONS}
_ENTRIES = {  # names of what is observed, for language models and persons
    "history": ["tasks / 10", "score", "good in a row / 10", "bad in a row / 10", "supervised"],
    "memory": ["filled", "same cue", "its score", "similarity", "score of the similar"],
    "last": ["score", "money", *LANES],
    "lanes": [f"{what} of {lane}" for what in ("score", "money") for lane in LANES],
}
_STREAM, _WORK = range(2)  # purposes of a student's random streams


class Orchestrate(PopulationEnv):
    """Decide, task by task, how closely frozen students are supervised and what they are given to remember.

    ## Description
    Each student gets a stream of tasks. Its weights never change, but it has a memory of notes. A note is an advice, kept under
    the cue of a task. For every task the teacher chooses a *lane*, the note the student starts from, and a memory operation
    afterwards:

    | lane | what happens |
    |---|---|
    | auto | the student answers without supervision |
    | paired | a supervisor finds the answer valid or not; if not, it advises and the student tries once more (``recheck``: up to twice) |
    | coach | the supervisor reads the student's plan first, and advises if it rejects it; then as paired, with half the guidance |
    | stepwise | the supervisor checks every step and corrects those it finds wrong |

    The supervisor's verdicts and advice are right with given probabilities (`kdgym.envs.orchestrate.supervision`). The lanes
    are ATLAS's; stepwise is in its paper, not in its code.

    ## Action Space
    ``actions="box"``: `kdgym.spaces.MixedBox`, a ``Box(-1, 1, (10,), float32)``: entries 0-3 lane, 4-6 note to start from
    (own: none; exact: that of the same cue; similar: that of the most similar cue), 7-9 memory (keep; write: note what helped;
    prune: by ATLAS's thresholds). The largest entry of each group is chosen. ``actions="discrete"``: ``MultiDiscrete([4, 3,
    3])``.

    ## Observation Space
    A ``Dict`` of float32 boxes:

    | key | shape | range | meaning |
    |---|---|---|---|
    | task | (F,) | [0, 1] | features of the next task (``metadata["features"]``) |
    | history | (5,) | [0, 1] | of tasks of its kind: how many (tenths), mean judged score, streak of scores from 0.8 up, from 0.4 down (tenths), share supervised |
    | uncertainty | (1,) | [0, 1] | the student's, before it begins |
    | memory | (5,) | [-1, 1] | share of slots filled; 1 if there is a note of the same cue, its mean judged score; similarity of the most similar cue, the mean judged score of its note |
    | last | (6,) | [-1, 1] | judged score of the last task, its money over ``worth``, its lane |
    | lanes | (8,) | [0, 1] | for every lane the mean judged score so far; then the mean money over ``worth`` |
    | budget | (1,) | [0, 1] | share of the money left |
    | time | (1,) | [0, 1] | share of the tasks left |

    Judged scores come from a noisy judge. Values are clipped to their range.

    ## Rewards
    1 for a success (a true score of 1, not the judge's), minus the task's cost divided by ``worth``, the money that one success
    is worth.

    ## Starting State
    An empty memory. ``reset(options={"restart": "continue"})`` gives the same student another stream, with its memory and an
    empty history. ``options={"memory": "frozen"}`` does so too, and no note is written or pruned in that episode.

    ## Episode End
    ``terminated`` after the last task, or when the budget is spent. Tasks that were not reached count as failures. Truncated by
    ``max_episode_steps`` alone.

    ## Student
    Math: a small transformer with habitual errors (`kdgym.envs.orchestrate.math_students`). Incidents: a small network that
    queries the logs of a security incident by SQL and finds only some answers by itself
    (`kdgym.envs.orchestrate.investigator`). Weights
    are frozen: the score is that of student and supervision together.

    ## Budget
    ``budget`` is the money of an episode: tokens times the ``prices`` of their actors. The student pays for tasks, notes,
    advice and tool results it reads and for answers it writes; the supervisor (``teacher`` in the ledger), the judge and the
    memory pay for what they read and write. A stage that has begun is finished; without money left, no further stage begins.

    ## Splits
    Streams of ``pool="train"`` and ``"evaluation"`` share no task, and no student was pretrained on their tasks. Math has
    different students in each, Incidents the same sixteen.

    ## Determinism
    Equal settings, seeds and actions give bitwise equal observations on one machine at one thread.

    ## Headroom
    ``docs/orchestrate.md`` shows the tables.

    ## Arguments
    * ``num_envs``: number of students S.
    * ``pool``, ``tasks``: streams to draw from, and their length.
    * ``worth``, ``budget``, ``prices``: money, as above.
    * ``slots``: how many notes a memory holds.
    * ``recheck``: whether a retry is checked, and tried once more.
    * ``verdict_accuracy``, ``advice_accuracy``, ``step_accuracy``, ``judge_accuracy``: see
    `kdgym.envs.orchestrate.supervision.Supervisor`.
    * ``teacher``: the supervisor: ``"noisy"``, or a language model that gives verdicts and advice, ``"hf:MODEL"`` or
      ``"NAME@http://..."`` (`kdgym.envs.orchestrate.llm_supervisor`).
    * ``notebooks``: a directory where each student's memory is kept as a file, by seed, as it changes.
    * Math: ``radix``, ``steps``, ``version``: of the problems. Incidents: ``incidents``: how many different ones a pool has; ``student``:
      a language model that writes its own SQL, ``"hf:MODEL"`` or ``"NAME@http://..."``
      (`kdgym.envs.orchestrate.llm_investigator`).
    * ``actions``; ``device``: of the population. ``render_mode``, ``autoreset``: see `PopulationEnv`.

    ## Version History
    * Math v1: no held-out problem has its steps in another order in train.
    * v0: first version.
    """  # noqa: E501  # tables

    recorded = False  # a world's control flow depends on values
    config: OrchestrateSettings
    settings_type: ClassVar[type[OrchestrateSettings]]

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        common = common_arguments(settings)
        config = self.config = self.settings_type.parse(settings)
        device = check_device(config.device)
        self.world, self.steps = self._world(device), config.tasks
        self.supervisor = make_supervisor(config)
        self.moves = MixedBox(_CHOICES)
        widths = {"task": len(self.world.features), "history": history.HISTORY, "uncertainty": 1, "memory": notes.OBSERVED,
                  "last": history.LAST, "lanes": history.BY_LANE, "budget": 1, "time": 1}  # fmt: skip
        self.menu = spaces.MultiDiscrete([len(options) for options in _CHOICES.values()])
        super().__init__(
            num_envs,
            observation_space=spaces.Dict(
                {name: spaces.Box(-1 if name == "memory" else 0, 1, (width,)) for name, width in widths.items()}
            ),
            action_space=self.moves if config.actions == "box" else self.menu,
            layout={
                **self.world.layout,
                **notes.layout(config.slots),
                **history.layout(len(self.world.keys), config.tasks),
                **dict.fromkeys(("key", "cue", "frozen"), ((), torch.int64)),
                **{name: ((widths[name],), torch.float32) for name in ("task", "uncertainty")},
                "task_tokens": ((), torch.float64),
            },
            settings={
                "family": "Orchestrate",
                "world": self.world.name,
                "edition": self.world.edition,
                "version": 0,
                **config.model_dump(mode="json", exclude={"notebooks"}),
            },
            device=device,
            **common,
        )
        self.metadata["features"] = list(self.world.features)
        self.metadata["fields"] = [{"name": name, "entries": entries} for name, entries in _ENTRIES.items()]
        self._all_students = torch.arange(num_envs, device=device)

    @abstractmethod
    def _world(self, device: torch.device) -> World:
        """The tasks and the frozen students."""

    # --- the decision process ------------------------------------------------------------------------------------

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Array], Info]:
        """See `PopulationEnv.reset`; ``options={"memory": "frozen"}`` keeps the notes and lets nothing change them.

        Raises:
            ValueError: an option or a seed is not one of these.
        """
        options = as_options(options)
        memory, rows = options.pop("memory", None), options.get("reset_mask", np.ones(self.num_envs, dtype=bool))
        known = memory is None or (isinstance(memory, str) and memory == "frozen")
        if not known or (memory and options.get("restart") not in (None, "continue")):
            raise ValueError(
                f"memory is {memory!r}; only 'frozen' is allowed, which keeps the notes as they are, with restart='continue'."
            )
        outcome = super().reset(seed=seed, options={**options, "restart": "continue"} if memory else options)
        if memory:
            self.state["frozen"][torch.from_numpy(np.asarray(rows, dtype=bool))] = 1
        return outcome

    def _limits(self) -> dict[str, tuple[float, float]]:
        cues, advices = len(self.world.cues), len(self.world.advices)
        own = {"key": (0, len(self.world.keys) - 1), "cue": (0, cues - 1), "frozen": (0, 1)}
        return {**super()._limits(), **own, "note_cue": (-1, cues - 1), "note_advice": (-1, advices - 1)}

    def _impossible(self, part: slice | Tensor) -> str:
        return super()._impossible(part) or self.world.impossible(self.state, part)

    def _begin(self, rows: Tensor, restart: str) -> None:
        state, anew = self.state, restart == "base"
        if anew:
            notes.forget(state, rows)
        state["frozen"][rows] = 0
        history.begin(state, rows)
        self.world.begin(state, rows, self.stream(_STREAM)[rows], anew)
        self._assign(rows, torch.zeros_like(rows))

    def _assign(self, rows: Tensor, number: Tensor) -> None:
        """Give students their next task."""
        state, task = self.state, self.world.task_info(self.state, rows, number)
        state["task"][rows], state["uncertainty"][rows] = task.features, task.uncertainty.unsqueeze(1)
        state["key"][rows], state["cue"][rows], state["task_tokens"][rows] = task.key, task.cue, task.tokens

    def _teach(self, action: Tensor) -> tuple[Tensor, Tensor]:
        state, config, number = self.state, self.config, self.state["step"].clone()
        lane, plan, operation = (part.argmax(1) for part in action.split([len(c) for c in _CHOICES.values()], dim=1))
        slot = notes.recall(state, state["cue"], self.world.cues, plan)
        session = self._supervise(number, lane, slot)
        judged, success = session.judge(), session.score == 1
        money_of_attempts = config.budget - state["spent"] - session.left
        notes.remember(state, session, operation, judged)
        money = session.bill[:, :, ledger.UNITS.index("money")].sum(1)
        notes.count(state, slot, judged, money_of_attempts)
        history.record(state, lane, judged, success, money, config.worth)
        state["ledger"][:] += session.bill
        self.session = session
        if config.notebooks is not None:
            kept = session.changed | (state["note_cue"] >= 0).any(1)  # every task changes the record of notes
            for student in (kept & (state["frozen"] + state["done"] == 0)).nonzero().squeeze(1).tolist():
                self.export_notes(student, Path(config.notebooks) / f"{int(state['seed'][student])}.sqlite")
        self._assign(self._all_students, number + 1)
        done = (number + 1 >= config.tasks) | (state["spent"] >= config.budget)
        return success.double() - money / config.worth, done

    def _supervise(self, number: Tensor, lane: Tensor, slot: Tensor) -> Session:
        """One task of every student, in the lane chosen."""
        state, world = self.state, self.world
        note = state["note_advice"][self._all_students, slot.clamp_min(0)].masked_fill(slot < 0, NO_ADVICE)
        task = TaskInfo(
            state["task"], state["key"], state["cue"], state["uncertainty"].squeeze(1), state["task_tokens"]
        )
        left, key = self.config.budget - state["spent"], self.stream(_WORK, number)
        session = Session(world, self.supervisor, state, self._all_students, number, task, note, left, key)
        session.supervise(lane, self.config.recheck)
        return session

    # --- the memory as a file ------------------------------------------------------------------------------------

    def export_notes(self, student: int, path: Path) -> None:
        """Write a student's memory to a file, atomically: after a crash it holds either this or what it held before.

        Raises:
            ValueError: the file is something else.
        """
        Notebook(path, self.world.name, self.world.edition).save(*notes.read(self.state, student, self.world.advices))

    def import_notes(self, student: int, path: Path) -> None:
        """Replace a student's memory by that of a file.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not a notebook, is one of another world, or has more notes than there are slots.
        """
        if not path.is_file():
            raise FileNotFoundError(f"There is no file {path}.")
        found, record = Notebook(path, self.world.name, self.world.edition).load()
        notes.replace(self.state, student, found, record, len(self.world.cues), len(self.world.advices))

    # --- observations and actions --------------------------------------------------------------------------------

    def _observe(self) -> dict[str, Tensor]:
        state, config = self.state, self.config
        return {
            **{name: state[name] for name in ("task", "uncertainty")},
            **history.observe(state, config.worth),
            "memory": notes.observe(state, self.world.cues),
            "budget": (1 - state["spent"] / config.budget).clamp_min(0).unsqueeze(1),
            "time": 1 - state["step"].unsqueeze(1) / config.tasks,
        }

    def _receive(self, actions: Array) -> Tensor:
        if self.config.actions == "box":
            return super()._receive(actions)
        decisions = dict(zip(_CHOICES, checked_choices(actions, self.num_envs, self.menu).T, strict=True))
        return torch.from_numpy(self.moves.encode(self.num_envs, **decisions)).to(self.device)

    # --- results -------------------------------------------------------------------------------------------------

    def examine(self, split: Split = "test") -> dict[str, Array]:
        """Results of the stream so far. There is no unaided examination besides lane ``auto``.

        Returns:
            ``right`` and ``asked``: successes and tasks by key, int64 [S, K]; ``score``: mean reward over the whole stream,
            tasks that were not reached counting as failures, float64 [S].
        """
        right, asked, spent = (self.state[name] for name in ("right", "asked", "spent"))
        value = (right.sum(1) - spent / self.config.worth) / self.config.tasks
        parts = {"right": right, "asked": asked, "score": value}
        return {name: part.cpu().numpy().copy() for name, part in parts.items()}

    def outcome(self) -> dict[str, Array]:
        """``success``: share of the stream's tasks; ``money``: over ``worth``, a task; ``lanes``: share of each, [S, 4]."""
        state, tasks = self.state, self.config.tasks
        lanes = state["by_lane"][:, 0]
        parts = {
            "success": state["right"].sum(1) / tasks,
            "money": state["spent"] / self.config.worth / tasks,
            "lanes": lanes / lanes.sum(1, keepdim=True).clamp_min(1),
        }
        return {name: value.double().cpu().numpy().copy() for name, value in parts.items()}

    def expected_reward(self, options: Array, samples: int) -> npt.NDArray[np.float64]:
        """Mean reward of each of several next actions, tried on copies. For upper bounds, not for teachers.

        Args:
            options: actions of every student, [S, n, ...].
            samples: how often each is tried, with random streams that are independent of those of the real step.

        Returns:
            float64 [S, n].
        """
        students, n = options.shape[:2]
        copies = self.branch(n * samples)
        sample = torch.arange(samples, device=self.device).repeat(students * n)
        copies.state["episode"][:] += (
            1 + sample
        ) << 32  # episode numbers that no population reaches: other random streams
        _, reward, *_ = copies.step(options.repeat(samples, axis=1).reshape(students * n * samples, *options.shape[2:]))
        mean: npt.NDArray[np.float64] = reward.reshape(students, n, samples).mean(2)
        return mean

    def score(self) -> npt.NDArray[np.float64]:
        """Mean reward so far over the whole stream, [S]."""
        return self.examine()["score"]

    def lesson(self, student: int) -> Lesson:
        """One student's stream so far, by kind of task; accuracy is the mean judged score."""
        state, done, keys = self.state, int(self.state["step"][student]), self.world.keys
        return Lesson(
            skills=list(keys),
            target=np.full(len(keys), 1 / len(keys), dtype=np.float32),
            accuracy=state["judged_history"][student, : done + 1].cpu().numpy().copy(),
            spending=state["spending_history"][student, :done].cpu().numpy().copy(),
            steps=self.config.tasks,
            budget_left=max(0.0, float(1 - state["spent"][student] / self.config.budget)),
        )

    def _arguments(self) -> dict[str, Any]:
        return {**super()._arguments(), "notebooks": None}  # a student's notes are state
