"""kdgym: a gym for teacher agents. The environment is a student that learns, the agent is its teacher.

>>> import gymnasium as gym
>>> import kdgym
>>> env = gym.make("kdgym/DataGen-Math-v0")
>>> env.action_space.shape
(56,)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kdgym.registration import Entry, register_all, register_environment

__version__ = "0.2.0"
__all__ = [
    "Entry",
    "compare",
    "evaluate",
    "register_agent",
    "register_environment",
    "register_students",
    "register_task",
]
_SLOW = {
    "compare": "kdgym.evaluation",
    "evaluate": "kdgym.evaluation",
    "register_agent": "kdgym.catalogue",
    "register_students": "kdgym.students",
    "register_task": "kdgym.tasks",
}

if TYPE_CHECKING:
    from kdgym.catalogue import register_agent
    from kdgym.evaluation import compare, evaluate
    from kdgym.students import register_students
    from kdgym.tasks import register_task

register_all()


def __getattr__(name: str) -> Any:
    """What is slow to import comes when it is asked for."""
    if name not in _SLOW:
        raise AttributeError(f"module 'kdgym' has no attribute {name!r}")
    return getattr(import_module(_SLOW[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
