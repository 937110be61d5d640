"""Upper bound: plays the whole lesson under several ways to ask on copies of the pupil, and follows the one that ends best."""

from typing import Any

from kdgym.agents.feedback import feedback_lookahead

ANSWER: dict[str, Any] = {"which": "wrong", "kind": "next_step", "length": 1, "shaping": "plain", "weight": 1}


class Agent(feedback_lookahead.Agent):
    rules = (
        {"ask": 0},
        {"ask": 0.25, "fraction": 0.25, **ANSWER},
        {"ask": 0.5, "fraction": 0.25, **ANSWER},
        {"ask": 1, "fraction": 0.25, **ANSWER},
        {"ask": 1, "fraction": 0.5, **ANSWER},
    )
