"""Ways to attack a company: what an intruder does, step by step, and what each step leaves in the logs."""

from __future__ import annotations

from typing import NamedTuple


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


ATTACKS: dict[str, tuple[Step, ...]] = {
    "phishing": (
        Step(
            "email_events",
            {"sender": "address:lure", "recipient": "mailbox:victim", "url": "url:lure", "attachment": "file:bait"},
            "Mail with a suspicious link delivered",
        ),
        Step("url_clicks", {"account": "account:victim", "host": "host:victim", "url": "url:lure"}),
        Step(
            "process_events",
            {"host": "host:victim", "account": "account:victim", "process": "process:loader", "file": "file:loader"},
            "Unusual child process",
        ),
        Step(
            "network_events",
            {"host": "host:victim", "process": "process:loader", "ip": "ip:control", "domain": "domain:control"},
        ),
        Step(
            "logons", {"account": "account:admin", "host": "host:server", "ip": "ip:pivot"}, "Sign-in from a new place"
        ),
        Step(
            "file_events",
            {"host": "host:server", "process": "process:packer", "file": "file:archive"},
            "Many files packed in a short time",
        ),
        Step("dns_queries", {"host": "host:server", "domain": "domain:drop", "ip": "ip:control"}),
    ),
    "mail fraud": (
        Step("logons", {"account": "account:victim", "host": "host:victim", "ip": "ip:spray"}, "Password spray"),
        Step("cloud_activity", {"account": "account:victim", "ip": "ip:proxy"}, "Impossible travel"),
        Step(
            "mailbox_rules",
            {"account": "account:victim", "mailbox": "mailbox:victim", "forward_to": "address:drop"},
            "Forwarding rule to an outside address",
        ),
        Step(
            "email_events",
            {
                "sender": "address:drop",
                "recipient": "mailbox:clerk",
                "url": "url:invoice",
                "attachment": "file:invoice",
            },
        ),
        Step(
            "url_clicks",
            {"account": "account:clerk", "host": "host:clerk", "url": "url:invoice"},
            "Known bad URL opened",
        ),
        Step("dns_queries", {"host": "host:clerk", "domain": "domain:fake", "ip": "ip:fake"}),
    ),
    "ransomware": (
        Step(
            "logons", {"account": "account:service", "host": "host:gate", "ip": "ip:entry"}, "Brute force on a gateway"
        ),
        Step(
            "process_events",
            {"host": "host:gate", "account": "account:service", "process": "process:scanner", "file": "file:scanner"},
        ),
        Step(
            "network_events",
            {"host": "host:gate", "process": "process:scanner", "ip": "ip:inside", "domain": "domain:relay"},
            "Internal port scan",
        ),
        Step(
            "process_events",
            {"host": "host:store", "account": "account:service", "process": "process:locker", "file": "file:locker"},
        ),
        Step(
            "file_events",
            {"host": "host:store", "process": "process:locker", "file": "file:note"},
            "Ransom note on a file server",
        ),
        Step("dns_queries", {"host": "host:store", "domain": "domain:relay", "ip": "ip:wallet"}),
    ),
    "insider": (
        Step("cloud_activity", {"account": "account:victim", "ip": "ip:home"}, "Mass download"),
        Step("logons", {"account": "account:victim", "host": "host:victim", "ip": "ip:home"}),
        Step(
            "file_events",
            {"host": "host:victim", "process": "process:sync", "file": "file:plans"},
            "Sensitive file copied",
        ),
        Step(
            "network_events",
            {"host": "host:victim", "process": "process:sync", "ip": "ip:locker", "domain": "domain:locker"},
        ),
        Step(
            "mailbox_rules",
            {"account": "account:victim", "mailbox": "mailbox:victim", "forward_to": "address:rival"},
            "Forwarding rule to an outside address",
        ),
    ),
    "watering hole": (
        Step(
            "url_clicks",
            {"account": "account:victim", "host": "host:victim", "url": "url:hole"},
            "Known bad URL opened",
        ),
        Step("dns_queries", {"host": "host:victim", "domain": "domain:hole", "ip": "ip:hole"}),
        Step(
            "file_events",
            {"host": "host:victim", "process": "process:browser", "file": "file:dropper"},
            "Executable written by a browser",
        ),
        Step(
            "process_events",
            {"host": "host:victim", "account": "account:victim", "process": "process:thief", "file": "file:dropper"},
        ),
        Step(
            "logons", {"account": "account:admin", "host": "host:victim", "ip": "ip:pivot"}, "Stolen credentials used"
        ),
        Step("cloud_activity", {"account": "account:admin", "ip": "ip:exit"}),
    ),
}
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
