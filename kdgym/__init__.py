"""kdgym: a gym for teacher agents. The environment is a student that learns, the agent is its teacher.

>>> import gymnasium as gym
>>> import kdgym
>>> env = gym.make("kdgym/DataGen-Math-v0")
>>> env.action_space.shape
(56,)
"""

from importlib import import_module
from typing import Any

from kdgym.registration import Entry, register_all, register_environment

__version__ = "0.1.0"
__all__ = ["Entry", "register_agent", "register_environment", "register_students", "register_task"]

register_all()


def __getattr__(name: str) -> Any:
    """What is slow to import comes when it is asked for."""
    where = {"agent": "kdgym.catalogue", "students": "kdgym.students", "task": "kdgym.tasks"}
    kind = name.removeprefix("register_")
    if name not in __all__ or kind not in where:
        raise AttributeError(f"module 'kdgym' has no attribute {name!r}")
    return getattr(import_module(where[kind]), name)
