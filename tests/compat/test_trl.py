"""TRL's GRPO trains a language model as the teacher: a group writes lessons for copies of one student."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

import kdgym  # noqa: F401  # registers the environments
from tests.students.language.tiny_model import write_model

ID = "kdgym/DataGen-Math-OpenEnded-v0"
SMALL: dict[str, Any] = {"steps": 1, "budget": 256.0, "validation_items": 8, "errors": 2, "reward": "log_loss"}


def taught(lessons: list[str], seeds: list[int]) -> list[float]:
    """What one step of these lessons earned; group members have one seed, and so one student."""
    envs: Any = gym.make_vec(ID, num_envs=len(seeds), autoreset=False, **SMALL)
    envs.reset(seed=seeds)
    rewards: list[float] = envs.step(lessons)[1].tolist()
    return rewards


def test_a_group_is_rewarded_for_what_one_student_learned(tmp_path: Path) -> None:
    groups: list[tuple[list[int], list[str], list[float]]] = []

    def learned(completions: list[str], seed: list[int], **_: Any) -> list[float]:
        lessons = [json.dumps([{"draw": sum(map(ord, text)) % 200}]) for text in completions]
        rewards = taught(lessons, seed)
        groups.append((seed, lessons, rewards))
        return rewards

    envs: Any = gym.make_vec(ID, num_envs=2, **SMALL)
    seen = envs.reset(seed=0)[0]
    rows = Dataset.from_list([{"prompt": text[:64], "seed": seed} for seed, text in enumerate(seen)])
    options: dict[str, Any] = {"use_cpu": True, "bf16": False, "report_to": [], "save_strategy": "no"}
    plan = GRPOConfig(
        output_dir=str(tmp_path / "out"),
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=6,
        max_steps=2,
        logging_steps=1,
        learning_rate=1e-3,
        **options,
    )
    trainer = GRPOTrainer(model=str(write_model(tmp_path)), reward_funcs=learned, args=plan, train_dataset=rows)
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    trainer.train()
    assert len(groups) == 2
    for seeds, lessons, rewards in groups:
        assert len(set(seeds)) == 1 and np.std(rewards) > 0
        assert taught(lessons[::-1], seeds) == rewards[::-1]  # a lesson's reward does not depend on its group
    assert trainer.state.log_history[0]["reward_std"] > 0
    assert any(not old.equal(new) for old, new in zip(before, trainer.model.parameters(), strict=True))
