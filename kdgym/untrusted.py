"""Words of strangers, endpoints and models, made fit to be shown: no escapes for terminals, and no keys."""

from __future__ import annotations

import base64
import json
import os
import re
from urllib.parse import quote

# Environment variables whose values appear in nothing that is written or shown.
SECRETS = ("OPENAI_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "KDGYM_VERIFIER_KEY")
_SHORTEST = 8  # characters; what is shorter is no key that anyone keeps, and stands in many words
_SECRET_PARTS = (  # what looks like a secret, whoever's it is
    (re.compile(r"(?<=//)[^/@\s]+@"), "[key]@"),  # user:password@host
    (re.compile(r"(?i)(authorization[\"']?\s*[:=]\s*[\"']?(?:(?:basic|bearer)\s+)?)[^\s\"',;]+"), r"\1[key]"),
    (re.compile(r"(?i)\b(bearer\s+)(?=\S*\d)[\w.~+/=-]{16,}"), r"\1[key]"),
    (re.compile(r"(?i)([?&](?:[\w-]*(?:key|token|secret|password|signature)|sig)=)[^&\s\"'#]+"), r"\1[key]"),
)


def printable(text: object, most: int | None = 300) -> str:
    """A stranger's words in one line: characters that are not printable (ESC, line ends, surrogates) become ``?``.

    Args:
        text: what was said; anything but a text is turned into one by ``str``.
        most: characters that are shown, None for all. A longer text ends in ``…``, which counts.

    Raises:
        ValueError: ``most`` is below 1.
    """
    if most is not None and most < 1:
        raise ValueError(f"most is {most}; give the number of characters to show, at least 1.")
    said = str(text)
    shown = "".join(c if c.isprintable() else "?" for c in said[:most])
    return shown if most is None or len(said) <= most else shown[:-1] + "…"


def without_keys(text: str, *keys: str) -> str:
    """A text without these keys and those of `SECRETS`, also where they are quoted for JSON or an address, or in base64."""
    for key in {*keys, *(os.environ.get(name, "").strip() for name in SECRETS)}:
        if len(key) >= _SHORTEST:
            encoded = base64.b64encode(key.encode(errors="replace")).decode().rstrip("=")
            for form in (key, json.dumps(key)[1:-1], quote(key, safe=""), encoded):
                text = text.replace(form, "[key]")
    return text


def redacted(text: object, *keys: str) -> str:
    """`without_keys`, and without what looks like a secret: ``user:password@`` and ``?key=`` of addresses, and authorizations.

    For errors, warnings and what else is said of a request. A model's answer is to be kept as it is but for the keys.
    """
    told = without_keys(str(text), *keys)
    for pattern, instead in _SECRET_PARTS:
        told = pattern.sub(instead, told)
    return told
