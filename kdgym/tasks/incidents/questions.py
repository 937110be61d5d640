"""Questions about an incident, and how answers are scored.

A question names an alert and one entity of it, and asks for another entity of the same attack; the shortest way between the two
through the attack's rows is the solution. Scores follow ExCyTIn-Bench (microsoft/SecRL): 1 for the right answer, otherwise
0.4 to the power of k for every earlier step of the solution that the student cites, k counted back from the answer. *Success*
is score 1 and nothing else: partial credit is for learning, not for claims.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from kdgym.tasks.incidents.attacks import ATTACKS, WANTED, Step
from kdgym.tasks.incidents.incident import Incident
from kdgym.tasks.incidents.schema import KINDS, Relation, kind_of

DISCOUNT = 0.4
MOST_HOPS = 4


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        text: as a person or a language model reads it.
        title, time: of the alert it starts from.
        start: the entity to start from.
        wanted: table and column that the answer stands in.
        hops: relations of the solution, from the start to the answer.
        path: the entities that they lead to, the answer last.
        key: what is alike in all companies: the alert's title, kind of the start, and ``wanted``.
    """

    text: str
    title: str
    time: str
    start: str
    wanted: tuple[str, str]
    hops: tuple[Relation, ...]
    path: tuple[str, ...]
    key: str

    @property
    def answer(self) -> str:
        """The right answer."""
        return self.path[-1]

    def score(self, answer: str, cited: Sequence[str] = ()) -> float:
        """What an answer is worth, in [0, 1].

        Args:
            answer: an entity's name; upper case and blanks around it do not matter.
            cited: entities that the student says it came by, at most as many as the solution has steps; the rest is not read.
        """
        if _plain(answer) == _plain(self.answer):
            return 1.0
        found = {_plain(entity) for entity in list(cited)[: len(self.path)]}
        return sum(DISCOUNT**k for k, entity in enumerate(self.path[-2::-1], start=1) if _plain(entity) in found)


class Solution(NamedTuple):
    """A way that the answer to some question is found by, whatever the company.

    Attributes:
        title: of the alert.
        start: kind of the entity to start from.
        wanted: table and column of the answer.
        hops: relations from the start to the answer.
    """

    title: str
    start: str
    wanted: tuple[str, str]
    hops: tuple[Relation, ...]


@cache
def solutions(most_hops: int = MOST_HOPS) -> tuple[Solution, ...]:
    """The solutions of all questions that can be asked, in a fixed order."""
    found = [
        Solution(step.alert, start.split(":")[0], (table, column), tuple(relation for relation, _ in ways[role]))
        for steps in ATTACKS.values()
        for step in steps
        if step.alert
        for start in step.entities.values()
        for ways in [_shortest_ways(steps, start)]
        for table, column, role in _wanted(steps)
        if 1 <= len(ways.get(role, ())) <= most_hops
    ]
    return tuple(dict.fromkeys(found))


def ask(incident: Incident, most_hops: int = MOST_HOPS) -> tuple[Question, ...]:
    """All questions about an incident whose solutions have 1 to ``most_hops`` steps, in a fixed order."""
    questions = []
    for alert in incident.alerts:
        for start in alert.roles:
            ways = _shortest_ways(incident.steps, start)
            for table, column, role in _wanted(incident.steps):
                told = (
                    role in alert.roles or incident.entities[role] in incident.entities[start]
                )  # a mailbox names its owner
                if not told and 1 <= len(ways.get(role, ())) <= most_hops:
                    questions.append(_question(incident, alert.title, alert.time, start, (table, column), ways[role]))
    return tuple({(question.start, question.answer): question for question in reversed(questions)}.values())[::-1]


def _wanted(steps: Sequence[Step]) -> Iterator[tuple[str, str, str]]:
    """Table, column and role of what may be asked for: columns in which the attack is seen once."""
    places = Counter((step.table, column) for step in steps for column in step.entities)
    return ((s.table, c, role) for s in steps for c, role in s.entities.items() if places[s.table, c] == 1)


_Way = tuple[tuple[Relation, str], ...]


def _question(incident: Incident, title: str, time: str, start: str, wanted: tuple[str, str], way: _Way) -> Question:
    names = incident.entities
    kind, what = KINDS[kind_of(*wanted)], KINDS[start.split(":", maxsplit=1)[0]]
    text = (
        f'The alert "{title}" of {time} names the {what} {names[start]}. Which {kind} {WANTED[wanted]} in the same attack? '
        f"Answer with its name."
    )
    path = tuple(names[role] for _, role in way)
    hops = tuple(relation for relation, _ in way)
    return Question(text, title, time, names[start], wanted, hops, path, f"{title} | {what} | {'.'.join(wanted)}")


def _shortest_ways(steps: Sequence[Step], start: str) -> dict[str, _Way]:
    """Breadth-first from a role through the rows of the attack and the company's directories."""
    edges: dict[str, list[tuple[Relation, str]]] = {}
    for table, entities in [(s.table, s.entities) for s in steps] + _directories(steps):
        for source, a in entities.items():
            for target, b in entities.items():
                if source != target:
                    edges.setdefault(a, []).append((Relation(table, source, target), b))
    ways: dict[str, _Way] = {start: ()}
    queue = deque([start])
    while queue:
        role = queue.popleft()
        for relation, to in edges.get(role, ()):
            if to not in ways:
                ways[to] = (*ways[role], (relation, to))
                queue.append(to)
    return ways


def _directories(steps: Sequence[Step]) -> list[tuple[str, dict[str, str]]]:
    """Who owns which mailbox and machine, among those in the attack."""
    roles = dict.fromkeys(role for step in steps for role in step.entities.values())
    links = []
    for role in roles:
        who = role.split(":")[1]
        if role.startswith("account:") and f"mailbox:{who}" in roles:
            links.append(("identity_info", {"account": role, "mailbox": f"mailbox:{who}"}))
        if role.startswith("account:") and f"host:{who}" in roles:
            links.append(("device_info", {"host": f"host:{who}", "account": role}))
    return links


def _plain(name: str) -> str:
    return name.strip().lower()
