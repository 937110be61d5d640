"""The protocol that produces a score: same students, same seeds, same budget, last examination, hidden test split."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
import numpy.typing as npt

import kdgym.agents
from kdgym.core import PopulationEnv

Observation = dict[str, npt.NDArray[np.float32]]
FIRST_SEED = 1_000_000  # evaluation seeds start here; hashed streams make any distinct seeds independent
NO_TEACHING = "no teaching"
Progress = Callable[[int], None]


@runtime_checkable
class Agent(Protocol):
    """A teacher of S students at once: observations are arrays [S, n], an action is an array [S, m].

    Optional: ``reset(observation)`` at the start of every episode, ``upper_bound = True`` with ``attach(envs)`` for agents
    that may see more than a teacher may, ``load(path)`` for agents that keep what they learned in a file, ``spent()`` for
    agents whose own decisions cost something: unit -> [S] of the last ``act``, billed to the teacher; ``options``, the names
    of keyword arguments that ``Agent`` takes from the command line; and ``remarks()``: counts reported with the score.
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
    remarks: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Raw per-seed records; nothing aggregated."""
        names = ("seeds", "before", "after", "right", "asked", "curve")
        cost = {a: {u: v.tolist() for u, v in units.items()} for a, units in self.cost.items()}
        head = {"env_id": self.env_id, "agent": self.agent, "upper_bound": self.upper_bound}
        return {**head, **{name: getattr(self, name).tolist() for name in names}, "cost": cost, "remarks": self.remarks}


def agent_names() -> list[str]:
    """The teachers that come with kdgym."""
    return sorted(module.name for module in pkgutil.iter_modules(kdgym.agents.__path__))


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
        spec.loader.exec_module(module)
    else:
        raise ValueError(
            f"There is no agent {name!r}. Give one of {', '.join(agent_names())}; a file like mine.py; NAME:FILE for a "
            "trained one, for example ppo:runs/ppo/model.zip; or a Stable-Baselines3 zip."
        )
    if not callable(getattr(getattr(module, "Agent", None), "act", None)):
        raise ValueError(f"The agent {name!r} defines no class Agent with a method act(observation).")
    return module


def load_agent(name: str, envs: PopulationEnv, seed: int = 0, options: Mapping[str, Any] | None = None) -> Agent:
    """Make the agent ``name``: a name, a Python file, ``NAME:FILE`` for a trained one, or an SB3 zip.

    Of ``options``, it gets those that its class names in ``options``.

    Raises:
        ValueError: there is no such agent or file.
    """
    if name.endswith(".zip") and ":" not in name:
        from kdgym.integrations.sb3 import SB3Agent  # SB3 is only needed by those who use it

        return SB3Agent.from_zip(Path(name), envs.single_observation_space, envs.single_action_space)
    base, _, file = name.partition(":")
    kind = agent_module(base).Agent
    wanted = {key: value for key, value in (options or {}).items() if key in getattr(kind, "options", ())}
    agent: Agent = kind(envs.single_observation_space, envs.single_action_space, seed=seed, **wanted)
    if file:
        if not Path(file).is_file():
            raise ValueError(f"The agent {name!r} needs the file {file}, which does not exist.")
        agent.load(Path(file))  # type: ignore[attr-defined]
    return agent


def introduce(agent: Any, envs: PopulationEnv, observation: Observation) -> None:
    """Begin an episode for an agent: attach upper bounds to the environment, and reset agents that have a memory."""
    if getattr(agent, "upper_bound", False):
        agent.attach(envs)
    if hasattr(agent, "reset"):
        agent.reset(observation)


def decide(agent: Any, envs: PopulationEnv, observation: Observation) -> Any:
    """The agent's next actions; what they cost the agent itself is billed to the teacher."""
    action = np.asarray(agent.act(observation))
    if hasattr(agent, "spent"):
        envs.bill("teacher", **agent.spent())
    return action


def evaluate(
    env_id: str,
    agent: str,
    episodes: int = 64,
    *,
    first_seed: int = FIRST_SEED,
    population: int = 64,
    progress: Progress = lambda steps: None,
    options: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Result:
    """Let an agent teach ``episodes`` unseen students and examine them on the test split before and after.

    Args:
        env_id: the environment.
        agent: see `load_agent`; or ``"no teaching"``.
        episodes: number of student seeds.
        first_seed: seeds are ``first_seed .. first_seed + episodes - 1``; the same for every agent.
        population: students taught side by side.
        progress: called after every step with the number of student-steps done.
        options: see `load_agent`.
        settings: passed to the environment.

    Raises:
        ValueError: an argument is out of range, or there is no such environment or agent.
    """
    if episodes < 2:
        raise ValueError(f"episodes is {episodes}; intervals need at least 2 student seeds.")
    parts = []
    for begin in range(0, episodes, population):
        size = min(population, episodes - begin)
        envs: Any = gym.make_vec(env_id, num_envs=size, pool="evaluation", autoreset=False, **settings)
        parts.append(_teach_once(envs, agent, first_seed + begin, progress, options))
    joined = {
        name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name not in ("cost", "remarks")
    }
    cost = {
        actor: {unit: np.concatenate([part["cost"][actor][unit] for part in parts]) for unit in units}
        for actor, units in parts[0]["cost"].items()
    }
    upper_bound = agent != NO_TEACHING and _sees_more(agent)
    remarks: Counter[str] = sum((Counter(part["remarks"]) for part in parts), Counter())
    return Result(env_id, agent, upper_bound, cost=cost, remarks=dict(remarks), **joined)


def _sees_more(agent: str) -> bool:
    if agent.endswith(".zip"):
        return False
    return bool(getattr(agent_module(agent.partition(":")[0]).Agent, "upper_bound", False))


def _teach_once(
    envs: PopulationEnv, name: str, first_seed: int, progress: Progress, options: Mapping[str, Any] | None
) -> dict[str, Any]:
    """One episode of a population from the evaluation pool."""
    observation, _ = envs.reset(seed=first_seed)
    before = envs.examine("test")
    curve, remarks = [envs.score()], {}
    if name != NO_TEACHING:
        agent = load_agent(name, envs, seed=first_seed, options=options)
        introduce(agent, envs, observation)
        finished = False
        while not finished:
            observation, _, terminated, truncated, _ = envs.step(decide(agent, envs, observation))
            curve.append(envs.score())
            progress(envs.num_envs)
            finished = bool((terminated | truncated).all())
        if hasattr(agent, "remarks"):
            remarks = agent.remarks()
    after = envs.examine("test")
    return {
        "seeds": first_seed + np.arange(envs.num_envs),
        "before": before["score"],
        "after": after["score"],
        "right": after["right"],
        "asked": after["asked"],
        "curve": np.stack(curve, axis=1),
        "cost": envs.ledger(),
        "remarks": remarks,
    }
