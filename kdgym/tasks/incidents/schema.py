"""What a company logs: tables, and which of their columns name entities.

The shape follows ExCyTIn-Bench (microsoft/SecRL): alerts, the entities they name, and logs where the rest has to be found.
"""

from __future__ import annotations

from typing import NamedTuple

KINDS = {
    "account": "account",
    "host": "host",
    "ip": "IP address",
    "file": "file",
    "process": "process",
    "mailbox": "mailbox",
    "address": "outside mail address",
    "url": "URL",
    "domain": "domain",
}
TIME, TEXT = "time", "text"


class Table(NamedTuple):
    """One table of the database.

    Attributes:
        columns: column -> an entity kind of `KINDS`, or "time", or "text".
        details: text column -> (what is usual, what is unusual).
        rows: how many rows of everyday business it gets; 0 for tables that are not logs.
    """

    columns: dict[str, str]
    details: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]
    rows: int


TABLES: dict[str, Table] = {
    "email_events": Table(
        {
            "time": TIME,
            "sender": "address",
            "recipient": "mailbox",
            "url": "url",
            "attachment": "file",
            "verdict": TEXT,
        },
        {"verdict": (("clean", "clean", "clean", "bulk"), ("suspicious", "clean"))},
        2600,
    ),
    "url_clicks": Table(
        {"time": TIME, "account": "account", "host": "host", "url": "url", "action": TEXT},
        {"action": (("allowed",), ("allowed after warning", "allowed"))},
        2200,
    ),
    "logons": Table(
        {"time": TIME, "account": "account", "host": "host", "ip": "ip", "result": TEXT},
        {"result": (("success", "success", "success", "wrong password"), ("success after failures", "success"))},
        3200,
    ),
    "cloud_activity": Table(
        {"time": TIME, "account": "account", "ip": "ip", "operation": TEXT},
        {"operation": (("read", "read", "write", "share"), ("mass download", "consent granted", "read"))},
        2400,
    ),
    "mailbox_rules": Table(
        {"time": TIME, "account": "account", "mailbox": "mailbox", "forward_to": "address", "operation": TEXT},
        {"operation": (("move", "categorise"), ("forward and delete", "move"))},
        900,
    ),
    "process_events": Table(
        {"time": TIME, "host": "host", "account": "account", "process": "process", "file": "file", "parent": TEXT},
        {"parent": (("explorer.exe", "services.exe", "svchost.exe"), ("winword.exe", "wscript.exe", "explorer.exe"))},
        3600,
    ),
    "file_events": Table(
        {"time": TIME, "host": "host", "process": "process", "file": "file", "action": TEXT},
        {"action": (("created", "modified", "modified"), ("renamed", "deleted", "created"))},
        3000,
    ),
    "network_events": Table(
        {"time": TIME, "host": "host", "process": "process", "ip": "ip", "domain": "domain", "port": TEXT},
        {"port": (("443", "443", "80", "53"), ("8443", "4444", "443"))},
        3600,
    ),
    "dns_queries": Table(
        {"time": TIME, "host": "host", "domain": "domain", "ip": "ip", "type": TEXT},
        {"type": (("A", "A", "AAAA"), ("TXT", "A"))},
        1800,
    ),
    "identity_info": Table({"account": "account", "mailbox": "mailbox"}, {}, 0),
    "device_info": Table({"host": "host", "account": "account"}, {}, 0),
    "alerts": Table({"alert": TEXT, "time": TIME, "title": TEXT, "severity": TEXT}, {}, 0),
    "alert_evidence": Table({"alert": TEXT, "kind": TEXT, "entity": TEXT}, {}, 0),
}
LOGS = tuple(name for name, table in TABLES.items() if table.rows)


class Relation(NamedTuple):
    """A parameterised query: from an entity in one column of a table to those beside it in another."""

    table: str
    source: str
    target: str


def entity_columns(table: str) -> list[str]:
    """The columns of a table that name entities."""
    return [column for column, kind in TABLES[table].columns.items() if kind in KINDS]


RELATIONS = tuple(
    Relation(table, source, target)
    for table in TABLES
    for source in entity_columns(table)
    for target in entity_columns(table)
    if source != target
)


def kind_of(table: str, column: str) -> str:
    """The kind of entity that a column names."""
    return TABLES[table].columns[column]
