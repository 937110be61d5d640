"""Snapshot: students practise control by reinforcement, and the teacher decides where their episodes start.

After SnapshotRL (Zhao et al., AutoRL workshop at ICML 2024). There a fixed rule draws starts from a demonstrator's
trajectories, for a fixed part of practice. Here the teacher's action sets the starts, the horizon and the end of that phase.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from torch import Tensor

from kdgym import random
from kdgym.core import SingleEnv, ledger
from kdgym.core.population import Array, PopulationEnv, common_arguments
from kdgym.core.rendering import Lesson
from kdgym.envs.snapshot.moves import SnapshotMoves
from kdgym.envs.snapshot.settings import SnapshotSettings
from kdgym.envs.snapshot.simulators import BatchedSimulators, Simulators
from kdgym.students import check_device
from kdgym.students.base_students.pool import POOLS
from kdgym.students.control.actor_critic import ActorCritics
from kdgym.students.control.rollouts import EpisodeStats, StartRule
from kdgym.tasks.base import SPLITS, Split
from kdgym.tasks.control import make_control
from kdgym.tasks.snapshots import demonstrator_trajectories

_BASE, _VALIDATION, _START, _PRACTICE, _ORDER = range(5)  # purposes of a student's random streams
_EXAMINATION_KEY = 0xE4A3  # of examinations' starts: a constant, so that all students and seeds meet the same ones
# Observations and their ranges: one number a cluster, and one number a student.
_BY_CLUSTER = {
    "return": (-1, 1),
    "success": (0, 1),
    "change": (-1, 1),
    "visits": (0, 1),
    "gap": (-2, 2),
    "error": (0, 1),
}
_SINGLE = {"score": (0, 1), "gain": (-1, 1), "guided": (0, 1), "budget": (0, 1), "time": (0, 1)}
_END = 0.9  # high, so that random exploration does not end the phase at once


def make_simulators(config: SnapshotSettings) -> Simulators:
    """The simulators of a task and its students: Hopper with SB3's, or a task of `kdgym.tasks.control` with batched ones."""
    device = check_device(config.device)
    if config.task == "Hopper":
        if device.type != "cpu":
            raise ValueError(f"device is {device}; Hopper's students learn on the cpu, where its simulators are.")
        from kdgym.envs.snapshot.hopper import HopperSimulators  # MuJoCo is an extra

        return HopperSimulators(
            config.teacher_steps, config.clusters, config.ppo, config.hidden, config.actors, config.rollout
        )
    control = make_control(config.task)
    store = demonstrator_trajectories(control, config.clusters).to(device)
    students = ActorCritics(control.observation_size, control.actions, config.hidden, config.ppo)
    return BatchedSimulators(control, store, students, config.actors, config.rollout, config.updates)


class Snapshot(PopulationEnv):
    """Teach by choosing where practice starts.

    ## Description
    Each student is a small actor-critic that learns a control task by PPO in ``actors`` simulators. A store holds snapshots:
    states on the trajectories of a demonstrator, a scripted expert, in C clusters from low to high value
    (`kdgym.tasks.snapshots`). An action holds for one step of ``updates`` updates. It sets the share of practice episodes that
    start in each cluster, the share of ordinary starts, the steps after which an episode from a snapshot is truncated, and
    whether the guided phase ends for good. All practice episodes begin anew with every step; truncated ones bootstrap.
    Dynamics are Gymnasium's where it has the task. On MountainCar, Acrobot and PointMaze students get a reward for arriving
    only (`kdgym.tasks.control`).

    ## Action Space
    `kdgym.envs.snapshot.moves.SnapshotMoves`, a ``Box(-1, 1, (C + 3,), float32)``:

    | entries | decision | meaning |
    |---|---|---|
    | 0 to C - 1 | weights | softmax of 4 times these: share of each cluster among starts from snapshots |
    | C | ordinary | share of ordinary starts, from none at -1 to all at 1 |
    | C + 1 | horizon | of episodes from snapshots, from 5 steps at -1 to the task's time limit at 1, geometrically |
    | C + 2 | end | above 0.9 ends the guided phase: from now on all starts are ordinary |

    ## Observation Space
    A ``Dict`` of float32 boxes. Unknown values are 0. A cluster in which no episode ended keeps its values of an earlier step:

    | key | shape | range | meaning |
    |---|---|---|---|
    | return | (C,) | [-1, 1] | mean discounted, scaled return of the last step's episodes from each cluster |
    | success | (C,) | [0, 1] | share of them that succeeded |
    | change | (C,) | [-1, 1] | success minus success one step ago |
    | visits | (C,) | [0, 1] | share of all practice so far that started in each cluster |
    | gap | (C,) | [-2, 2] | the demonstrator's value of the cluster minus the student's |
    | error | (C,) | [0, 1] | mean absolute advantage |
    | score | (1,) | [0, 1] | return of the greedy student from ordinary starts (validation), on the task's scale |
    | gain | (1,) | [-1, 1] | score minus score one step ago |
    | guided | (1,) | [0, 1] | 1 during the guided phase, 0 afterwards |
    | budget | (1,) | [0, 1] | share of the budget left |
    | time | (1,) | [0, 1] | share of the steps left |

    ## Rewards
    The change of ``score`` in this step: only returns from ordinary starts count.

    ## Starting State
    A new student: the actor is nearly uniform and the critic near 0. ``reset(options={"restart": "continue"})`` keeps the
    weights.

    ## Episode End
    ``terminated`` after ``steps`` steps. Truncated by ``max_episode_steps`` alone.

    ## Student
    Two tanh networks of two layers, about 2,600 weights, trained by PPO with AdamW (`kdgym.students.control.actor_critic`).
    On Hopper, Stable-Baselines3's PPO in Gymnasium's simulator, one student after the other
    (`kdgym.envs.snapshot.hopper`).

    ## Budget
    ``budget`` environment steps. Collecting the demonstrator's trajectories took some, which a student pays at the first step
    that uses a snapshot; so guided students practise less. A student whose budget does not suffice for an update makes none,
    and one that cannot pay for the trajectories starts ordinarily. No action spends more than the budget. In the ledger,
    practice is ``data_engine``, collection is ``teacher``, decisions are ``student_inference``, and transitions learned from,
    once per epoch, are ``student_training``.

    ## Splits
    Practice, validation and test start from different random states. Test starts are the same for all students and seeds.

    ## Determinism
    Equal settings, seeds, actions and population give bitwise equal observations on one machine at one thread. In another
    population sums are rounded otherwise, which changes a sampled action sooner or later. From then on a student practises
    other episodes: its reward of a step differed by up to 0.06 (CartPole) to 1.7 (PointMaze), its mean return by no more than
    chance (``docs/snapshots.md``). Not so on Hopper, where students take turns.

    ## Headroom
    ``docs/snapshots.md`` shows the tables.

    ## Arguments
    * ``num_envs``: number of students S.
    * ``task``: CartPole, MountainCar, Acrobot, Pendulum, PointMaze or Hopper.
    * ``pool``: students, ``"train"`` or ``"evaluation"``.
    * ``steps``, ``updates``, ``rollout``: steps of an episode, updates of a step, environment steps of an update in each of the
      ``actors``.
    * ``budget``: as above; ``clusters``: C.
    * ``hidden``: width of the layers. ``learning_rate``, ``epochs``, ``minibatches``, ``clip``, ``entropy`` (the entropy
      coefficient): see `PPOConfig`.
    * ``validation_starts``, ``test_starts``: of an examination; ``test_draw``: which test starts.
    * ``device``: of the population.
    * ``teacher_steps``: environment steps that the demonstrator trains for on Hopper, which has no scripted expert.
    * ``render_mode``, ``autoreset``: see `kdgym.core.population.PopulationEnv`.

    ## Version History
    * v0: first version.
    """

    items = ("success",)
    config: SnapshotSettings
    recorded = False  # examinations end when all students have

    def __init__(self, num_envs: int = 1, **settings: Any) -> None:
        common = common_arguments(settings)
        self.config = config = SnapshotSettings.parse(settings)
        self.simulators = make_simulators(config)
        device = torch.device(config.device)
        self.steps, self.moves = config.steps, SnapshotMoves(config.clusters, self.simulators.limit)
        self.independent = self.simulators.independent
        c, f32, f64 = config.clusters, torch.float32, torch.float64
        by_cluster = {name: spaces.Box(low, high, (c,)) for name, (low, high) in _BY_CLUSTER.items()}
        single = {name: spaces.Box(low, high, (1,)) for name, (low, high) in _SINGLE.items()}
        super().__init__(
            num_envs,
            observation_space=spaces.Dict({**by_cluster, **single}),
            action_space=self.moves,
            layout={
                "student": ((self.simulators.row,), self.simulators.dtype),
                **dict.fromkeys(_BY_CLUSTER, ((c,), f32)),
                **dict.fromkeys(("score", "gain", "spent"), ((), f64)),
                **dict.fromkeys(("guided", "collected"), ((), torch.int64)),
                "practised": ((c + 1,), f64),
                "validation": ((config.validation_starts, self.simulators.start_size), f64),
                "success_history": ((config.steps + 1, c + 1), f32),
                "practice_history": ((config.steps, c + 1), f32),
            },
            settings={"family": "Snapshot", "version": self.simulators.version, **config.model_dump(mode="json")},
            device=device,
            **common,
        )
        self._all_students = torch.arange(num_envs, device=device)
        measured = zip(self.simulators.size.tolist(), self.simulators.value.tolist(), strict=True)
        self.metadata["clusters"] = [{"snapshots": size, "value": value} for size, value in measured]
        self.metadata["limit"], self.metadata["steps"] = self.simulators.limit, config.steps

    # --- the decision process ------------------------------------------------------------------------------------

    def _limits(self) -> dict[str, tuple[float, float]]:
        return {**super()._limits(), "guided": (0, 1), "collected": (0, 1)}

    def _begin(self, rows: Tensor, restart: str) -> None:
        state, simulators = self.state, self.simulators
        if restart == "base":
            key = random.fold(self.stream(_BASE)[rows], POOLS.index(self.config.pool))
            state["student"][rows] = simulators.initialise(key)
        state["student"][rows, simulators.weights :] = 0
        for name in (*_BY_CLUSTER, "gain", "collected", "spent", "practised", "success_history", "practice_history"):
            state[name][rows] = 0
        state["guided"][rows] = 1
        noise = random.uniform(self.stream(_VALIDATION)[rows], self.config.validation_starts * simulators.noise_size)
        state["validation"][rows] = simulators.start(noise.unflatten(1, (self.config.validation_starts, -1)))
        state["score"][rows] = self._examine_validation(rows)
        state["success_history"][rows, 0, 0] = state["score"][rows].float()
        state["gap"][rows] = simulators.gap(state["student"][rows]).clamp(-2, 2)

    def _teach(self, action: Tensor) -> tuple[Tensor, Tensor]:
        state, step, before = self.state, self.state["step"], self.state["score"].clone()
        stats = self._practise(self._rule(action))
        self._show(stats)
        state["score"][:] = self._examine_validation(slice(None))
        state["gain"][:] = state["score"] - before
        state["success_history"][self._all_students, step + 1] = torch.cat(
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
        """The start rule of an action. Students who use the demonstrator's trajectories for the first time pay for them, or,
        where the budget does not suffice, do without."""
        state, clusters, steps = self.state, self.config.clusters, self.simulators.steps
        share = torch.softmax(self.moves.temperature * action[:, :clusters].double(), dim=1)
        ordinary, horizon, end = action[:, clusters:].double().unbind(1)
        state["guided"][:] *= end <= _END
        ordinary = torch.where(state["guided"] > 0, (ordinary + 1) / 2, 1.0).unsqueeze(1)
        buys = (ordinary.squeeze(1) < 1) & (state["collected"] == 0) & (state["spent"] + steps <= self.config.budget)
        state["collected"][:] += buys
        ordinary = torch.where(state["collected"].unsqueeze(1) > 0, ordinary, 1.0)
        state["spent"][:] += buys * steps
        ledger.charge(state["ledger"], "teacher", items=buys * steps, money=buys * steps)
        reach = self.moves.shortest * (self.moves.limit / self.moves.shortest) ** ((horizon + 1) / 2)
        return StartRule(torch.cat([(1 - ordinary) * share, ordinary], dim=1), reach.round().long())

    def _practise(self, rule: StartRule) -> EpisodeStats:
        """The updates of one step; students without budget do none."""
        state, config, number = self.state, self.config, self.config.updates
        cost, decision = config.actors * config.rollout, self.simulators.flops
        budget = math.floor(
            config.budget
        )  # in whole steps, as all costs are: no quotient is rounded up to one update more
        updates = ((budget - state["spent"]) / cost).floor().clamp(0, number).long()

        def keys(update: int) -> tuple[Tensor, Tensor]:
            at = state["step"] * number + update
            return self.stream(_PRACTICE, at), self.stream(_ORDER, at)

        begin = self.stream(_START, state["step"])
        stats = self.simulators.practise(state["student"], rule, updates, begin, keys)
        practised = updates * cost
        state["spent"][:] += practised
        ledger.charge(state["ledger"], "data_engine", items=practised, money=practised)
        ledger.charge(state["ledger"], "student_inference", items=practised, flops=decision * practised)
        learned = config.epochs * practised
        flops = 6 * decision * learned  # actor and critic, forward and backward
        ledger.charge(state["ledger"], "student_training", items=learned, flops=flops)
        return stats

    def _show(self, stats: EpisodeStats) -> None:
        """Keep the observations of a step; clusters in which no episode ended keep those of an earlier step."""
        state, last = self.state, slice(0, self.config.clusters)
        ended, steps = stats.ended[:, last], stats.steps[:, last]
        success = torch.where(ended > 0, (stats.succeeded[:, last] / ended.clamp_min(1)).float(), state["success"])
        state["change"][:] = success - state["success"]
        state["success"][:] = success
        mean = (stats.total[:, last] / ended.clamp_min(1)).float().clamp(-1, 1)
        state["return"][:] = torch.where(ended > 0, mean, state["return"])
        error = (stats.error[:, last] / steps.clamp_min(1)).float().clamp(0, 1)
        state["error"][:] = torch.where(steps > 0, error, state["error"])
        state["practised"][:] += stats.steps
        state["visits"][:] = (state["practised"] / state["practised"].sum(1, keepdim=True).clamp_min(1))[:, last]
        state["gap"][:] = self.simulators.gap(state["student"]).clamp(-2, 2)
        state["practice_history"][self._all_students, state["step"]] = stats.steps.roll(1, dims=1).float()

    # --- examinations --------------------------------------------------------------------------------------------

    def _examine_validation(self, rows: Tensor | slice) -> Tensor:
        """Score from the episode's own validation starts, float64 [rows]; charged."""
        state = self.state
        total, _, steps = self.simulators.examine(state["student"][rows], state["validation"][rows])
        ledger.charge(state["ledger"], "student_inference", rows, items=steps, flops=self.simulators.flops * steps)
        return self.simulators.score(total.mean(1))

    def examine(self, split: Split = "test") -> dict[str, Array]:
        """Examine greedy students from ``test_starts`` ordinary starts, without any cost or effect on them.

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
        draw = torch.tensor(_EXAMINATION_KEY, device=self.device)
        draw = random.fold(draw, self.config.test_draw) if self.config.test_draw else draw
        key = random.fold(draw, SPLITS.index(split), torch.arange(number, device=self.device))
        starts = self.simulators.start(random.uniform(key, self.simulators.noise_size)).expand(self.num_envs, -1, -1)
        total, succeeded, _ = self.simulators.examine(self.state["student"], starts)
        right = succeeded.sum(1, keepdim=True).cpu().numpy()
        asked, target = np.full_like(right, number), np.ones(right.shape, np.float32)
        return {
            "right": right,
            "asked": asked,
            "target": target,
            "score": self.simulators.score(total.mean(1)).cpu().numpy(),
        }

    def score(self) -> npt.NDArray[np.float64]:
        """Score from the validation starts now, [S]."""
        value: npt.NDArray[np.float64] = self.state["score"].cpu().numpy().copy()
        return value

    def lesson(self, student: int) -> Lesson:
        """One student's episode so far: the score from ordinary starts, success by cluster, and where practice started."""
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


class SnapshotEnv(SingleEnv):
    __doc__ = Snapshot.__doc__
    population = Snapshot
