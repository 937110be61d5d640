"""The frozen card of a board: what every record of it has in common. ``cards.json`` holds those of all boards.

A change that moves scores asks for a new version of the environment; a card that differs from the frozen one is found by
``kdgym leaderboard check``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdgym.leaderboard.submit import board_seeds, open_board
from kdgym.registration import find
from kdgym.spaces import space_to_plain
from kdgym.storage import write_atomically

Card = dict[str, Any]


def make_card(env_id: str) -> Card:
    """Students, length, measure, control, all settings (budget and splits among them), skills, and the space of actions."""
    entry, seeds = find(env_id), board_seeds(env_id)
    envs = open_board(env_id, 1, {})
    card = {
        "first student": seeds[0],
        "students": len(seeds),
        "steps": envs.steps,
        "measure": entry.measure,
        "control": entry.controls[0],
        "settings": envs.settings,
        "skills": [skill["name"] for skill in envs.metadata.get("skills", [])],
        "actions": space_to_plain(envs.single_action_space),
    }
    plain: Card = json.loads(json.dumps(card))
    return plain


def read_cards(folder: Path) -> dict[str, Card]:
    """The frozen cards of a folder's boards."""
    file = folder / "cards.json"
    cards: dict[str, Card] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return cards


def freeze(folder: Path, ids: Sequence[str]) -> dict[str, Card]:
    """Add the cards that are missing; those that are there stay what they are."""
    cards = read_cards(folder)
    cards |= {env_id: make_card(env_id) for env_id in ids if env_id not in cards}
    write_atomically(folder / "cards.json", (json.dumps(dict(sorted(cards.items())), indent=1) + "\n").encode())
    return cards


def changed_cards(folder: Path, ids: Sequence[str]) -> list[str]:
    """Boards that are no longer what their frozen card says, or have none, and in what."""
    frozen, found = read_cards(folder), []
    for env_id in ids:
        old, new = frozen.get(env_id), make_card(env_id)
        if old is None:
            found.append(f"{env_id} has no card; run: kdgym leaderboard build")
        elif old != new:
            differs = [key for key in new if old.get(key) != new[key]]
            found.append(
                f"{env_id} is not what its card says ({', '.join(differs)}); a change that moves scores needs a new id"
            )
    return found
