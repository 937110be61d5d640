"""The protocol that produces a score: same students, same seeds, same budget, last examination, hidden test split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from kdgym.core import PopulationEnv
from kdgym.evaluation.agents import NO_TEACHING, attribute, conclude, decide, introduce, load_agent, make_unseen
from kdgym.students import recommended_population

FIRST_SEED = 1_000_000  # evaluation seeds start here; hashed streams make any distinct seeds independent
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Result:
    """What one agent's students learned; every array has one row a student seed.

    Attributes:
        env_id, agent: who taught where.
        upper_bound: the agent saw more than a teacher may.
        seeds: int64 [S].
        before, after: target-weighted test accuracy before the first and after the last step, [S].
        right, asked: correct and asked test items per skill after the last step, int64 [S, K].
        curve: target-weighted validation accuracy over the episode, [S, steps + 1].
        cost: actor -> unit -> total spent, [S].
        extras: what else was asked for. Of students with misconceptions what `Misconceptions.examine` says of the test split,
            and ``belief``, what the agent's ``diagnose`` said, [S, M]; of retention ``retained_before`` and ``retained_after``
            unrelated training, the target-weighted test accuracy [S]. ``placebo`` is the score of a twin after the same
            lessons with their content destroyed, [S]: ``after`` minus that is what was learned, that minus ``before`` is
            adaptation to the format.
        remarks: what the agent has to say of itself, counted; see `Agent`.
    """

    env_id: str
    agent: str
    upper_bound: bool
    seeds: npt.NDArray[np.int64]
    before: npt.NDArray[np.float64]
    after: npt.NDArray[np.float64]
    right: npt.NDArray[np.int64]
    asked: npt.NDArray[np.int64]
    curve: npt.NDArray[np.float64]
    cost: dict[str, dict[str, npt.NDArray[np.float64]]] = field(repr=False)
    extras: dict[str, npt.NDArray[Any]] = field(default_factory=dict, repr=False)
    remarks: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Raw per-seed records; nothing aggregated."""
        names = ("seeds", "before", "after", "right", "asked", "curve")
        cost = {a: {u: v.tolist() for u, v in units.items()} for a, units in self.cost.items()}
        head = {"env_id": self.env_id, "agent": self.agent, "upper_bound": self.upper_bound}
        extras = {name: value.tolist() for name, value in self.extras.items()}
        arrays = {name: getattr(self, name).tolist() for name in names}
        return {**head, **arrays, "cost": cost, "besides": extras, "remarks": self.remarks}


def evaluate(
    env_id: str,
    agent: str,
    episodes: int = 64,
    *,
    first_seed: int = FIRST_SEED,
    population: int | None = None,
    placebo: bool = False,
    progress: Progress = lambda steps: None,
    retention: int = 0,
    options: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Result:
    """Let an agent teach ``episodes`` unseen students and examine them on the test split before and after.

    Args:
        env_id: the environment.
        agent: see `load_agent`; or ``"no teaching"``.
        episodes: number of student seeds.
        first_seed: seeds are ``first_seed .. first_seed + episodes - 1``; the same for every agent.
        population: students taught side by side; 64 if left out, 4 language models.
        placebo: teach a twin of every student the same lessons with their content destroyed (`kdgym.tasks.views.placebo`).
        progress: called after every step with the number of student-steps done.
        retention: items of unrelated training after the lesson, to see what is retained; 0 leaves that out.
        options: see `load_agent`.
        settings: passed to the environment.

    Raises:
        ValueError: an argument is out of range, there is no such environment or agent, or the agent does not fit it.
    """
    if episodes < 2:
        raise ValueError(f"episodes is {episodes}; intervals need at least 2 student seeds.")
    student = settings.get("student", gym.spec(env_id).kwargs.get("student", ""))
    population = population or recommended_population(student)
    parts = []
    for begin in range(0, episodes, population):
        size = min(population, episodes - begin)

        def make(twin: bool, size: int = size) -> Any:
            return make_unseen(env_id, agent, size, **settings, **({"placebo": True} if twin else {}))

        envs = make(twin=False)
        teacher = None if agent == NO_TEACHING else load_agent(agent, envs, seed=first_seed + begin, options=options)
        part, lessons = teach(envs, teacher, first_seed + begin, progress, retention)
        if placebo:
            part["extras"]["placebo"] = _teach_again(make(twin=True), lessons, first_seed + begin)
        parts.append(part)
    nested = ("cost", "extras", "remarks")
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name not in nested}
    extras = {name: np.concatenate([part["extras"][name] for part in parts]) for name in parts[0]["extras"]}
    remarks: Counter[str] = sum((Counter(part["remarks"]) for part in parts), Counter())
    cost = {
        actor: {unit: np.concatenate([part["cost"][actor][unit] for part in parts]) for unit in units}
        for actor, units in parts[0]["cost"].items()
    }
    upper_bound = bool(attribute(agent, "upper_bound"))
    return Result(env_id, agent, upper_bound, cost=cost, extras=extras, remarks=dict(remarks), **joined)


def teach(
    envs: PopulationEnv,
    agent: Any,
    seed: int | list[int],
    progress: Progress = lambda steps: None,
    retention: int = 0,
) -> tuple[dict[str, Any], list[Any]]:
    """One episode of a population that does not reset itself, examined on the test split before and after.

    Args:
        envs: the population.
        agent: see `Agent`; None teaches nothing.
        seed: of the first student, or one a student.
        progress: called after every step with the number of student-steps done.
        retention: see `evaluate`.

    Returns:
        What came of it, by the names of `Result`, and the actions that were taken.
    """
    observation, _ = envs.reset(seed=seed)
    before = envs.examine("test")
    curve, lessons = [envs.score()], []
    if agent is not None:
        introduce(agent, envs, observation)
        done = np.zeros(envs.num_envs, dtype=bool)
        while not done.all():
            lessons.append(decide(agent, envs, observation))
            observation, reward, terminated, truncated, _ = envs.step(lessons[-1])
            done = terminated | truncated
            conclude(agent, reward, done)
            curve.append(envs.score())
            progress(envs.num_envs)
        curve += [curve[-1]] * (envs.steps + 1 - len(curve))  # everybody's budget may be spent before the last step
    after = envs.examine("test")
    outcome = {
        "seeds": envs.state["seed"].cpu().numpy().copy(),
        "before": before["score"],
        "after": after["score"],
        "right": after["right"],
        "asked": after["asked"],
        "curve": np.stack(curve, axis=1),
        "cost": envs.ledger(),
        "extras": _look_further(envs, agent, observation, retention),
        "remarks": agent.remarks() if hasattr(agent, "remarks") else {},
    }
    return outcome, lessons


def _look_further(envs: PopulationEnv, agent: Any, observation: Any, retention: int) -> dict[str, npt.NDArray[Any]]:
    """See `Result.extras`."""
    extras: dict[str, npt.NDArray[Any]] = envs.outcome()
    if "held" in extras and getattr(agent, "diagnose", None) is not None:
        extras["belief"] = _checked_belief(agent.diagnose(observation), extras["held"].shape)
    if retention:
        extras |= {f"retained_{when}": score for when, score in envs.examine_retention(retention).items()}
    return extras


def _checked_belief(belief: Any, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    stated: npt.NDArray[np.float64] = np.asarray(belief, dtype=np.float64)
    if stated.shape != shape or not ((stated >= 0) & (stated <= 1)).all():
        raise ValueError(
            f"The agent's diagnosis has shape {stated.shape}; {shape} probabilities are wanted, from 0 to 1."
        )
    return stated


def _teach_again(twins: PopulationEnv, lessons: list[Any], first_seed: int) -> npt.NDArray[np.float64]:
    """What the same students score after the same lessons, in an environment that destroys their content, [S]."""
    twins.reset(seed=first_seed)
    for lesson in lessons:
        twins.step(lesson)
    score: npt.NDArray[np.float64] = twins.examine("test")["score"]
    return score
