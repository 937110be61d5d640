"""Ways to attack a company: what an intruder does, step by step, and what each step leaves in the logs."""

from __future__ import annotations

from typing import NamedTuple

from kdgym.tasks.incidents.schema import kind_of


class Step(NamedTuple):
    """One thing the intruder does.

    Attributes:
        table: the log it is seen in.
        entities: column -> role. Equal roles are the same entity; what stands before the colon is its kind. "victim" accounts,
            mailboxes and hosts belong together, as `identity_info` and `device_info` say.
        alert: title of the alert it raises, or "" if nobody noticed.
    """

    table: str
    entities: dict[str, str]
    alert: str = ""


def _step(table: str, entities: str, alert: str = "") -> Step:
    """``entities`` names who is in which column, by commas; of what kind they are, the column says."""
    who = dict(entity.split() for entity in entities.split(", "))
    return Step(table, {column: f"{kind_of(table, column)}:{name}" for column, name in who.items()}, alert)


ATTACKS: dict[str, tuple[Step, ...]] = {
    "phishing": (
        _step(
            "email_events",
            "sender lure, recipient victim, url lure, attachment bait",
            "Mail with a suspicious link delivered",
        ),
        _step("url_clicks", "account victim, host victim, url lure"),
        _step("process_events", "host victim, account victim, process loader, file loader", "Unusual child process"),
        _step("network_events", "host victim, process loader, ip control, domain control"),
        _step("logons", "account admin, host server, ip pivot", "Sign-in from a new place"),
        _step("file_events", "host server, process packer, file archive", "Many files packed in a short time"),
        _step("dns_queries", "host server, domain drop, ip control"),
    ),
    "mail fraud": (
        _step("logons", "account victim, host victim, ip spray", "Password spray"),
        _step("cloud_activity", "account victim, ip proxy", "Impossible travel"),
        _step(
            "mailbox_rules", "account victim, mailbox victim, forward_to drop", "Forwarding rule to an outside address"
        ),
        _step("email_events", "sender drop, recipient clerk, url invoice, attachment invoice"),
        _step("url_clicks", "account clerk, host clerk, url invoice", "Known bad URL opened"),
        _step("dns_queries", "host clerk, domain fake, ip fake"),
    ),
    "ransomware": (
        _step("logons", "account service, host gate, ip entry", "Brute force on a gateway"),
        _step("process_events", "host gate, account service, process scanner, file scanner"),
        _step("network_events", "host gate, process scanner, ip inside, domain relay", "Internal port scan"),
        _step("process_events", "host store, account service, process locker, file locker"),
        _step("file_events", "host store, process locker, file note", "Ransom note on a file server"),
        _step("dns_queries", "host store, domain relay, ip wallet"),
    ),
    "insider": (
        _step("cloud_activity", "account victim, ip home", "Mass download"),
        _step("logons", "account victim, host victim, ip home"),
        _step("file_events", "host victim, process sync, file plans", "Sensitive file copied"),
        _step("network_events", "host victim, process sync, ip locker, domain locker"),
        _step(
            "mailbox_rules", "account victim, mailbox victim, forward_to rival", "Forwarding rule to an outside address"
        ),
    ),
    "watering hole": (
        _step("url_clicks", "account victim, host victim, url hole", "Known bad URL opened"),
        _step("dns_queries", "host victim, domain hole, ip hole"),
        _step("file_events", "host victim, process browser, file dropper", "Executable written by a browser"),
        _step("process_events", "host victim, account victim, process thief, file dropper"),
        _step("logons", "account admin, host victim, ip pivot", "Stolen credentials used"),
        _step("cloud_activity", "account admin, ip exit"),
    ),
}
# How a question asks for the entity in a column.
WANTED = {
    ("email_events", "sender"): "sent the malicious mail",
    ("email_events", "recipient"): "received the malicious mail",
    ("email_events", "url"): "was in the malicious mail",
    ("email_events", "attachment"): "was attached to the malicious mail",
    ("url_clicks", "account"): "opened the malicious URL",
    ("url_clicks", "host"): "opened the malicious URL",
    ("url_clicks", "url"): "was opened",
    ("logons", "account"): "was used by the intruder to sign in",
    ("logons", "host"): "did the intruder sign in to",
    ("logons", "ip"): "did the intruder sign in from",
    ("cloud_activity", "account"): "was misused in the cloud",
    ("cloud_activity", "ip"): "did the misuse of the cloud come from",
    ("mailbox_rules", "account"): "set up the forwarding rule",
    ("mailbox_rules", "mailbox"): "had its mail forwarded",
    ("mailbox_rules", "forward_to"): "received the forwarded mail",
    ("process_events", "host"): "did the malicious process start on",
    ("process_events", "account"): "ran the malicious process",
    ("process_events", "process"): "did the intruder start",
    ("process_events", "file"): "did the malicious process start from",
    ("file_events", "host"): "did the intruder handle files on",
    ("file_events", "process"): "handled the intruder's files",
    ("file_events", "file"): "did the intruder write",
    ("network_events", "host"): "talked to the intruder",
    ("network_events", "process"): "talked to the intruder",
    ("network_events", "ip"): "was contacted by the malicious process",
    ("network_events", "domain"): "was contacted by the malicious process",
    ("dns_queries", "host"): "looked the intruder's domain up",
    ("dns_queries", "domain"): "was looked up for the intruder",
    ("dns_queries", "ip"): "did the intruder's domain lead to",
}
