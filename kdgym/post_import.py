"""Something to do as soon as another package is imported."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


def after_import(package: str, do: Callable[[], None]) -> None:
    """Call a function once a package is imported: at once, if it is already.

    Args:
        package: name of a top-level package, which need not be installed.
        do: called in the import of the package, once its own code has run; what it raises is raised there.
    """
    if package in sys.modules:
        do()
    else:
        sys.meta_path.insert(0, _AfterImport(package, do))


class _AfterImport:
    """A finder of `sys.meta_path`: the others find the package, and this one waits until it is not only found but executed."""

    def __init__(self, package: str, do: Callable[[], None]) -> None:
        self.package, self.do = package, do

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self.package:
            return None
        others = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next((found for found in others if found is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_then_do(module: ModuleType) -> None:
                execute(module)
                sys.meta_path.remove(self)
                self.do()

            # The loader belongs to this one spec. Wrapping it in another would hide what else it can do: data files, source.
            spec.loader.exec_module = execute_then_do  # type: ignore[method-assign]
        return spec
