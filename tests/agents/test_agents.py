"""Every teacher acts on the public interface alone, everywhere it is at home."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3 import PPO

import kdgym.agents
import kdgym.teaching.search
from kdgym.agents.datagen.constant import Agent as Constant
from kdgym.agents.orchestrate.lane_search import Agent as LaneSearch
from kdgym.catalogue import agent_names, rule
from kdgym.evaluation import agent_class, encoding, introduce, load_agent
from kdgym.integrations.sb3 import as_vec_env
from kdgym.integrations.sb3_policies import MaskableSharedPolicy, SharedPolicy
from kdgym.integrations.sb3_recurrent import ItemPolicy
from kdgym.registration import ENVIRONMENTS, find

ID = "kdgym/DataGen-Math-v0"
# Tested in tests/compat/llm:
NEEDS_A_MODEL = (
    "llm", "llm_arte", "llm_corrections", "llm_engine", "llm_feedback", "llm_variants", "ssb",
)  # fmt: skip
FOLDER = Path(__file__).parent.parent.parent / "agents"


# Where each teacher is at home: on every id of its level.
TRAINED = (
    "learned",
    "ppo",
    "maskable_ppo",
    "feedback_ppo",
    "label_ppo",
    "lane_ppo",
    "recipe_ppo",
    "select_ppo",
    "start_ppo",
)
# Tested where they learn: they keep no policy for an environment's own spaces.
SEARCHED = {"bid_ppo", "lane_search", "lane_advantage"}
# What its teachers see and do differs in the number of clusters alone; these two are the fastest.
OF_SNAPSHOT = ("kdgym/Snapshot-PointMaze-v0", "kdgym/Snapshot-MountainCar-v0")
HOMES: dict[str, list[str]] = {name: [] for name in agent_names()}
for entry in ENVIRONMENTS:
    if entry.needs_model or entry.slow:
        continue  # tests/envs
    if entry.family == "snapshot" and entry.id not in OF_SNAPSHOT:
        continue
    trained = set(entry.trained) - SEARCHED
    for name in (*entry.controls, entry.published, *entry.teachers, *entry.upper_bounds, *trained):
        HOMES[name].append(entry.id)
    for name in entry.others:  # once a group
        if not any(find(home).group == entry.group for home in HOMES[name]):
            HOMES[name].append(entry.id)


def small(env_id: str) -> dict[str, Any]:
    """Settings of a short episode."""
    return find(env_id).small


def make(num_envs: int, env_id: str = ID, **changes: Any) -> Any:
    return gym.make_vec(env_id, num_envs=num_envs, autoreset=False, **{**small(env_id), **changes})


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], str]:
    """Saves a trainable agent that has learned nothing, for an id; returns how the command line names it."""

    def save(name: str, env_id: str) -> str:
        path = tmp_path_factory.mktemp(name) / "model.zip"
        vec_env = as_vec_env(gym.make_vec(env_id, num_envs=2, **small(env_id), **encoding(name)))
        policies: dict[str, Any] = {"ppo": SharedPolicy, "maskable_ppo": MaskableSharedPolicy, "learned": ItemPolicy}
        make_model: Any = {"maskable_ppo": MaskablePPO, "learned": RecurrentPPO}.get(name, PPO)
        make_model(policies.get(name, "MultiInputPolicy"), vec_env).save(path)
        return f"{name}:{path}"

    return save


def cases() -> Iterator[Any]:
    """One id a teacher, and all its ids in the thorough tests."""
    for name in agent_names():
        for place, env_id in enumerate(() if name in NEEDS_A_MODEL else HOMES[name]):
            for students in (3, 1):
                thorough = [pytest.mark.thorough] if place or students == 1 else []
                yield pytest.param(name, env_id, students, marks=[pytest.mark.slow, *thorough])


@pytest.mark.parametrize(("name", "env_id", "students"), cases())
def test_every_teacher_gives_valid_lessons_wherever_it_is_at_home(
    name: str, env_id: str, students: int, untrained: Callable[[str, str], str]
) -> None:
    envs = make(students, env_id, **encoding(name))
    agent: Any = load_agent(untrained(name, env_id) if name in TRAINED else name, envs, seed=0)
    observation, _ = envs.reset(seed=0)
    introduce(agent, envs, observation)
    for _ in range(3):
        action = agent.act(observation)
        assert envs.action_space.contains(
            tuple(action) if isinstance(action, list) else np.asarray(action, dtype=envs.action_space.dtype)
        )
        observation, _, terminated, _, _ = envs.step(action)
    assert terminated.all()


def test_every_teacher_says_what_it_does() -> None:
    silent = [name for name in agent_names() if len(rule(name).split()) <= 5]
    assert not silent


def test_teachers_import_no_insides() -> None:
    allowed, found = ("kdgym.agents", "kdgym.integrations", "kdgym.teaching"), []
    for path in FOLDER.glob("*/*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        found += [(path.name, name) for name in imported if name.startswith("kdgym") and not name.startswith(allowed)]
    assert not found


def test_every_rule_of_the_tables_has_a_test_of_its_decisions() -> None:
    here = Path(__file__).parent
    tests = "".join(path.read_text() for path in [*here.glob("test_*_rules.py"), here / "test_upper_bounds.py"])
    rules = {name for e in ENVIRONMENTS for name in (*e.controls, e.published, *e.teachers, *e.upper_bounds)}
    assert not [name for name in rules if f'"{name}"' not in tests]


def test_the_template_is_the_shortest() -> None:
    assert len((FOLDER / "any_family" / "random.py").read_text().splitlines()) <= 20


@pytest.fixture
def short_search(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in (("CANDIDATES", 4), ("STUDENTS", 2), ("ELITE", 2)):
        monkeypatch.setattr(kdgym.teaching.search, name, number)


@pytest.mark.slow
@pytest.mark.usefixtures("short_search")
def test_the_search_of_constant_writes_what_it_loads(tmp_path: Path) -> None:
    lines: list[str] = []
    path = Constant.train(ID, 100, tmp_path, seed=1, report=lambda _, text: lines.append(text))
    agent: Any = load_agent(f"constant:{path}", make(1))
    assert len(lines) == 2
    assert agent.numbers != load_agent("constant", make(1)).numbers  # type: ignore[attr-defined]


@pytest.mark.thorough
@pytest.mark.usefixtures("short_search")
def test_the_search_of_lanes_writes_what_it_loads(tmp_path: Path) -> None:
    lanes = "kdgym/Orchestrate-Math-v0"
    path = LaneSearch.train(lanes, 1, tmp_path, seed=1)
    envs = make(2, lanes)
    agent: Any = load_agent(f"lane_search:{path}", envs)
    observation, _ = envs.reset(seed=0)
    assert envs.action_space.contains(agent.act(observation))
    with pytest.raises(ValueError, match="lane_search agent has to be trained first"):
        load_agent("lane_search", envs).act(observation)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_an_untrained_teacher_says_what_to_do(name: str) -> None:
    envs = make(1, HOMES[name][-1], **encoding(name))
    with pytest.raises(ValueError, match=f"kdgym train ID --agent {name}"):
        load_agent(name, envs).act(envs.reset(seed=0)[0])


FEW = {"learned": {"hyper": {"students": 2, "watched": 2, "last_updates": 2}}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "env_id"),
    [
        pytest.param(name, env_id, marks=pytest.mark.thorough if place else [])
        for name in TRAINED
        for place, env_id in enumerate(env_id for env_id in HOMES[name] if not find(env_id).closed)
    ],
)
def test_training_works_on_every_numeric_id(
    name: str, env_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind: Any = agent_class(name)
    monkeypatch.setattr(kind, "students", 2, raising=False)
    path = kind.train(env_id, 24, tmp_path, settings=encoding(name) | small(env_id), **FEW.get(name, {}))
    envs = make(1, env_id, **encoding(name))
    agent: Any = load_agent(f"{name}:{path}", envs)
    observation, _ = envs.reset(seed=0)
    assert envs.action_space.contains(agent.act(observation).astype(envs.action_space.dtype))


@pytest.mark.parametrize("env_id", HOMES["ppo"])
def test_what_the_policy_knows_of_one_skill_it_knows_of_all(env_id: str) -> None:
    """Skills that change places change places in the action, and nothing else does."""
    envs = make(1, env_id)
    policy: Any = PPO(SharedPolicy, as_vec_env(gym.make_vec(env_id, num_envs=1, **small(env_id))), seed=0).policy
    observation, _ = envs.reset(seed=0)
    skills = observation["target"].shape[1]
    order = np.random.default_rng(0).permutation(skills)

    def exchange(x: np.ndarray) -> np.ndarray:
        return x if x.shape[1] == 1 else x.reshape(1, skills, -1)[:, order].reshape(1, -1)

    action, _ = policy.predict(observation, deterministic=True)
    moved, _ = policy.predict({key: exchange(value) for key, value in observation.items()}, deterministic=True)
    assert moved == pytest.approx(exchange(action), abs=1e-5)
    assert np.ptp(action) > 1e-4


def test_informed_cure_teaches_what_wrong_rules_are_about() -> None:
    envs = gym.make_vec(ID, num_envs=2, autoreset=False, misconceptions=("smaller_from_larger",), **small(ID))
    agent: Any = load_agent("informed_cure", envs)
    agent.attach(envs)
    observation, _ = envs.reset(seed=0)
    given = envs.single_action_space.decode(agent.act(observation)).reshape(2, 14, 4).sum(2)
    ill = np.isin([skill.name for skill in envs.task.skills], ["sub", "difference"])
    assert given[:, ill] == pytest.approx(0.25 + 1 / 28, abs=0.02)
    assert given[:, ~ill] == pytest.approx(1 / 28, abs=0.02)
