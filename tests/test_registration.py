"""Every id in the table keeps the whole contract."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import gymnasium as gym
import pytest

from kdgym.catalogue import agent_names, require_fit, roles
from kdgym.registration import ENVIRONMENTS, find
from kdgym.testing import ContractError, check
from tests.tiers import tiered

pytestmark = pytest.mark.slow

ID = "kdgym/DataGen-Math-v0"
# Those left out are tested in tests/envs, with smaller settings:
IDS = [entry.id for entry in ENVIRONMENTS if not entry.needs_model and not entry.slow]


@pytest.mark.parametrize("env_id", tiered(IDS))
def test_every_id_keeps_the_contract(env_id: str) -> None:
    small = {name: value for name, value in find(env_id).small.items() if name != "budget"}
    twins = pytest.raises(ContractError, match=r"held-out problems of .* have twins in another split")  # asked last
    with twins if "twin" in find(env_id).closed and "Orchestrate" not in env_id else nullcontext():
        check(env_id, **{name: 6 if name in ("steps", "tasks") else value for name, value in small.items()})


@pytest.mark.parametrize("env_id", IDS)
def test_make_and_make_vec_are_one_implementation(env_id: str) -> None:
    single = gym.make(env_id).unwrapped
    population = gym.make_vec(env_id, num_envs=2)
    assert type(single.students) is type(population.unwrapped)  # type: ignore[attr-defined]


CLOSED = [entry.id for entry in ENVIRONMENTS if entry.closed]


@pytest.mark.parametrize("make", [gym.make, partial(gym.make_vec, num_envs=1)])
@pytest.mark.parametrize("env_id", CLOSED)
def test_a_closed_id_says_why_and_what_to_use(make: Callable[..., Any], env_id: str) -> None:
    with pytest.warns(DeprecationWarning, match=rf"{env_id}\. Closed: [a-z].+\. Use {find(env_id).newer}\.$") as given:
        made = make(env_id)
    assert given[-1].filename == __file__
    assert type(made.unwrapped) is type(make(find(env_id).newer).unwrapped)


def test_the_newest_version_of_an_id_is_open_and_gives_no_notice() -> None:
    for env_id in CLOSED:
        newer = find(find(env_id).newer)
        assert not newer.closed and newer.notice == ""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            gym.make(newer.id)


def test_an_id_can_be_made_without_importing_kdgym() -> None:
    code = "import gymnasium as gym; print(gym.make('kdgym:kdgym/DataGen-Math-v0').spec.id)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "kdgym/DataGen-Math-v0"


_MADE = "gym.make('kdgym/DataGen-Math-v0')"
_SPEC = "pettingzoo.spec('parallel', 'kdgym/Classroom-Math-v0')"


@pytest.mark.parametrize(
    ("imports", "used"),
    [
        ("import gymnasium as gym, kdgym", _MADE),
        ("import kdgym, gymnasium as gym", _MADE),
        ("import kdgym, importlib.util; importlib.util.find_spec('gymnasium'); import gymnasium as gym", _MADE),
        ("import pettingzoo, kdgym", _SPEC),
        ("import kdgym, pettingzoo", _SPEC),
        ("import kdgym, pettingzoo, gymnasium as gym", _MADE),
    ],
)
def test_ids_are_registered_in_any_order_of_imports(imports: str, used: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"{imports}; {used}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_only_reads_the_table_imports_no_gymnasium() -> None:
    code = "import sys, kdgym.cli; print(sorted({'gymnasium', 'numpy', 'pettingzoo', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("env_id", IDS)
def test_the_docstring_is_the_environments_page(env_id: str) -> None:
    page = type(gym.make(env_id).unwrapped).__doc__ or ""
    headings = (
        "Description", "Action Space", "Observation Space", "Rewards", "Starting State", "Episode End", "Student", "Budget",
        "Splits", "Determinism", "Headroom", "Arguments", "Version History",
    )  # fmt: skip
    assert [heading for heading in headings if f"## {heading}\n" not in page] == []


def test_an_unknown_id_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="kdgym/DataGen-Math-v0"):
        find("kdgym/Nothing-v0")


@pytest.mark.parametrize("env_id", IDS)
def test_every_teacher_an_id_names_is_there(env_id: str) -> None:
    entry = find(env_id)
    assert entry.controls
    assert {*entry.controls, entry.published, *entry.teachers, *entry.upper_bounds} <= set(roles(entry.group))


def test_the_table_and_the_folder_name_the_same_teachers() -> None:
    assert {name for entry in ENVIRONMENTS for name in roles(entry.group)} == set(agent_names())


def test_what_fits_is_decided_by_the_table_and_only_there() -> None:
    require_fit(ID, "llm")
    require_fit(ID, "ppo:model.zip")
    require_fit("kdgym/DataGen-Math-SkillTree-v0", "ppo:model.zip")
    for free in ("mine.py", "model.zip", "no teaching"):
        require_fit(ID, free)
    require_fit("somebody/Else-v0", "s3rl")
    with pytest.raises(ValueError, match=r"ppo belongs to DataGen Skill-List and DataGen Skill-Tree"):
        require_fit("kdgym/Feedback-Math-v0", "ppo:model.zip")
