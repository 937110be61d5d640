"""A company: its people, machines, programs and correspondents, and what an ordinary week of theirs looks like in the logs."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from kdgym.tasks.incidents.schema import KINDS, TABLES, TEXT, TIME, entity_columns, kind_of

Row = tuple[str, ...]
_MONDAY = datetime(2026, 1, 5)
_FIRST = "abcdefghijklmnoprstvwz"
_LAST = (
    "adler baker costa dunn evans fisher garcia hall ivanov jensen keller lopez meyer novak olsen patel quinn rossi "
    "silva turner ueda vogel weber xu young zhang ames boyd cruz dale egan frost grant hayes ives jones knox lane "
    "moss nash orr page reed shaw"
).split()
_DEPARTMENTS = ("fin", "eng", "ops", "law", "lab", "web")
_WORDS = (
    "alpha blue cedar delta ember falcon glade harbor iris juniper kite lotus maple north ocean pine quartz river "
    "stone tulip umber violet willow yarrow zephyr anchor birch copper drift echo flint grove hazel"
).split()
_ENDINGS = {"domain": (".com", ".net", ".org", ".io"), "file": (".docx", ".xlsx", ".pdf", ".dll", ".exe", ".zip")}
_SIZES = {"ip": 260, "file": 320, "process": 90, "address": 200, "url": 260, "domain": 150}
_ALIKE = dict(zip("oliea0123456789", "01l3o8718965134", strict=True))  # what a reader takes for what


@dataclass(frozen=True)
class Company:
    """Names by kind, the most common first, and who owns what."""

    names: dict[str, list[str]]
    mailbox_of: dict[str, str]
    host_of: dict[str, str]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Company:
        """A company of 90 people."""
        people = rng.choice(len(_FIRST) * len(_LAST), 90, replace=False)
        accounts = [f"{_FIRST[i % len(_FIRST)]}.{_LAST[i // len(_FIRST)]}" for i in people.tolist()]
        home = f"{_WORDS[rng.integers(len(_WORDS))]}corp.example"
        numbers = rng.permutation(900)[:90] + 100
        hosts = [f"{_DEPARTMENTS[i % 6]}-{'srv' if i % 9 == 0 else 'pc'}-{n}" for i, n in enumerate(numbers.tolist())]
        mailbox_of = {account: f"{account}@{home}" for account in accounts}
        names = {"account": accounts, "host": hosts, "mailbox": list(mailbox_of.values())}
        names |= {kind: _invent(kind, size, rng) for kind, size in _SIZES.items()}
        return cls(names, mailbox_of, dict(zip(accounts, hosts, strict=True)))

    def common(self, kind: str, rng: np.random.Generator) -> str:
        """One of the ten most common names of a kind."""
        return self.names[kind][int(rng.integers(10))]

    def draw_entities(self, table: str, rng: np.random.Generator) -> dict[str, str]:
        """Entities of an ordinary row: people at their own machines mostly, few names often and many rarely."""
        return self._entities(table, rng.random(1 + len(TABLES[table].columns)).tolist())

    def _entities(self, table: str, chance: list[float]) -> dict[str, str]:
        columns = entity_columns(table)
        drawn = {}
        for column, u in zip(columns, chance[1:], strict=False):
            names = self.names[kind_of(table, column)]
            drawn[column] = names[int(len(names) * u**2.5)]
        account = drawn.get("account")
        if account is not None and chance[0] < 0.85:
            own = {"host": self.host_of[account], "mailbox": self.mailbox_of[account]}
            drawn |= {column: own[column] for column in ("host", "mailbox") if column in drawn}
        return drawn

    def business(self, table: str, rows: int, minutes: int, rng: np.random.Generator) -> list[Row]:
        """``rows`` ordinary rows over so many minutes."""
        when = rng.integers(0, minutes, rows).tolist()
        chance = rng.random((rows, 1 + len(TABLES[table].columns))).tolist()
        return [self.row(table, w, self._entities(table, c), 0.02, rng) for w, c in zip(when, chance, strict=True)]

    def row(self, table: str, minute: int, entities: dict[str, str], unusual: float, rng: np.random.Generator) -> Row:
        """A row at a minute of the week, with an unusual detail by that probability."""
        columns, details = TABLES[table].columns, TABLES[table].details
        cells = []
        for column, kind in columns.items():
            if kind == TIME:
                cells.append(self.clock(minute, rng))
            elif kind == TEXT:
                choices = details[column][int(rng.random() < unusual)]
                cells.append(choices[int(rng.integers(len(choices)))])
            else:
                cells.append(entities[column])
        return tuple(cells)

    @staticmethod
    def clock(minute: int, rng: np.random.Generator) -> str:
        """A minute of the week as "YYYY-MM-DD HH:MM:SS"."""
        return str(_MONDAY + timedelta(minutes=minute, seconds=int(rng.integers(60))))


def look_alike(name: str, taken: set[str], rng: np.random.Generator) -> str:
    """A name that differs from ``name`` in as few characters as it takes to be new."""
    places = [i for i, letter in enumerate(name) if letter in _ALIKE] or [0]
    for attempt in itertools.count():
        letters = list(name)
        for at in rng.choice(places, 1 + attempt // 20).tolist():
            letters[at] = _ALIKE.get(letters[at], "x" + letters[at])
        made = "".join(letters)
        if made not in taken and made != name and _plausible(made):
            break
    return made


def _plausible(name: str) -> bool:
    """False for addresses that no network has, such as 10.20.300.1."""
    parts = name.split(".")
    return not (len(parts) == 4 and all(part.isdigit() for part in parts)) or all(int(part) < 255 for part in parts)


def _invent(kind: str, size: int, rng: np.random.Generator) -> list[str]:
    """Different names of a kind."""
    if kind not in KINDS:
        raise ValueError(f"There is no kind of entity {kind!r}; choose from {', '.join(KINDS)}.")
    made: dict[str, None] = {}
    while len(made) < size:
        a, b = (_WORDS[i] for i in rng.integers(0, len(_WORDS), 2).tolist())
        n = int(rng.integers(10, 250))
        ending = _ENDINGS.get(kind, ("",))[n % len(_ENDINGS.get(kind, ("",)))]
        made[
            {
                "ip": f"{'10.20' if n % 3 == 0 else f'{n}.{rng.integers(16, 250)}'}.{rng.integers(250)}.{rng.integers(1, 250)}",
                "file": f"{a}_{b}_{n}{ending}",
                "process": f"{a}{b}.exe",
                "address": f"{a}.{b}@{_WORDS[n % len(_WORDS)]}mail.example",
                "url": f"https://{a}{b}.example/{_WORDS[n % len(_WORDS)]}/{n}",
                "domain": f"{a}-{b}{ending}",
            }[kind]
        ] = None
    return list(made)
