"""What other packages add by name, by a call or by entry points: a registry of kdgym's own things and theirs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUPS = ("kdgym.agents", "kdgym.environments", "kdgym.students", "kdgym.tasks")

T = TypeVar("T")


class PluginError(ValueError):
    """What an installed package adds cannot be used. The message names the package, and says what to do."""


class Registry(Generic[T]):
    """Things of one kind by name: kdgym's own, those added by a call, and those that installed packages name.

    Entry points are read when a name is wanted that is none of kdgym's own, and loaded one by one, when they are asked for.

    Args:
        group: of entry points: ``kdgym.tasks``. An entry point has the name of the thing.
        what: what a thing is, in a sentence: ``task``.
        own: kdgym's own things.
        read: from an entry point to the thing; what it raises makes a `PluginError`.

    Attributes:
        added: by a call, or read already.
    """

    def __init__(
        self, group: str, what: str, own: Callable[[], Mapping[str, T]], read: Callable[[EntryPoint], T]
    ) -> None:
        self.group, self.what, self._own, self._read = group, what, own, read
        self.added: dict[str, T] = {}
        self._broken: set[str] = set()

    @cached_property
    def installed(self) -> dict[str, EntryPoint]:
        """The entry points of the group, by name; a name that is taken is left out, with a warning."""
        from importlib.metadata import entry_points  # which takes as long as `import kdgym` itself

        found: dict[str, EntryPoint] = {}
        for point in sorted(entry_points(group=self.group), key=_package):
            if point.name in self._own() or point.name in found:
                owner = _package(found[point.name]) if point.name in found else "kdgym"
                text = f"The {self.what} {point.name!r} of {_package(point)} is left out: {owner} has one of that name."
                warnings.warn(text, stacklevel=2)
            else:
                found[point.name] = point
        return found

    def add(self, name: str, thing: T) -> None:
        """Add a thing, for this process.

        Raises:
            ValueError: there is one of that name.
        """
        if name in self:
            owner = _package(self.installed[name]) if name in self.installed else "kdgym, or an earlier call"
            raise ValueError(f"There is already the {self.what} {name!r}, of {owner}; choose another name.")
        self.added[name] = thing

    def names(self) -> list[str]:
        """All names, kdgym's own first."""
        return list(dict.fromkeys([*self._own(), *self.added, *self.installed]))

    def __contains__(self, name: object) -> bool:
        return name in self._own() or name in self.added or name in self.installed

    def __getitem__(self, name: str) -> T:
        """The thing of that name.

        Raises:
            KeyError: there is none.
            PluginError: there is one, of an installed package, and it cannot be used.
        """
        own = self._own()
        if name in own:
            return own[name]
        if name not in self.added:
            point = self.installed[name]
            try:
                self.added[name] = self._read(point)
            except Exception as error:  # whatever the package raises, it is named
                raise PluginError(
                    f"The {self.what} {name!r} of the package {_package(point)} cannot be used: {point.value} fails with "
                    f"{type(error).__name__}: {str(error).rstrip('.')}. Update that package, or uninstall it."
                ) from error
        return self.added[name]

    def usable(self) -> dict[str, T]:
        """All things that can be used, by name; of those that cannot a warning says why, once."""
        for name in sorted(self.installed.keys() - self.added.keys() - self._broken):
            try:
                self[name]
            except PluginError as error:
                self._broken.add(name)
                warnings.warn(str(error), stacklevel=2)
        return {name: self[name] for name in self.names() if name not in self._broken}


def _package(point: EntryPoint) -> str:
    """Name and version of the package that an entry point is of."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"


def plugin_packages() -> set[str]:
    """The top-level packages that entry points of `GROUPS` name."""
    from importlib.metadata import entry_points

    return {point.module.partition(".")[0] for group in GROUPS for point in entry_points(group=group)}
