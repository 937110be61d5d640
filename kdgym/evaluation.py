"""The protocol that produces a score: same students, same seeds, same budget, last examination, hidden test split."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from kdgym.catalogue import OWN_AGENT, agent_names, require_fit
from kdgym.core import PopulationEnv
from kdgym.core.course import Course
from kdgym.students import recommended_population
from kdgym.suggestions import did_you_mean

Observation = dict[str, npt.NDArray[np.float32]]
FIRST_SEED = 1_000_000  # evaluation seeds start here; hashed streams make any distinct seeds independent
NO_TEACHING = "no teaching"
Progress = Callable[[int], None]


@runtime_checkable
class Agent(Protocol):
    """A teacher of S students at once: observations are arrays [S, n], an action is an array [S, m].

    Optional: ``reset(observation)`` at the start of every episode, ``upper_bound = True`` with ``attach(envs)`` for agents
    that may see more than a teacher may, ``load(path)`` for agents that keep what they learned in a file, ``study(metadata)``
    for agents that read what the environment says about itself (``metadata["skills"]``, say), ``actions = "discrete"``
    for agents that speak this encoding of the actions where an environment has several, ``diagnose(observation)``: after
    the last lesson of students with misconceptions, the probability [S, M] that each student began with each of them;
    ``spent()`` for agents whose own decisions cost something: unit -> [S] of the last ``act``, billed to the teacher;
    ``comment(attempts)`` for agents that comment on attempts in their own words, where environments have a ``commentator``;
    ``options``, the names of keyword arguments that ``Agent`` takes from the command line; and ``remarks()``: counts
    reported with the score.
    """

    def act(self, observation: Observation) -> npt.NDArray[np.float32]:
        """What to do now."""


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
        besides: what else was asked for. Of students with misconceptions what `Misled.examine` says of the test split, and
            ``belief``, what the agent's ``diagnose`` said, [S, M]; of retention ``retained_before`` and ``retained_after``
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
    besides: dict[str, npt.NDArray[Any]] = field(default_factory=dict, repr=False)
    remarks: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Raw per-seed records; nothing aggregated."""
        names = ("seeds", "before", "after", "right", "asked", "curve")
        cost = {a: {u: v.tolist() for u, v in units.items()} for a, units in self.cost.items()}
        head = {"env_id": self.env_id, "agent": self.agent, "upper_bound": self.upper_bound}
        besides = {name: value.tolist() for name, value in self.besides.items()}
        arrays = {name: getattr(self, name).tolist() for name in names}
        return {**head, **arrays, "cost": cost, "besides": besides, "remarks": self.remarks}


def agent_module(name: str) -> ModuleType:
    """The module of an agent: a name of `agent_names`, or the path of a Python file with a class ``Agent``.

    Raises:
        ValueError: there is no such agent, or the file defines no ``Agent`` with an ``act`` method.
    """
    if name in agent_names():
        module = importlib.import_module(f"kdgym.agents.{name}")
    elif name.endswith(".py") and Path(name).is_file():
        spec = importlib.util.spec_from_file_location(Path(name).stem, name)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        setattr(module, OWN_AGENT, name)
        try:
            spec.loader.exec_module(module)
        except SyntaxError as error:
            raise ValueError(f"The agent {name} is not valid Python: {error}.") from error
    elif name.endswith(".py"):
        raise ValueError(f"{name}: file not found.")
    else:
        raise ValueError(
            f"There is no agent {name!r}.{did_you_mean(name, agent_names())} Give a name that kdgym list shows; a file like "
            "mine.py; NAME:FILE for a trained one, for example ppo:runs/ppo/model.zip; or a Stable-Baselines3 zip."
        )
    if not callable(getattr(getattr(module, "Agent", None), "act", None)):
        raise ValueError(f"The agent {name!r} defines no class Agent with a method act(observation).")
    return module


def load_agent(name: str, envs: PopulationEnv, seed: int = 0, options: Mapping[str, Any] | None = None) -> Agent:
    """Make the agent ``name``: a name, a Python file, ``NAME:FILE`` for a trained one, or an SB3 zip.

    Of ``options``, it gets those that its class names in ``options``.

    Raises:
        ValueError: there is no such agent or file, or its class does not take what it is given.
    """
    if name.endswith(".zip") and ":" not in name:
        from kdgym.integrations.sb3 import SB3Agent  # SB3 is only needed by those who use it

        return SB3Agent.from_zip(Path(name), envs.single_observation_space, envs.single_action_space)
    base, _, file = name.partition(":")
    kind = agent_module(base).Agent
    wanted = {key: value for key, value in (options or {}).items() if key in getattr(kind, "options", ())}
    try:
        inspect.signature(kind).bind(envs.single_observation_space, envs.single_action_space, seed=seed, **wanted)
    except TypeError as error:
        needed = ", ".join(["observation_space", "action_space", "seed=0", *wanted])
        raise ValueError(
            f"The class Agent of {base} takes {inspect.signature(kind)}; it has to take ({needed})."
        ) from error
    agent: Agent = kind(envs.single_observation_space, envs.single_action_space, seed=seed, **wanted)
    if file:
        if not Path(file).is_file():
            raise ValueError(f"The agent {name} needs the file {file}: file not found.")
        agent.load(Path(file))  # type: ignore[attr-defined]
    return agent


def encoding(agent: str) -> dict[str, Any]:
    """The setting of the environment that makes it take this agent's actions, where the agent asks for one."""
    actions = _attribute(agent, "actions")
    return {"actions": actions} if actions else {}


def _attribute(agent: str, name: str) -> Any:
    """What the agent's class says of itself; None of one without a class here: no teaching, and an SB3 zip."""
    if agent == NO_TEACHING or (agent.endswith(".zip") and ":" not in agent):
        return None
    return getattr(agent_module(agent.partition(":")[0]).Agent, name, None)


def introduce(agent: Any, envs: PopulationEnv, observation: Observation) -> None:
    """Begin an episode for an agent: attach upper bounds to the environment, and reset agents that have a memory."""
    if getattr(agent, "upper_bound", False):
        agent.attach(envs)
    if hasattr(agent, "study"):
        agent.study(envs.metadata)
    if hasattr(envs, "commentator"):
        envs.commentator = getattr(agent, "comment", None)
    if hasattr(agent, "reset"):
        agent.reset(observation)


def decide(agent: Any, envs: PopulationEnv, observation: Observation) -> Any:
    """The agent's next actions; what they cost the agent itself is billed to the teacher."""
    action = np.asarray(agent.act(observation))
    if hasattr(agent, "spent"):
        envs.bill("teacher", **agent.spent())
    return action


def as_policy(name: str, envs: PopulationEnv, seed: int = 0) -> Callable[[Observation], Any]:
    """An agent as a function from what it sees to what it does, for one episode of these students; see `load_agent`."""
    agent, begun = load_agent(name, envs, seed), False

    def act(observation: Observation) -> Any:
        nonlocal begun
        if not begun:
            introduce(agent, envs, observation)
            begun = True
        return decide(agent, envs, observation)

    return act


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
        placebo: teach a twin of every student the same lessons with their content destroyed (`kdgym.tasks.placebo`).
        progress: called after every step with the number of student-steps done.
        retention: items of unrelated training after the lesson, to see what is retained; 0 leaves that out.
        options: see `load_agent`.
        settings: passed to the environment.

    Raises:
        ValueError: an argument is out of range, there is no such environment or agent, or the agent does not fit it.
    """
    require_fit(env_id, agent)
    if episodes < 2:
        raise ValueError(f"episodes is {episodes}; intervals need at least 2 student seeds.")
    student = settings.get("student", gym.spec(env_id).kwargs.get("student", ""))
    population = population or recommended_population(student)
    parts = []
    for begin in range(0, episodes, population):
        size = min(population, episodes - begin)

        def make(twin: bool, size: int = size) -> Any:
            chosen = {**encoding(agent), **settings, **({"placebo": True} if twin else {})}
            return gym.make_vec(env_id, num_envs=size, pool="evaluation", autoreset=False, **chosen)

        envs = make(twin=False)
        teacher = None if agent == NO_TEACHING else load_agent(agent, envs, seed=first_seed + begin, options=options)
        part, lessons = teach(envs, teacher, first_seed + begin, progress, retention)
        if placebo:
            part["besides"]["placebo"] = _teach_again(make(twin=True), lessons, first_seed + begin)
        parts.append(part)
    nested = ("cost", "besides", "remarks")
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name not in nested}
    besides = {name: np.concatenate([part["besides"][name] for part in parts]) for name in parts[0]["besides"]}
    remarks: Counter[str] = sum((Counter(part["remarks"]) for part in parts), Counter())
    cost = {
        actor: {unit: np.concatenate([part["cost"][actor][unit] for part in parts]) for unit in units}
        for actor, units in parts[0]["cost"].items()
    }
    upper_bound = bool(_attribute(agent, "upper_bound"))
    return Result(env_id, agent, upper_bound, cost=cost, besides=besides, remarks=dict(remarks), **joined)


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
        finished = False
        while not finished:
            lessons.append(decide(agent, envs, observation))
            observation, _, terminated, truncated, _ = envs.step(lessons[-1])
            curve.append(envs.score())
            progress(envs.num_envs)
            finished = bool((terminated | truncated).all())
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
        "besides": _look_further(envs, agent, observation, retention),
        "remarks": agent.remarks() if hasattr(agent, "remarks") else {},
    }
    return outcome, lessons


def _look_further(envs: PopulationEnv, agent: Any, observation: Any, retention: int) -> dict[str, npt.NDArray[Any]]:
    """See `Result.besides`."""
    besides: dict[str, npt.NDArray[Any]] = envs.outcome()
    if isinstance(envs, Course) and envs.misled:
        besides |= envs.examine_misconceptions()
        if hasattr(agent, "diagnose"):
            besides["belief"] = _checked_belief(agent.diagnose(observation), besides["held"].shape)
    if retention:
        if not isinstance(envs, Course):
            raise ValueError(f"Retention is measured of students with target skills; {type(envs).__name__} has none.")
        besides |= {f"retained_{when}": score for when, score in envs.examine_retention(retention).items()}
    return besides


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
