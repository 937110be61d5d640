"""Every teacher acts on the public interface alone, and follows the rule it is named after."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import PPO

import kdgym.agents
from kdgym.agents.constant import train as search
from kdgym.agents.ppo import SharedPolicy
from kdgym.evaluation import agent_module, agent_names, load_agent
from kdgym.integrations.sb3 import as_vec_env
from kdgym.registration import ENVIRONMENTS

ID = "kdgym/DataGen-Math-v0"
SMALL: dict[str, Any] = {"steps": 3, "budget": 96.0, "validation_items": 8}
NEEDS_A_MODEL = ("llm", "llm_corrections", "llm_policy", "llm_variants")  # tested in tests/llm
FOLDER = Path(__file__).parent.parent.parent / "agents"


# Where each teacher is at home.
HOME = {
    name: entry.id
    for entry in reversed(ENVIRONMENTS)
    for name in (*entry.controls, entry.published, *entry.teachers, *entry.upper_bounds)
} | {"ppo": ID}


def make(num_envs: int, env_id: str = ID) -> Any:
    return gym.make_vec(env_id, num_envs=num_envs, autoreset=False, **SMALL)


@pytest.fixture(scope="module")
def untrained_ppo(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("ppo") / "model.zip"
    PPO(SharedPolicy, as_vec_env(gym.make_vec(ID, num_envs=2, **SMALL)), seed=0).save(path)
    return f"ppo:{path}"


@pytest.mark.parametrize("students", [1, 3])
@pytest.mark.parametrize("name", [name for name in agent_names() if name not in NEEDS_A_MODEL])
def test_every_teacher_gives_valid_lessons(name: str, students: int, untrained_ppo: str) -> None:
    envs = make(students, HOME[name])
    agent: Any = load_agent(untrained_ppo if name == "ppo" else name, envs, seed=0)
    observation, _ = envs.reset(seed=0)
    if getattr(agent, "upper_bound", False):
        agent.attach(envs)
    if hasattr(agent, "reset"):
        agent.reset(observation)
    for _ in range(3):
        action = agent.act(observation)
        assert envs.action_space.contains(action if isinstance(action, list) else np.asarray(action, dtype=np.float32))
        observation, _, terminated, _, _ = envs.step(action)
    assert terminated.all()


@pytest.mark.parametrize("name", agent_names())
def test_every_teacher_says_what_it_does(name: str) -> None:
    assert len((agent_module(name).__doc__ or "").split()) > 5


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_teachers_import_no_insides(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    ours = {name for name in imported if name.startswith("kdgym")}
    assert all(name.startswith(("kdgym.integrations", "kdgym.llm")) for name in ours)


def test_the_template_is_the_shortest() -> None:
    assert len((FOLDER / "random.py").read_text().splitlines()) <= 20


def shares(name: str, observation: dict[str, np.ndarray]) -> np.ndarray:
    envs = make(len(observation["time"]))
    agent: Any = load_agent(name, envs)
    if hasattr(agent, "reset"):
        agent.reset(observation)
    result: np.ndarray = envs.single_action_space.decode(agent.act(observation))
    return result.reshape(len(result), 14, 4)


def test_uniform_gives_everything_the_same() -> None:
    observation, _ = make(2).reset(seed=0)
    assert shares("uniform", observation) == pytest.approx(np.full((2, 14, 4), 1 / 56))


def test_weakest_skill_finds_the_weakest() -> None:
    observation, _ = make(2).reset(seed=0)
    observation["accuracy"][:] = 0.5
    observation["accuracy"][0, 3] = observation["accuracy"][1, 9] = 0.1
    assert shares("weakest_skill", observation).sum(2).argmax(1).tolist() == [3, 9]


def test_target_proportional_follows_the_target() -> None:
    observation, _ = make(4).reset(seed=0)
    assert shares("target_proportional", observation).sum(2) == pytest.approx(observation["target"], abs=0.02)


def test_learning_progress_follows_what_changes() -> None:
    observation, _ = make(1).reset(seed=0)
    observation["change"][0, 5] = -0.4
    assert shares("learning_progress", observation).sum(2).argmax() == 5


def test_adaptive_source_trusts_losses_like_the_validation_loss() -> None:
    envs = make(1)
    observation, _ = envs.reset(seed=0)
    agent: Any = load_agent("adaptive_source", envs)
    agent.reset(observation)
    skill = int(observation["target"].argmax())
    later = {key: value.copy() for key, value in observation.items()}
    later["source_spend"] += 0.01
    later["source_loss"] = later["loss"].repeat(4, axis=1)
    later["source_loss"][0, skill * 4 + 1] += 1.0
    later["source_loss"][0, skill * 4 + 2] -= 1.0
    given = envs.single_action_space.decode(agent.act(later)).reshape(14, 4)[skill]
    assert given[0] == pytest.approx(given[3])
    assert given[0] > 20 * given[1]
    assert given[0] > 20 * given[2]


def test_adaptive_source_treats_the_unknown_alike() -> None:
    observation, _ = make(2).reset(seed=0)
    given = shares("adaptive_source", observation)
    assert given == pytest.approx(given.mean(2, keepdims=True).repeat(4, axis=2))


def test_constant_never_changes_its_mind() -> None:
    envs = make(2)
    observation, _ = envs.reset(seed=0)
    agent: Any = load_agent("constant", envs)
    agent.reset(observation)
    first = agent.act(observation)
    observation, *_ = envs.step(first)
    assert np.array_equal(agent.act(observation), first)


@pytest.mark.slow
def test_the_search_of_constant_writes_what_it_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kdgym.agents.constant, "CANDIDATES", 4)
    monkeypatch.setattr(kdgym.agents.constant, "STUDENTS", 2)
    monkeypatch.setattr(kdgym.agents.constant, "ELITE", 2)
    lines: list[str] = []
    path = search(ID, 100, tmp_path, seed=1, report=lambda _, text: lines.append(text))
    agent: Any = load_agent(f"constant:{path}", make(1))
    assert len(lines) == 2
    assert agent.numbers != load_agent("constant", make(1)).numbers  # type: ignore[attr-defined]


def test_an_untrained_ppo_says_what_to_do() -> None:
    envs = make(1)
    with pytest.raises(ValueError, match="kdgym train"):
        load_agent("ppo", envs).act(envs.reset(seed=0)[0])
