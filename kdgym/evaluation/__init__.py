"""The protocol that produces a score, and the teachers it asks; ``kdgym.evaluate`` and ``kdgym.compare`` are from here."""

from kdgym.evaluation.agents import (
    NO_TEACHING,
    Agent,
    Observation,
    Policy,
    agent_class,
    agent_module,
    agent_name,
    conclude,
    decide,
    encoding,
    introduce,
    load_agent,
    make_unseen,
)
from kdgym.evaluation.comparison import Comparison, compare
from kdgym.evaluation.protocol import FIRST_SEED, Progress, Result, evaluate, teach
from kdgym.evaluation.raw import MOST_FAILED, RawResult, failed_share

__all__ = [
    "FIRST_SEED",
    "MOST_FAILED",
    "NO_TEACHING",
    "Agent",
    "Comparison",
    "Observation",
    "Policy",
    "Progress",
    "RawResult",
    "Result",
    "agent_class",
    "agent_module",
    "agent_name",
    "compare",
    "conclude",
    "decide",
    "encoding",
    "evaluate",
    "failed_share",
    "introduce",
    "load_agent",
    "make_unseen",
    "teach",
]
