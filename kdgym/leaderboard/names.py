"""Names on boards: which are kdgym's own, however they are spelled, and how strangers' names are written into Markdown."""

from __future__ import annotations

import html
import re
import unicodedata
from functools import cache

from kdgym.catalogue import packaged
from kdgym.evaluation import NO_TEACHING
from kdgym.leaderboard.record import AgentCard

OWN = "kdgym"  # author of the records that come with kdgym
# Letters that names may have and that do not decompose, beside those whose Unicode names say which letter they are.
_ALIKE = dict(zip("ðþŋĸ×ƨƿʊʉəɣƅɵœʀʒʃ", "dpnkxspuueyboorzs", strict=True))  # noqa: RUF001
_ALIKE |= dict.fromkeys("i1|ɩǀ", "l") | {"0": "o", "œ": "oe"}  # noqa: RUF001
_LETTER = re.compile(r"LATIN (?:LETTER|SMALL LETTER) (?:DOTLESS |OPEN |TURNED |REVERSED )?([A-Z]{1,2})(?: WITH .*)?")


@cache
def _letter(character: str) -> str:
    """A small letter as the ASCII letters that it looks like."""
    named = None if character.isascii() else _LETTER.fullmatch(unicodedata.name(character, ""))
    letters = named[1].lower() if named else character
    return "".join(_ALIKE.get(letter, letter) for letter in letters)


def fold(name: str) -> str:
    """A name without what the eye may miss: case, accents, blanks and signs, and which of i, l and 1, or of o and 0."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name).casefold())
    letters = re.sub(r"[^a-z0-9]", "", "".join(map(_letter, plain)))
    return letters.replace("rn", "m").replace("vv", "w")


def reserved(card: AgentCard) -> str | None:
    """The name of kdgym's own that a card has, or has a look-alike of: a packaged agent's, or the author kdgym; else None."""
    own = {fold(name): name for name, agent in packaged().items() if agent.module.startswith("kdgym.agents.")}
    own[fold(NO_TEACHING)] = NO_TEACHING
    if any(fold(author).startswith(fold(OWN)) for author in card.authors):
        return OWN
    return own.get(fold(card.name))


def require_free(card: AgentCard) -> None:
    """Refuse names that readers would take for kdgym's own agents.

    Raises:
        ValueError: the agent's name or an author is kdgym's own, or looks like it.
    """
    if own := reserved(card):
        raise ValueError(f"{card.name!r} by {', '.join(card.authors)}: {own!r} is kdgym's own; choose another name.")


# Signs in a text: those that addresses hang on; those that mean nothing inside a word; all others.
_SIGNS = re.compile(r"(?i)(?P<hook>(?<=www)\.|[@:])|(?P<inner>(?<=[a-z0-9])[-_.'](?=[a-z0-9]))|[!-/:-@[-`{-~]")


def markdown(text: str) -> str:
    """A stranger's words for a page of Markdown: nothing in them is markup, a link, or an address that becomes one."""
    return _SIGNS.sub(_quoted, " ".join(text.split()))


def _quoted(found: re.Match[str]) -> str:
    sign = found[0]
    if found["inner"]:
        return sign
    # Addresses are linked after signs have lost their backslash: only markup keeps their parts from each other.
    return html.escape(sign) if sign in "&<>" else f"<!-- -->\\{sign}" if found["hook"] else f"\\{sign}"
