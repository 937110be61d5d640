"""The protocol that produces a score: same students, same seeds, same budget, last examination, hidden test split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from kdgym.core import PopulationEnv
from kdgym.evaluation.agents import (
    NO_TEACHING,
    agent_name,
    as_given,
    attribute,
    conclude,
    decide,
    introduce,
    load_agent,
    make_unseen,
)
from kdgym.evaluation.display import Shown
from kdgym.evaluation.raw import RawResult
from kdgym.students import recommended_population

if TYPE_CHECKING:
    from rich.table import Table

    from kdgym.evaluation.plots import Picture

FIRST_SEED = 1_000_000  # evaluation seeds start here; hashed streams make any distinct seeds independent
Progress = Callable[[int], None]


@dataclass(frozen=True, repr=False)
class Result(RawResult, Shown):
    """What one agent's students learned. It prints as a table, draws its learning curve (`plot`), and shows both in a notebook.

    The raw arrays are attributes, one row a student seed; see `kdgym.evaluation.raw.RawResult`.
    """

    def report(self) -> list[Table | str]:
        """Scores before and after, and the gain with its 95 % interval; what else was measured; remarks of the teacher."""
        from kdgym.evaluation.report import extras_tables, remarks, result_table

        return [result_table(self), *extras_tables([self]), *remarks([self])]

    def plot(self, path: Path | str | None = None) -> Picture:
        """The learning curve: mean validation score a step, with its 95 % interval.

        Args:
            path: where to write it, too; the ending chooses the format (png, svg, pdf).
        """
        from kdgym.evaluation.plots import result_picture

        return result_picture(self, path)


def evaluate(
    env_id: str,
    agent: Any,
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
    """Let an agent teach unseen students, and examine them on the test split before and after.

    >>> import kdgym
    >>> result = kdgym.evaluate("kdgym/DataGen-Math-v0", "uniform", episodes=8)
    >>> result.after.shape
    (8,)

    A name or a class is made anew for every population, with a seed of its own, so that equal calls give equal results. An
    object is used as it is, for one population after the other: ``reset(observation)`` is called before each, if it has one,
    and has to make it forget the last. What it draws at random goes on from call to call. Of an SB3 model ``predict`` is asked,
    deterministically.

    Args:
        env_id: the environment, for example ``"kdgym/DataGen-Math-v0"``.
        agent: a name of ``kdgym list``, a Python file with a class ``Agent``, ``"NAME:FILE"`` for a trained one, an SB3 zip, a
            class, an object with ``act``, or an SB3 model; see `kdgym.teaching.Teacher`. ``"no teaching"`` teaches nothing.
        episodes: number of student seeds, at least 2.
        first_seed: seeds are ``first_seed .. first_seed + episodes - 1``; the same for every agent.
        population: students taught side by side; 64 if left out, 4 language models.
        placebo: teach a twin of every student the same lessons with their content destroyed (`kdgym.tasks.views.placebo`).
        progress: called after every step with the number of student-steps done.
        retention: items of unrelated training after the lesson, to see what is retained; 0 leaves that out.
        options: keywords of agents that are made, such as ``{"base_url": ..., "model": ...}``; an agent gets those that its
            class names in ``options``.
        settings: passed to the environment, for example ``steps=4``.

    Raises:
        ValueError: an argument is out of range, there is no such environment or agent, or the agent does not fit it.
        UnreachableError: a language model does not answer its first question; see `kdgym.llm`.
    """
    agent = as_given(agent)
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
    return Result(env_id, agent_name(agent), upper_bound, cost=cost, extras=extras, remarks=dict(remarks), **joined)


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
    before, said = envs.examine("test"), _remarks(agent)
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
        "remarks": {what: n - said.get(what, 0) for what, n in _remarks(agent).items()},  # an object may teach again
    }
    return outcome, lessons


def _remarks(agent: Any) -> dict[str, int]:
    return dict(agent.remarks()) if hasattr(agent, "remarks") else {}


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
