"""The protocol that produces a score, and the teachers it asks."""

from kdgym.evaluation.agents import (
    NO_TEACHING,
    Agent,
    Observation,
    Policy,
    agent_class,
    agent_module,
    conclude,
    decide,
    encoding,
    introduce,
    load_agent,
    make_unseen,
)
from kdgym.evaluation.protocol import FIRST_SEED, Progress, Result, evaluate, teach

__all__ = [
    "FIRST_SEED",
    "NO_TEACHING",
    "Agent",
    "Observation",
    "Policy",
    "Progress",
    "Result",
    "agent_class",
    "agent_module",
    "conclude",
    "decide",
    "encoding",
    "evaluate",
    "introduce",
    "load_agent",
    "make_unseen",
    "teach",
]
