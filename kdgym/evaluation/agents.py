"""Teachers: what one is, where they are found, and how they are asked."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from kdgym.catalogue import AGENTS, OWN_AGENT, agent_names, require_fit
from kdgym.core import PopulationEnv
from kdgym.suggestions import did_you_mean

Observation = dict[str, npt.NDArray[np.float32]]
NO_TEACHING = "no teaching"


@runtime_checkable
class Agent(Protocol):
    """A teacher of S students at once: observations are arrays [S, n], an action is an array [S, m].

    `kdgym.teaching.Teacher` is the base with all hooks. A class of its own needs only ``act``; its hooks are used, too.
    """

    def act(self, observation: Observation) -> npt.NDArray[np.float32]:
        """What to do now."""


def agent_module(name: str) -> ModuleType:
    """The module of an agent: a name of `agent_names`, or the path of a Python file.

    Raises:
        ValueError: there is no such agent, or the file is not Python.
    """
    if name in AGENTS:
        module = importlib.import_module(AGENTS[name].module)
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
    return module


def agent_class(name: str) -> type[Any]:
    """The class of an agent: a name of `agent_names`, or the path of a Python file with a class ``Agent``.

    Raises:
        ValueError: there is no such agent, or the file defines no ``Agent`` with an ``act`` method.
    """
    module = agent_module(name)
    kind: Any = getattr(module, AGENTS[name].kind if name in AGENTS else "Agent", None)
    if not callable(getattr(kind, "act", None)):
        raise ValueError(f"The agent {name!r} defines no class Agent with a method act(observation).")
    return kind  # type: ignore[no-any-return]  # it has an act


def as_given(agent: Any) -> Any:
    """An agent as `load_agent` takes it: a path as a text, all else unchanged."""
    return str(agent) if isinstance(agent, Path) else agent


def agent_name(agent: Any) -> str:
    """What to call an agent: a text as it is; a class, or an object's class, by its name, or by its file if that is Agent."""
    if isinstance(agent, str):
        return agent
    kind = agent if isinstance(agent, type) else type(agent)
    stem: str = kind.__module__.rpartition(".")[2]
    return stem if kind.__name__ == "Agent" and stem != "__main__" else kind.__name__


def load_agent(agent: Any, envs: PopulationEnv, seed: int = 0, options: Mapping[str, Any] | None = None) -> Agent:
    """Make an agent for an environment.

    Args:
        agent: a name, a Python file, ``NAME:FILE`` for a trained one, or an SB3 zip; a class, called with the spaces and
            ``seed=``; an object with ``act``, used as it is; or an object with ``predict``, an SB3 model.
        envs: whose spaces it gets.
        seed: of what it draws.
        options: of these, it gets those that its class names in ``options``.

    Raises:
        ValueError: there is no such agent or file, or its class does not take what it is given.
    """
    if not isinstance(agent, str | type):
        return _as_agent(agent)
    if isinstance(agent, str) and agent.endswith(".zip") and ":" not in agent:
        from kdgym.integrations.sb3 import SB3Agent  # SB3 is only needed by those who use it

        return SB3Agent.from_zip(Path(agent), envs.single_observation_space, envs.single_action_space)
    base, _, file = agent_name(agent).partition(":")
    kind: Any = agent_class(base) if isinstance(agent, str) else agent
    if not callable(getattr(kind, "act", None)):
        raise ValueError(
            f"The class {kind.__name__} has no method act(observation); derive it from kdgym.teaching.Teacher."
        )
    wanted = {key: value for key, value in (options or {}).items() if key in getattr(kind, "options", ())}
    try:
        inspect.signature(kind).bind(envs.single_observation_space, envs.single_action_space, seed=seed, **wanted)
    except TypeError as error:
        needed = ", ".join(["observation_space", "action_space", "seed=0", *wanted])
        raise ValueError(
            f"The class {kind.__name__} of {base} takes {inspect.signature(kind)}; it has to take ({needed})."
        ) from error
    made: Agent = kind(envs.single_observation_space, envs.single_action_space, seed=seed, **wanted)
    if file:
        if not Path(file).is_file():
            raise ValueError(f"The agent {agent} needs the file {file}: file not found.")
        made.load(Path(file))  # type: ignore[attr-defined]
    return made


def _as_agent(given: Any) -> Agent:
    """An object as an agent; an SB3 model behind its adapter."""
    if callable(getattr(given, "act", None)):
        return given  # type: ignore[no-any-return]  # it has an act
    if callable(getattr(given, "predict", None)):
        from kdgym.integrations.sb3 import SB3Agent

        return SB3Agent(given)
    raise ValueError(
        f"An agent of the class {type(given).__name__} has neither act(observation) nor predict(observation). Give a name, a "
        "file, a class or an object that has one."
    )


def make_unseen(env_id: str, agent: Any, students: int, **settings: Any) -> Any:
    """A population of unseen students that do not start over by themselves, as a teacher needs it.

    Args:
        env_id: the environment.
        agent: see `load_agent`; it is not loaded, but it may speak another encoding of the actions.
        students: how many.
        settings: passed to the environment, and stronger than all this.

    Raises:
        ValueError: there is no such environment or agent, or the agent does not fit it.
    """
    if isinstance(agent, str):
        require_fit(env_id, agent)
    given = {"pool": "evaluation", "autoreset": False, **encoding(agent), **settings}
    return gym.make_vec(env_id, num_envs=students, **given)


def encoding(agent: Any) -> dict[str, Any]:
    """The setting of the environment that makes it take this agent's actions, where the agent asks for one."""
    actions = attribute(agent, "actions")
    return {"actions": actions} if actions else {}


def attribute(agent: Any, name: str) -> Any:
    """What the agent or its class says of itself; None of one without a class here: no teaching, and an SB3 zip."""
    if not isinstance(agent, str):
        return getattr(agent, name, None)
    if agent == NO_TEACHING or (agent.endswith(".zip") and ":" not in agent):
        return None
    return getattr(agent_class(agent.partition(":")[0]), name, None)


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


def conclude(agent: Any, reward: npt.ArrayLike, done: npt.ArrayLike) -> None:
    """A step is over: tell it to an agent that has a hook for it, see `kdgym.teaching.Teacher.after_step`."""
    if hasattr(agent, "after_step"):
        # Copies, which the agent may change.
        agent.after_step(np.array(reward, dtype=np.float64), np.array(done, dtype=bool))


class Policy:
    """An agent as a function from what it sees to what it does, for one episode of these students; see `load_agent`.

    After every step of the environment, call ``after_step(reward, done)`` with what came of it.
    """

    def __init__(self, name: str, envs: PopulationEnv, seed: int = 0) -> None:
        self._agent, self._envs, self._begun = load_agent(name, envs, seed), envs, False

    def __call__(self, observation: Observation) -> Any:
        if not self._begun:
            introduce(self._agent, self._envs, observation)
            self._begun = True
        return decide(self._agent, self._envs, observation)

    def after_step(self, reward: npt.ArrayLike, done: npt.ArrayLike) -> None:
        """See `conclude`."""
        conclude(self._agent, reward, done)
