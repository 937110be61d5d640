"""Students by name: a registry that others add to, and options that are checked."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import gymnasium as gym
import pytest
import torch

import kdgym  # noqa: F401  registers the ids
from kdgym import students as module
from kdgym.settings import Settings
from kdgym.students import (
    StudentKind,
    Students,
    TransformerConfig,
    TransformerStudents,
    is_language_model,
    make_students,
    recommended_population,
    recommended_settings,
    register_students,
)
from kdgym.tasks import make_task


class Depth(Settings):
    """Options of the students below."""

    blocks: int = 1


def make_deep(**given: Any) -> Students:
    config = TransformerConfig(layers=given["options"].blocks, width=16, heads=2)
    return TransformerStudents(given["task"], config, given["device"], engine=given["engine"])


DEEP = StudentKind(make_deep, Depth, settings={"steps": 3}, population=7)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._REGISTRY, "added", {})
    register_students("deep", DEEP)
    register_students("net", StudentKind(make_deep, Depth, language_model=True, model="FILE"))


@pytest.mark.usefixtures("registered")
def test_other_students_are_made_by_their_name_and_options() -> None:
    made = make_students("deep", make_task("Math"), "cpu", "torch", options={"blocks": 2})
    assert isinstance(made, TransformerStudents) and made.config.layers == 2
    assert recommended_settings("deep") == {"steps": 3} and recommended_population("deep") == 7
    assert not is_language_model("deep") and is_language_model("net:file")
    with pytest.raises(ValueError, match=r"There is no setting 'layers'.*Known settings: blocks"):
        make_students("deep", make_task("Math"), "cpu", options={"layers": 2})


@pytest.mark.usefixtures("registered")
def test_environments_take_other_students_and_the_settings_that_suit_them() -> None:
    envs: Any = gym.make_vec(
        "kdgym/DataGen-Math-v0", num_envs=2, student="deep", budget=64.0, validation_items=2, test_items=2
    )
    assert envs.unwrapped.config.steps == 3
    assert envs.unwrapped.students.config.width == 16


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("name", ["lstm", "deep:2", "net", "net:", "hf", "hf:", "", ":x"])
def test_a_name_that_stands_for_nobody_is_refused(name: str) -> None:
    expected = f"There is no student {name!r}; choose from transformer, reasoner, hf:MODEL, deep, net:FILE"
    with pytest.raises(ValueError, match=expected):
        make_students(name, make_task("Math"), "cpu")
    assert not is_language_model(name) and recommended_settings(name) == {} and recommended_population(name) == 64


def test_installed_packages_name_students_as_entry_points(monkeypatch: pytest.MonkeyPatch) -> None:
    points = {
        name: EntryPoint(name, f"{__name__}:{value}", "kdgym.students")
        for name, value in (("wide", "DEEP"), ("bad", "NO"))
    }
    monkeypatch.setattr(module._REGISTRY, "added", {})
    monkeypatch.setattr(module._REGISTRY, "installed", points)
    made = make_students("wide", make_task("Math"), "cpu", "torch", options={"blocks": 2})
    assert isinstance(made, TransformerStudents) and made.config.layers == 2
    with pytest.raises(ValueError, match=r"'bad' of the package .* cannot be used"):
        make_students("bad", make_task("Math"), "cpu")


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("name", ["transformer", "deep", "a:b"])
def test_a_name_that_is_taken_or_has_a_colon_cannot_be_registered(name: str) -> None:
    with pytest.raises(ValueError, match="choose another name"):
        register_students(name, StudentKind(make_deep))


# --- options of tiny students ------------------------------------------------------------------------------------


def test_tiny_students_have_the_sizes_and_the_learning_rate_that_are_asked_for() -> None:
    options = {"width": 64, "layers": 2, "learning_rate": 0.01, "batch": 8}
    made = make_students("transformer", make_task("Math"), "cpu", options=options)
    assert isinstance(made, TransformerStudents)
    assert made.network.shape.width == 64 and made.network.shape.layers == 2 and made.engine == "kernel"
    assert made.recipe["student"] == {
        **make_students("reasoner", make_task("Math"), "cpu").recipe["student"],
        **options,
    }
    state = made.initialise(torch.arange(1))
    assert state.shape[1] == made.row > 3 * 64 * 64


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 0}, "width=0 is refused.*greater than or equal to 1"),
        ({"heads": 3}, "heads=3 is refused.*heads divides the width, 32"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0 is refused"),
        ({"learning_rate": float("nan")}, "learning_rate=nan is refused"),
        ({"beta2": 1.0}, "beta2=1.0 is refused"),
        ({"layers": "two"}, "layers='two' is refused"),
        ({"widht": 64}, "There is no setting 'widht'. Did you mean 'width'"),
        ({"rank": 4}, "There is no setting 'rank'.*Known settings: width, heads"),
    ],
    ids=str,
)
def test_an_option_that_is_out_of_range_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_students("transformer", make_task("Math"), "cpu", options=options)


@pytest.mark.slow
def test_larger_students_are_taught_in_an_environment() -> None:
    """Their base students are pretrained at these sizes, and a snapshot says which students it is of."""
    options = {"width": 64, "layers": 2}
    envs: Any = gym.make_vec("kdgym/DataGen-Math-v0", num_envs=2, student_options=options)
    inner = envs.unwrapped
    observation, _ = envs.reset(seed=0)
    assert observation["accuracy"].mean() > 0.02  # somebody has pretrained them
    _, _, _, _, info = envs.step(envs.action_space.sample())
    assert info["cost/student_training/items"].min() > 0
    assert inner.students.config.width == 64
    usual: Any = gym.make_vec("kdgym/DataGen-Math-v0", num_envs=2)
    usual.reset(seed=0)
    with pytest.raises(ValueError, match="student_options"):
        usual.unwrapped.restore(inner.snapshot())
    single: Any = gym.make("kdgym/DataGen-Math-v0", student_options=options)
    seen, _ = single.reset(seed=0)
    assert (seen["accuracy"] == observation["accuracy"][0]).all()
