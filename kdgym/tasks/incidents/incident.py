"""One incident: a company's week of logs with an attack hidden in it, and questions about the attack.

An incident is a pure function of (version, split, index). Everything the intruder does is a row of some log; rows of everyday
business outnumber them a thousand to one, and around each of them lie rows that look alike: the same account or host at about
the same time, with entities whose names differ from the intruder's in a character.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kdgym.tasks.base import SPLITS, Split
from kdgym.tasks.incidents.attacks import ATTACKS, Step
from kdgym.tasks.incidents.company import Company, look_alike
from kdgym.tasks.incidents.schema import LOGS, TABLES, entity_columns, kind_of

VERSION = 0
Row = tuple[str, ...]
_MINUTES = 7 * 24 * 60
_SEVERITIES = ("low", "medium", "high")
_OURS = ("account", "host", "mailbox")  # kinds the company owns; all others may be the intruder's


@dataclass(frozen=True)
class Alert:
    """What a detector reported: name, time ("YYYY-MM-DD HH:MM:SS"), title, and the roles it names."""

    name: str
    time: str
    title: str
    roles: tuple[str, ...]


@dataclass(frozen=True)
class Incident:
    """One incident.

    Attributes:
        split, index: which one it is.
        attack: key of `attacks.ATTACKS`.
        entities: role -> name of the entity that plays it.
        alerts: what was noticed, in the order of time.
        rows: table -> its rows, as text; logs in the order of time.
    """

    split: Split
    index: int
    attack: str
    entities: dict[str, str]
    alerts: tuple[Alert, ...]
    rows: dict[str, list[Row]]

    @property
    def steps(self) -> tuple[Step, ...]:
        """What the intruder did."""
        return ATTACKS[self.attack]


def make_incident(split: Split, index: int) -> Incident:
    """The incident ``index`` (>= 0) of a split; neighbours share nothing but the company's habits.

    Raises:
        ValueError: there is no such split, or ``index`` is negative.
    """
    if split not in SPLITS or index < 0:
        raise ValueError(f"There is no incident {index} in {split!r}; choose from {', '.join(SPLITS)}, from 0 up.")
    rng = np.random.default_rng(np.random.SeedSequence([VERSION, SPLITS.index(split), index]))
    company = Company.draw(rng)
    attack = tuple(ATTACKS)[int(rng.integers(len(ATTACKS)))]
    steps = ATTACKS[attack]
    entities = _cast(steps, company, rng)
    begin = rng.integers(_MINUTES * 2 // 5, _MINUTES * 3 // 5)
    minutes = begin + np.concatenate([[0], np.cumsum(rng.integers(4, 120, len(steps) - 1))])
    rows: dict[str, list[Row]] = {table: [] for table in TABLES}
    rows["identity_info"] = [(a, company.mailbox_of[a]) for a in company.names["account"]]
    rows["device_info"] = [(host, a) for a, host in company.host_of.items()]
    for table in LOGS:
        rows[table] = company.business(table, TABLES[table].rows, _MINUTES, rng)
    for step, minute in zip(steps, minutes.tolist(), strict=True):
        seen = {column: entities[role] for column, role in step.entities.items()}
        rows[step.table].append(company.row(step.table, minute, seen, unusual=1.0, rng=rng))
        rows[step.table] += _confusions(step, seen, minute, company, rng)
    for table in LOGS:
        rows[table].sort(key=lambda row: row[0])
    alerts = tuple(_alerts(steps, minutes.tolist(), company, rng))
    rows["alerts"] = [(a.name, a.time, a.title, _SEVERITIES[int(rng.integers(3))]) for a in alerts]
    rows["alert_evidence"] = [(a.name, role.split(":")[0], entities[role]) for a in alerts for role in a.roles]
    return Incident(split, index, attack, entities, alerts, rows)


recent_incident = lru_cache(maxsize=1)(make_incident)  # for those who need its questions and its database


def _cast(steps: Sequence[Step], company: Company, rng: np.random.Generator) -> dict[str, str]:
    """Who plays which role: the company's own people and machines, and an intruder whose names look like common ones."""
    roles = list(dict.fromkeys(role for step in steps for role in step.entities.values()))
    people = dict.fromkeys(role.split(":")[1] for role in roles if role.startswith(_OURS))
    accounts = rng.choice(company.names["account"], len(people), replace=False).tolist()
    account_of = dict(zip(people, accounts, strict=True))
    entities: dict[str, str] = {}
    for role in roles:
        kind, who = role.split(":")
        if kind == "account":
            entities[role] = account_of[who]
        elif kind == "host":
            entities[role] = company.host_of[account_of[who]]
        elif kind == "mailbox":
            entities[role] = company.mailbox_of[account_of[who]]
        else:
            taken = {*company.names[kind], *entities.values()}
            entities[role] = look_alike(company.common(kind, rng), taken, rng)
    return entities


def _confusions(
    step: Step, seen: dict[str, str], minute: int, company: Company, rng: np.random.Generator
) -> Iterator[Row]:
    """Rows that look like the step: each of its accounts, hosts and mailboxes at about the same time, doing other things."""
    for column in entity_columns(step.table):
        if kind_of(step.table, column) in _OURS:
            for _ in range(int(rng.integers(2, 6))):
                others = company.draw_entities(step.table, rng)
                odd = {
                    c: look_alike(others[c], {seen[c]}, rng)
                    for c in others
                    if kind_of(step.table, c) not in _OURS and rng.random() < 0.3
                }
                when = minute + int(rng.integers(-180, 181))
                yield company.row(step.table, when, {**others, **odd, column: seen[column]}, unusual=0.3, rng=rng)


def _alerts(
    steps: Sequence[Step], minutes: Sequence[int], company: Company, rng: np.random.Generator
) -> Iterator[Alert]:
    for step, minute in zip(steps, minutes, strict=True):
        if step.alert:
            named = rng.choice(list(step.entities.values()), min(2, len(step.entities)), replace=False)
            when = company.clock(minute + int(rng.integers(1, 20)), rng)
            yield Alert(f"AL-{rng.integers(10_000, 99_999)}", when, step.alert, tuple(named.tolist()))
