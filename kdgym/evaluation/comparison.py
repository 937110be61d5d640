"""Several teachers on the same students: the protocol for each, and what their scores say side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
from rich.table import Table

from kdgym.catalogue import require_fit
from kdgym.evaluation.agents import NO_TEACHING, agent_name, as_given, attribute, encoding, load_agent
from kdgym.evaluation.display import Shown
from kdgym.evaluation.protocol import FIRST_SEED, Progress, Result, evaluate
from kdgym.registration import find

if TYPE_CHECKING:
    from kdgym.evaluation.plots import Picture

ComparisonProgress = Callable[[str, int, int], None]


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """What `compare` found. It prints as a table, draws itself (`plot`), and shows both in a notebook.

    ``comparison["uniform"]`` is a teacher's `Result`, with its raw arrays; iterating gives all of them.

    Attributes:
        results: of every teacher, in the order in which they were given; the control first, unless it was among them.
        control: the result that the others' differences are taken to.
    """

    results: tuple[Result, ...]
    control: Result

    def __getitem__(self, agent: str) -> Result:
        for result in self.results:
            if result.agent == agent:
                return result
        raise KeyError(f"There is no {agent!r} in this comparison of {', '.join(each.agent for each in self.results)}.")

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def report(self) -> list[Table | str]:
        """Score and paired differences with 95 % intervals, best first; what else was measured; remarks of teachers."""
        from kdgym.evaluation.report import comparison_table, extras_tables, remarks

        return [comparison_table(self.results, self.control), *extras_tables(self.results), *remarks(self.results)]

    def plot(self, path: Path | str | None = None) -> Picture:
        """Differences to the control with 95 % intervals, and learning curves; or success against money, where tasks are done.

        Args:
            path: where to write it, too; the ending chooses the format (png, svg, pdf).
        """
        from kdgym.evaluation.plots import comparison_picture
        from kdgym.evaluation.report import ranked

        return comparison_picture(ranked(self.results), self.control, path)

    def to_json(self) -> dict[str, Any]:
        """What the tables say, and the per-seed records that they are computed from."""
        from kdgym.evaluation.report import comparison_json

        return comparison_json(self.results, self.control)


def compare(
    env_id: str,
    agents: Iterable[Any] | Mapping[str, Any],
    episodes: int = 64,
    *,
    control: Any = None,
    first_seed: int = FIRST_SEED,
    population: int | None = None,
    placebo: bool = False,
    retention: int = 0,
    options: Mapping[str, Any] | None = None,
    progress: ComparisonProgress = lambda agent, done, total: None,
    **settings: Any,
) -> Comparison:
    """Let several agents teach the same unseen students, and compare what these learned.

    >>> import kdgym
    >>> found = kdgym.compare("kdgym/DataGen-Math-v0", ["uniform", "adaptive_source"], episodes=8)
    >>> found["adaptive_source"].after.shape
    (8,)

    Args:
        env_id: an environment of `kdgym.registration`, for example ``"kdgym/DataGen-Math-v0"``.
        agents: each as `kdgym.evaluate` takes it; a mapping gives them names of your own.
        episodes: student seeds, at least 2.
        control: what the differences are taken to, an agent or one of the names; the environment's own control, if left out.
        first_seed, population, placebo, retention, options: see `kdgym.evaluate`.
        progress: called with a teacher's name, the student-steps done so far, and all there are.
        settings: passed to the environment, for example ``steps=4``.

    Raises:
        ValueError: an argument is out of range, there is no such environment or agent, or an agent does not fit it.
        UnreachableError: a language model does not answer its first question; see `kdgym.llm`.
    """
    entry, named = find(env_id), _named(agents)
    if control is None or not (isinstance(control, str) and control in named):
        first = _named([entry.controls[0] if control is None else control])
        named = {**first, **{name: agent for name, agent in named.items() if name not in first}}
        control = next(iter(first))
    steps = _try(env_id, named.values(), options, settings)
    # Teachers that ask a language model come first: where it does not answer, nobody waits for the others.
    order = sorted(named, key=lambda name: "base_url" not in (attribute(named[name], "options") or ()))
    found, each = {}, episodes * steps
    for place, name in enumerate(order):
        found[name] = evaluate(
            env_id,
            named[name],
            episodes,
            first_seed=first_seed,
            population=population,
            placebo=placebo,
            retention=retention,
            options=options,
            progress=_counted(progress, name, place * each, len(order) * each),
            **settings,
        )
    progress("done", len(order) * each, len(order) * each)
    results = {name: replace(found[name], agent=name) for name in named}
    return Comparison(tuple(results.values()), results[control])


def _named(agents: Iterable[Any] | Mapping[str, Any]) -> dict[str, Any]:
    """Agents by their names; equal texts are one agent, and further objects of one name get a number."""
    if isinstance(agents, Mapping):
        return {name: as_given(agent) for name, agent in agents.items()}
    named: dict[str, Any] = {}
    for agent in map(as_given, [agents] if isinstance(agents, str) else agents):
        name = first = agent_name(agent)
        number = 2
        while name in named and named[name] != agent:
            name, number = f"{first} {number}", number + 1
        named[name] = agent
    return named


def _try(env_id: str, agents: Iterable[Any], options: Mapping[str, Any] | None, settings: Mapping[str, Any]) -> int:
    """Find what is wrong with an agent, a setting or an installation before the work begins; the steps of an episode."""
    agents = list(agents)
    for agent in agents:
        if isinstance(agent, str):
            require_fit(env_id, agent)
    students: dict[str, Any] = {}  # one, by how its actions are encoded
    for agent in agents:
        chosen = {**encoding(agent), **settings}
        actions = chosen.get("actions", "")
        if actions not in students:
            students[actions] = gym.make_vec(env_id, num_envs=1, **chosen).unwrapped
        if agent != NO_TEACHING:
            load_agent(agent, students[actions], options=options)
    return int(next(iter(students.values())).steps)


def _counted(progress: ComparisonProgress, name: str, done: int, total: int) -> Progress:
    """A teacher's own progress as part of all."""
    progress(name, done, total)

    def advance(steps: int) -> None:
        nonlocal done
        done += steps
        progress(name, done, total)

    return advance
