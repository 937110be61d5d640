"""DataGen: budget, rewards, hygiene of the splits, bad settings, pictures, and that teaching matters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import kdgym  # noqa: F401  # registers the environments
from kdgym.tasks import SPLITS
from kdgym.testing import check

ID = "kdgym/DataGen-Math-v0"
SMALL: dict[str, Any] = {"steps": 3, "budget": 96.0, "validation_items": 8}


def make(num_envs: int = 2, **changes: Any) -> Any:
    return gym.make_vec(ID, num_envs=num_envs, autoreset=False, **{**SMALL, **changes})


def lesson(envs: Any, seed: int = 0) -> np.ndarray:
    shape = (envs.steps, envs.num_envs, *envs.single_action_space.shape)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def split_of(envs: Any, problems: torch.Tensor) -> set[str]:
    found = set()
    for split in SPLITS:
        pool = envs.task.pool(split)
        inside = (problems.reshape(-1, 1) >= pool.start) & (problems.reshape(-1, 1) < pool.start + pool.count)
        if inside.any():
            found.add(split)
    return found


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**31),
    sharpness=st.floats(0, 1),
    budget=st.floats(3, 200),
    sources=st.integers(1, 5),
    steps=st.integers(1, 4),
)
def test_money_is_never_overspent(seed: int, sharpness: float, budget: float, sources: int, steps: int) -> None:
    envs = make(2, budget=budget, sources=sources, steps=steps)
    envs.reset(seed=seed)
    spent = np.zeros(2)
    for action in lesson(envs, seed):
        allowance = (budget - spent) / (steps - int(envs.state["step"][0]))
        _, _, _, _, info = envs.step(np.sign(action) * np.abs(action) ** (1 - sharpness))
        assert (info["cost/data_engine/money"] <= allowance + 1e-9).all()
        assert (info["cost/data_engine/items"] <= envs.course.step_items).all()
        spent += info["cost/data_engine/money"]
        assert envs.observation_space.contains(envs.observe())
    assert (spent <= budget).all()
    assert spent == pytest.approx(envs.state["money"].sum(1).numpy())


@pytest.mark.parametrize("reward", ["accuracy", "log_loss"])
def test_rewards_are_the_change_of_the_target_weighted_score(reward: str) -> None:
    envs = make(3, reward=reward)
    before, _ = envs.reset(seed=1)
    for action in lesson(envs):
        after, gain, *_ = envs.step(action)
        score = [obs["accuracy"] if reward == "accuracy" else -obs["loss"] for obs in (before, after)]
        assert gain == pytest.approx((after["target"] * (score[1] - score[0])).sum(1), abs=1e-6)
        assert after["change"] == pytest.approx(after["accuracy"] - before["accuracy"])
        before = after


def test_targets_prices_and_kinds_last_an_episode_and_change_with_it() -> None:
    envs = make(2)
    first, _ = envs.reset(seed=0)
    kinds = envs.hidden()["kind"]
    for action in lesson(envs):
        observation, *_ = envs.step(action)
        assert np.array_equal(observation["target"], first["target"])
        assert np.array_equal(observation["price"], first["price"])
    assert np.array_equal(envs.hidden()["kind"], kinds)
    assert (kinds.reshape(2, 14, 4) == 0).sum(2).tolist() == [[1] * 14] * 2
    following, _ = envs.reset()
    assert not np.array_equal(following["price"], first["price"])


def test_targets_sum_to_one_over_one_to_three_skills() -> None:
    target = make(64).reset(seed=0)[0]["target"]
    assert target.sum(1) == pytest.approx(np.ones(64), abs=1e-6)
    assert set((target > 0).sum(1).tolist()) == {1, 2, 3}


def test_only_train_items_are_ever_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    envs = make(4, budget=960.0)
    seen, train = [], envs.students.train

    def recorded(state: Any, batch: Any, tables: Any = None) -> Any:
        assert tables is None
        seen.extend(row[:n] for row, n in zip(batch.problem, batch.count.tolist(), strict=True))
        return train(state, batch)

    monkeypatch.setattr(envs.students, "train", recorded)
    envs.reset(seed=0)
    for action in lesson(envs):
        envs.step(action)
    trained = torch.cat(seen)
    assert len(trained) > 1000
    assert split_of(envs, trained) == {"train"}
    operands = {tuple(sorted(pair)) for pair in envs.task.operands[trained][:, :2].tolist()}
    pool = envs.task.pool("test")
    for start, count in zip(pool.start.tolist(), pool.count.tolist(), strict=True):
        tested = envs.task.operands[start : start + count]
        for i, j in ((0, 1), (0, 2), (1, 2)):
            pairs = {tuple(sorted(pair)) for pair in tested[:, [i, j]].tolist() if min(pair) >= 0}
            assert not pairs & operands


def test_rewards_come_from_validation_items() -> None:
    envs = make(4)
    envs.reset(seed=0)
    assert split_of(envs, envs.state["validation"]) == {"validation"}


def test_nothing_observable_depends_on_the_test_split() -> None:
    honest, spoiled = make(2), make(2)
    pool = spoiled.task.pool("test")
    test_ids = torch.cat(
        [torch.arange(s, s + c) for s, c in zip(pool.start.tolist(), pool.count.tolist(), strict=True)]
    )
    prompts = spoiled.students.tables.prompts.clone()
    prompts[test_ids] = 0
    spoiled.students.tables = replace(spoiled.students.tables, prompts=prompts)
    spoiled.students.solution = spoiled.students.solution.clone()
    spoiled.students.solution[test_ids] = 0
    first, second = honest.reset(seed=5), spoiled.reset(seed=5)
    scores = []
    for action in lesson(honest):
        assert all(np.array_equal(first[0][key], second[0][key]) for key in first[0])
        scores.append((honest.examine("test")["right"], spoiled.examine("test")["right"]))
        first, second = honest.step(action), spoiled.step(action)
        assert np.array_equal(first[1], second[1])
        assert all(np.array_equal(value, second[4][key]) for key, value in first[4].items() if key.startswith("cost/"))
    assert any(not np.array_equal(a, b) for a, b in scores), "the corruption does reach the test examination"


def test_an_examination_leaves_no_trace() -> None:
    envs = make(2)
    envs.reset(seed=0)
    before = envs.snapshot()
    result = envs.examine("test")
    assert (result["right"] <= result["asked"]).all()
    assert (result["asked"] >= 60).all()
    expected = (result["target"] * result["right"] / result["asked"]).sum(1)
    assert result["score"] == pytest.approx(expected)
    assert all(torch.equal(a, b) for a, b in zip(before.rows, envs.snapshot().rows, strict=True))
    with pytest.raises(ValueError, match="train, validation, test"):
        envs.examine("exam")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"task": "Astrology"}, "Math"),
        ({"student": "parrot"}, "transformer"),
        ({"pool": "swimming"}, "pool"),
        ({"device": "nonsense"}, "Try 'cpu'"),
        ({"budget": 0}, "budget"),
        ({"budget": -5.0}, "budget"),
        ({"budget": float("nan")}, "budget"),
        ({"steps": 0}, "steps"),
        ({"max_targets": 99}, "max_targets"),
        ({"task_options": {"radix": 99}}, "radix"),
        ({"radix": 99}, "radix"),
        ({"task_options": {"datasets": "gcd"}}, "no option 'datasets'; it has radix, digits"),
        ({"task_options": "radix"}, "task_options"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_wrong_settings_are_refused_in_sentences(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(1, **wrong)


@pytest.mark.thorough
def test_options_of_the_task_may_stand_beside_the_settings() -> None:
    beside, inside = make(1, radix=5), make(1, task_options={"radix": 5})
    assert beside.task is inside.task and beside.task.radix == 5
    assert beside.settings == inside.settings
    assert make(1, task_options={"digits": 1}, radix=7, max_targets=2).config.task_options == {"digits": 1, "radix": 7}


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_missing_device_is_named() -> None:
    with pytest.raises(ValueError, match="'cuda' cannot be used here"):
        make(1, device="cuda")


@pytest.mark.parametrize(
    ("env_id", "settings"),
    [
        (ID, {}),
        (ID, {"misconceptions": 2, "placebo": True, "reward": "log_loss"}),
        ("kdgym/DataGen-VQA-v0", {}),
        ("kdgym/DataGen-Math-SkillTree-v0", {}),
        ("kdgym/DataGen-Math-SkillTree-v0", {"actions": "discrete"}),
        ("kdgym/Classroom-Math-v0", {}),
    ],
)
def test_a_step_reads_nothing_back_to_the_host(
    meta: None, env_id: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the meta device tensors have no content: whatever asks for a value, or mixes in a tensor of the host, raises."""
    envs: Any = gym.make_vec(env_id, num_envs=4, device="meta", **SMALL, **settings)
    assert envs.recorded
    space = envs.single_action_space
    action = torch.zeros(4, *space.shape, device="meta").to(torch.float32 if space.dtype.kind == "f" else torch.int64)
    for name in ("tensor", "as_tensor", "from_numpy"):
        monkeypatch.delattr(torch, name)  # each would copy from the host
    outcome = envs.advance(action)
    assert outcome.device.type == "meta"
    assert outcome.shape[0] == 4


@pytest.mark.thorough
def test_answers_that_are_judged_on_the_host_are_not_recorded(meta: None) -> None:
    envs: Any = gym.make_vec("kdgym/DataGen-Code-v0", num_envs=2, device="meta", **SMALL)
    assert envs.task.free_form
    assert not envs.recorded


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_population_learns_like_a_cpu_one() -> None:
    results = []
    for device in ("cuda", "cpu"):  # base students depend on the engine, and are pretrained on the faster device
        envs = make(8, device=device, engine="torch")
        envs.reset(seed=0)
        for action in lesson(envs):
            observation, *_ = envs.step(action)
        results.append(observation["loss"])
    assert results[0] == pytest.approx(results[1], abs=0.05)


def test_the_picture_shows_the_lesson() -> None:
    env = gym.make(ID, render_mode="rgb_array", **SMALL)
    env.reset(seed=0)
    start: Any = env.render()
    env.step(env.action_space.sample())
    after: Any = env.render()
    assert start.dtype == np.uint8
    assert start.shape == after.shape == (480, 960, 3)
    assert (start != after).any()


def test_human_rendering_prints_the_skills(capsys: pytest.CaptureFixture[str]) -> None:
    env = gym.make(ID, render_mode="human", **SMALL)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    printed = capsys.readouterr().out
    assert "step 1/3" in printed
    assert "add_no_carry" in printed


@pytest.mark.slow
def test_a_good_teacher_teaches_more_than_a_bad_one() -> None:
    space: Any = gym.make(ID).action_space
    scores = {}
    for teacher in ("clean", "uniform", "wrong answers"):
        envs: Any = gym.make_vec(ID, num_envs=24, autoreset=False)
        observation, _ = envs.reset(seed=0)
        kind, target = envs.hidden()["kind"], observation["target"].repeat(4, axis=1)
        wanted = {
            "clean": target * (kind == 0),
            "uniform": 1 + 0 * target,
            "wrong answers": target * (kind == 1) + 1e-9,
        }
        for _ in range(12):
            envs.step(space.encode(wanted[teacher]))
        scores[teacher] = envs.examine("test")["score"].mean()
    assert scores["clean"] > scores["uniform"] + 0.2
    assert scores["wrong answers"] < scores["uniform"]


@pytest.mark.thorough
@pytest.mark.parametrize("level", ["", "-OpenEnded", "-SkillTree"])
def test_every_level_teaches_discovered_skills_to_the_same_students(level: str) -> None:
    env_id = f"kdgym/DataGen-Math{level}-v0"
    check(env_id, skills="discovered:8", radix=4)
    found, own = (make_population(env_id, skills) for skills in ("discovered:8", None))
    assert len(found.task.skills) == 8
    for envs in (found, own):
        envs.reset(seed=3)
    assert torch.equal(found.state["student"], own.state["student"])


def make_population(env_id: str, skills: str | None) -> Any:
    return gym.make_vec(env_id, num_envs=3, skills=skills, radix=4).unwrapped


@pytest.mark.parametrize("skills", ["given", "discovered:", "discovered:1000", "discovered:x", "found:3"])
def test_unknown_ways_to_find_skills_are_refused(skills: str) -> None:
    with pytest.raises(ValueError, match="skills"):
        gym.make(ID, skills=skills)
