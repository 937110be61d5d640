"""What users import by name is there and explained."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module

import pytest

import kdgym

# Where a person finds what belongs together; other modules are imported whole.
PACKAGES = ("core", "evaluation", "llm", "spaces", "students", "tasks", "teaching", "testing", "wrappers")
NAMED = ["kdgym", *(f"kdgym.{name}" for name in PACKAGES)]


@pytest.mark.parametrize("name", NAMED)
def test_public_names_are_there_and_have_a_docstring(name: str) -> None:
    module = import_module(name)
    assert set(module.__all__) <= set(dir(module))
    for public in module.__all__:
        value = getattr(module, public)
        if inspect.isclass(value) or inspect.isroutine(value):
            assert value.__doc__, f"{name}.{public}"
            assert not value.__doc__.startswith(f"{public}("), f"{name}.{public} has no docstring but a dataclass's own"


@pytest.mark.parametrize("name", NAMED)
def test_all_public_definitions_of_a_module_without_parts_are_named(name: str) -> None:
    module = import_module(name)
    own = {
        each
        for each, value in vars(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == name
        and not each.startswith("_")
    }
    assert own <= set(module.__all__)


def test_every_package_has_a_docstring() -> None:
    found = [module.name for module in pkgutil.iter_modules(kdgym.__path__, "kdgym.") if module.ispkg]
    assert {"kdgym.core", "kdgym.teaching"} <= set(found)
    for name in found:
        assert (import_module(name).__doc__ or "").strip(), name
