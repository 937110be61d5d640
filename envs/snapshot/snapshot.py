"""Snapshot: students practise control by reinforcement, and the teacher decides where their episodes start.

After SnapshotRL (Zhao et al., AutoRL workshop at ICML 2024), where a fixed rule draws starts from a trained teacher's
trajectories for a fixed part of the practice; here starts, horizon and the end of that phase are the teacher's action.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from torch import Tensor

from kdgym import random
from kdgym.core import SingleEnv, ledger
from kdgym.core.population import Array, PopulationEnv
from kdgym.core.rendering import Lesson
from kdgym.envs.snapshot.settings import SnapshotSettings
from kdgym.envs.snapshot.simulators import Playground, TorchPlayground
from kdgym.spaces import SnapshotMoves
from kdgym.students import check_device
from kdgym.students.base_students.pool import POOLS
from kdgym.students.control.actor_critic import ActorCritics
from kdgym.students.control.rollouts import StartRule, Tally
from kdgym.tasks.base import SPLITS, Split
from kdgym.tasks.control import make_control
from kdgym.tasks.snapshots import teacher_trajectories

_BASE, _VALIDATION, _START, _PRACTICE, _ORDER = range(5)  # purposes of a student's random streams
_EXAMINED = 0xE4A3  # key of the starts that everybody is examined from
# What teachers see, and the low ends of its ranges.
_BY_CLUSTER = {"return": -1, "success": 0, "change": -1, "visits": 0, "gap": -2, "error": 0}
_SINGLE = ("score", "gain", "guided", "budget", "time")
_END = 0.9  # high, so that whoever explores at random does not end the phase before it began


def make_playground(config: SnapshotSettings) -> Playground:
    """Hopper with SB3's students, or a task of `kdgym.tasks.control` with batched ones."""
    device = check_device(config.device)
    if config.task == "Hopper":
        if device.type != "cpu":
            raise ValueError(f"device is {device}; Hopper's students learn on the cpu, where its simulators are.")
        from kdgym.envs.snapshot.hopper import HopperPlayground  # MuJoCo is an extra

        return HopperPlayground(
            config.teacher_steps, config.clusters, config.ppo, config.hidden, config.actors, config.rollout
        )
    control = make_control(config.task)
    store = teacher_trajectories(control, config.clusters).to(device)
    students = ActorCritics(control.observation_size, control.actions, config.hidden, config.ppo)
    return TorchPlayground(control, store, students, config.actors, config.rollout, config.updates)


class Snapshot(PopulationEnv):
    """Teach by choosing where practice starts.

    ## Description
    Each student is a small actor-critic that learns a control task by PPO in ``actors`` simulators. A store holds states on
    the trajectories of a scripted expert, in C clusters from low to high value (`kdgym.tasks.snapshots`). For a whole step,
    ``updates`` updates, the teacher decides from which clusters episodes start, how many start ordinarily, after how many
    steps an episode from a snapshot is truncated, and whether the guided phase ends for good. Episodes begin anew with every
    step; truncated ones bootstrap. Dynamics are Gymnasium's where it has the task; on MountainCar, Acrobot and PointMaze
    students are paid for arriving only (`kdgym.tasks.control`).

    ## Action Space
    `kdgym.spaces.SnapshotMoves`, a ``Box(-1, 1, (C + 3,), float32)``:

    | entries | decision | meaning |
    |---|---|---|
    | 0 to C - 1 | weights | softmax of 4 times these: share of each cluster among starts from snapshots |
    | C | ordinary | share of ordinary starts, from none at -1 to all at 1 |
    | C + 1 | horizon | of episodes from snapshots, from 5 steps at -1 to the task's time limit at 1, geometrically |
    | C + 2 | end | above 0.9 ends the guided phase: from now on all starts are ordinary |

    ## Observation Space
    A ``Dict`` of float32 boxes. What is not known yet is 0, what did not happen in the last step is as it was before:

    | key | shape | range | meaning |
    |---|---|---|---|
    | return | (C,) | [-1, 1] | mean discounted, scaled return of the last step's episodes from each cluster |
    | success | (C,) | [0, 1] | share of them that succeeded |
    | change | (C,) | [-1, 1] | success minus success one step ago |
    | visits | (C,) | [0, 1] | share of all practice so far that started in each cluster |
    | gap | (C,) | [-2, 2] | the teacher's value of the cluster minus the student's |
    | error | (C,) | [0, 1] | mean absolute advantage, a measure of surprise |
    | score | (1,) | [0, 1] | return of the greedy student from ordinary starts, the validation starts, on the task's scale |
    | gain | (1,) | [-1, 1] | score minus score one step ago |
    | guided | (1,) | [0, 1] | whether the guided phase lasts |
    | budget | (1,) | [0, 1] | share of the budget left |
    | time | (1,) | [0, 1] | share of the steps left |

    ## Rewards
    Growth of ``score``: only what the student can do from ordinary starts counts.

    ## Starting State
    A new student: the actor is nearly uniform, the critic says 0. ``reset(options={"restart": "continue"})`` keeps the weights.

    ## Episode End
    ``terminated`` after ``steps`` steps. Never truncated.

    ## Student
    Two tanh networks of two layers, about 2,600 weights, trained by PPO with AdamW (`kdgym.students.control.actor_critic`).
    On Hopper, Stable-Baselines3's PPO in Gymnasium's simulator, one student after the other
    (`kdgym.envs.snapshot.hopper`).

    ## Budget
    ``budget`` environment steps. Those that collecting the teacher's trajectories took are charged to it at the first step that
    uses them; so who guides practises less. A student whose budget does not suffice for an update rests. In the ledger,
    practice is ``data_engine``, collection ``teacher``, decisions are ``student_inference``, and transitions learned from, a
    minibatch being an update, ``student_training``.

    ## Splits
    Practice, validation and test start from different random states. Test starts are the same for all students and seeds.

    ## Determinism
    Equal settings, seeds, actions and population give bitwise equal observations on one machine at one thread. Another
    population may differ by rounding, which may change a sampled action; on Hopper it does not, as students take turns.

    ## Headroom
    ``docs/snapshots.md`` shows the tables.

    ## Arguments
    * ``num_envs``: number of students S.
    * ``task``: CartPole, MountainCar, Acrobot, Pendulum, PointMaze or Hopper.
    * ``pool``: students, ``"train"`` or ``"evaluation"``.
    * ``steps``, ``updates``, ``rollout``: steps of an episode, updates of a step, environment steps of an update in each of the
      ``actors``.
    * ``budget``: as above; ``clusters``: C.
    * ``hidden``, ``learning_rate``, ``epochs``, ``minibatches``, ``clip``, ``entropy``: see `PPOConfig`.
    * ``validation_starts``, ``test_starts``: of an examination; ``test_draw``: which test starts.
    * ``device``: of the population.
    * ``teacher_steps``: practice of the teacher on Hopper, which has no scripted expert.
    * ``render_mode``, ``autoreset``: see `kdgym.core.population.PopulationEnv`.

    ## Version History
    * v0: first version.
    """

    recorded = False  # examinations end when all students have

    def __init__(
        self, num_envs: int = 1, render_mode: str | None = None, autoreset: bool = True, **settings: Any
    ) -> None:
        self.config = config = SnapshotSettings.parse(settings)
        self.playground = make_playground(config)
        device = torch.device(config.device)
        self.steps, self.moves = config.steps, SnapshotMoves(config.clusters, self.playground.limit)
        self.independent = self.playground.independent
        c, f32, f64 = config.clusters, torch.float32, torch.float64
        by_cluster = {name: spaces.Box(low, abs(low) or 1, (c,)) for name, low in _BY_CLUSTER.items()}
        single = {name: spaces.Box(-1 if name == "gain" else 0, 1, (1,)) for name in _SINGLE}
        super().__init__(
            num_envs,
            observation_space=spaces.Dict({**by_cluster, **single}),
            action_space=self.moves,
            layout={
                "student": ((self.playground.row,), self.playground.dtype),
                **dict.fromkeys(_BY_CLUSTER, ((c,), f32)),
                **dict.fromkeys(("score", "gain", "spent"), ((), f64)),
                **dict.fromkeys(("guided", "collected"), ((), torch.int64)),
                "practised": ((c + 1,), f64),
                "validation": ((config.validation_starts, self.playground.start_size), f64),
                "success_history": ((config.steps + 1, c + 1), f32),
                "practice_history": ((config.steps, c + 1), f32),
            },
            settings={"family": "Snapshot", "version": self.playground.version, **config.model_dump(mode="json")},
            device=device,
            render_mode=render_mode,
            autoreset=autoreset,
        )
        self._everyone = torch.arange(num_envs, device=device)
        measured = zip(self.playground.size.tolist(), self.playground.value.tolist(), strict=True)
        self.metadata["clusters"] = [{"snapshots": size, "value": value} for size, value in measured]
        self.metadata["limit"], self.metadata["steps"] = self.playground.limit, config.steps

    # --- the decision process ------------------------------------------------------------------------------------

    def _begin(self, rows: Tensor, restart: str) -> None:
        state, playground = self.state, self.playground
        if restart == "base":
            key = random.fold(self.stream(_BASE)[rows], POOLS.index(self.config.pool))
            state["student"][rows] = playground.initialise(key)
        state["student"][rows, playground.weights :] = 0
        for name in (
            *_BY_CLUSTER,
            "gain",
            "collected",
            "spent",
            "practised",
            "success_history",
            "practice_history",
        ):
            state[name][rows] = 0
        state["guided"][rows] = 1
        chance = random.uniform(self.stream(_VALIDATION)[rows], self.config.validation_starts * playground.chances)
        state["validation"][rows] = playground.start(chance.unflatten(1, (self.config.validation_starts, -1)))
        state["score"][rows] = self._examine_validation(rows)
        state["success_history"][rows, 0, 0] = state["score"][rows].float()
        state["gap"][rows] = playground.gap(state["student"][rows]).clamp(-2, 2)

    def _teach(self, action: Tensor) -> tuple[Tensor, Tensor]:
        state, step, before = self.state, self.state["step"], self.state["score"].clone()
        tally = self._practise(self._rule(action))
        self._show(tally)
        state["score"] = self._examine_validation(slice(None))
        state["gain"] = state["score"] - before
        state["success_history"][self._everyone, step + 1] = torch.cat(
            [state["score"][:, None].float(), state["success"]], 1
        )
        return state["gain"].clone(), step + 1 >= self.config.steps

    def _observe(self) -> dict[str, Tensor]:
        state, config = self.state, self.config
        return {
            **{name: state[name] for name in _BY_CLUSTER},
            **{name: state[name].unsqueeze(1) for name in ("score", "gain", "guided")},
            "budget": (1 - state["spent"] / config.budget).clamp_min(0).unsqueeze(1),
            "time": 1 - state["step"].unsqueeze(1) / config.steps,
        }

    def _rule(self, action: Tensor) -> StartRule:
        """What an action means for starts; whoever first uses the teacher's trajectories pays for them."""
        state, clusters, steps = self.state, self.config.clusters, self.playground.steps
        share = torch.softmax(self.moves.temperature * action[:, :clusters].double(), dim=1)
        ordinary, horizon, end = action[:, clusters:].double().unbind(1)
        state["guided"] *= end <= _END
        ordinary = torch.where(state["guided"] > 0, (ordinary + 1) / 2, 1.0).unsqueeze(1)
        buys = (ordinary.squeeze(1) < 1) & (state["collected"] == 0)
        state["collected"] += buys
        state["spent"] += buys * steps
        ledger.charge(state["ledger"], "teacher", items=buys * steps, money=buys * steps)
        reach = self.moves.shortest * (self.moves.limit / self.moves.shortest) ** ((horizon + 1) / 2)
        return StartRule(torch.cat([(1 - ordinary) * share, ordinary], dim=1), reach.round().long())

    def _practise(self, rule: StartRule) -> Tally:
        """The updates of one step; students without budget rest."""
        state, config, number = self.state, self.config, self.config.updates
        cost, decision = config.actors * config.rollout, self.playground.flops
        updates = ((config.budget - state["spent"]) / cost).floor().clamp(0, number).long()

        def keys(update: int) -> tuple[Tensor, Tensor]:
            at = state["step"] * number + update
            return self.stream(_PRACTICE, at), self.stream(_ORDER, at)

        begin = self.stream(_START, state["step"])
        happened = self.playground.practise(state["student"], rule, updates, begin, keys)
        practised = updates * cost
        state["spent"] += practised
        ledger.charge(state["ledger"], "data_engine", items=practised, money=practised)
        ledger.charge(state["ledger"], "student_inference", items=practised, flops=decision * practised)
        learned = config.epochs * practised
        flops = 6 * decision * learned  # actor and critic, forward and backward
        ledger.charge(state["ledger"], "student_training", items=learned, flops=flops)
        return happened

    def _show(self, tally: Tally) -> None:
        """Keep what teachers see of a step; of clusters in which no episode ended, they see the last time."""
        state, last = self.state, slice(0, self.config.clusters)
        ended, steps = tally.ended[:, last], tally.steps[:, last]
        success = torch.where(ended > 0, (tally.succeeded[:, last] / ended.clamp_min(1)).float(), state["success"])
        state["change"] = success - state["success"]
        state["success"] = success
        mean = (tally.total[:, last] / ended.clamp_min(1)).float().clamp(-1, 1)
        state["return"] = torch.where(ended > 0, mean, state["return"])
        error = (tally.error[:, last] / steps.clamp_min(1)).float().clamp(0, 1)
        state["error"] = torch.where(steps > 0, error, state["error"])
        state["practised"] += tally.steps
        state["visits"] = (state["practised"] / state["practised"].sum(1, keepdim=True).clamp_min(1))[:, last]
        state["gap"] = self.playground.gap(state["student"]).clamp(-2, 2)
        state["practice_history"][self._everyone, state["step"]] = tally.steps.roll(1, dims=1).float()

    # --- examinations --------------------------------------------------------------------------------------------

    def _examine_validation(self, rows: Tensor | slice) -> Tensor:
        """Score from the episode's own validation starts, float64 [rows]; charged."""
        state = self.state
        total, _, steps = self.playground.examine(state["student"][rows], state["validation"][rows])
        ledger.charge(state["ledger"], "student_inference", rows, items=steps, flops=self.playground.flops * steps)
        return self.playground.score(total.mean(1))

    def examine(self, split: Split = "test") -> dict[str, Array]:
        """An examination of greedy students from ``test_starts`` ordinary starts; changes nothing, charges nothing.

        Args:
            split: ``"train"``, ``"validation"`` or ``"test"``; each has its own starts.

        Returns:
            ``right`` and ``asked`` (successes and starts, int64 [S, 1]), ``target`` (ones, [S, 1]), ``score`` (return on the
            task's scale, float64 [S]).

        Raises:
            ValueError: there is no such split.
        """
        if split not in SPLITS:
            raise ValueError(f"There is no split {split!r}; choose from {', '.join(SPLITS)}.")
        number = self.config.test_starts
        draw = torch.tensor(_EXAMINED, device=self.device)
        draw = random.fold(draw, self.config.test_draw) if self.config.test_draw else draw
        key = random.fold(draw, SPLITS.index(split), torch.arange(number, device=self.device))
        starts = self.playground.start(random.uniform(key, self.playground.chances)).expand(self.num_envs, -1, -1)
        total, succeeded, _ = self.playground.examine(self.state["student"], starts)
        right = succeeded.sum(1, keepdim=True).cpu().numpy()
        asked, target = np.full_like(right, number), np.ones(right.shape, np.float32)
        return {
            "right": right,
            "asked": asked,
            "target": target,
            "score": self.playground.score(total.mean(1)).cpu().numpy(),
        }

    def score(self) -> npt.NDArray[np.float64]:
        """Score from the validation starts now, [S]."""
        value: npt.NDArray[np.float64] = self.state["score"].cpu().numpy().copy()
        return value

    def lesson(self, student: int) -> Lesson:
        """One student's lesson so far: the score from ordinary starts, success by cluster, and where practice started."""
        state, done = self.state, int(self.state["step"][student])
        values = [f"cluster {k}, value {cluster['value']:.2f}" for k, cluster in enumerate(self.metadata["clusters"])]
        return Lesson(
            skills=["ordinary start", *values],
            target=np.eye(1, 1 + len(values), dtype=np.float32)[0],
            accuracy=state["success_history"][student, : done + 1].cpu().numpy().copy(),
            spending=state["practice_history"][student, :done].cpu().numpy().copy(),
            steps=self.config.steps,
            budget_left=max(0.0, float(1 - state["spent"][student] / self.config.budget)),
            currency="practice",
        )

    def _branched(self, num_envs: int) -> PopulationEnv:
        return Snapshot(num_envs, autoreset=False, **self.config.model_dump())


class SnapshotEnv(SingleEnv):
    __doc__ = Snapshot.__doc__
    population = Snapshot
