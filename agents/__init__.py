"""Teachers, one file each, in a folder a family. Names are unique: ``from kdgym.agents import stat`` finds one anywhere."""

from importlib import import_module
from types import ModuleType

if __name__ != "kdgym.agents":
    raise ImportError(
        "Import this package as kdgym.agents, not as agents; a second copy would be another set of classes."
    )

from kdgym.catalogue import AGENTS


def __getattr__(name: str) -> ModuleType:
    if name not in AGENTS:
        raise AttributeError(f"There is no teacher {name!r}.")
    return import_module(AGENTS[name].module)
