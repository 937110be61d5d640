"""Words of strangers, made fit for a terminal and for signed findings."""

from __future__ import annotations

def printable(text: object, most: int = 300) -> str:
    """A stranger's words in one line: characters that are not printable (ESC, line ends, surrogates) become ``?``.

    Args:
        text: what was said; anything but a text is turned into one by ``str``.
        most: characters that are shown. A longer text ends in ``…``, which counts.

    Raises:
        ValueError: ``most`` is below 1.
    """
    if most < 1:
        raise ValueError(f"most is {most}; give the number of characters to show, at least 1.")
    said = str(text)
    shown = "".join(c if c.isprintable() else "?" for c in said[:most])
    return shown if len(said) <= most else shown[:-1] + "…"
