"""SuperSuit's way from PettingZoo to Stable-Baselines3: several classrooms, every teacher a row."""

from __future__ import annotations

from typing import Any

import supersuit
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor

from kdgym.envs.classroom.classroom import parallel_env


def test_copies_of_a_classroom_train_one_policy() -> None:
    rows = supersuit.pettingzoo_env_to_vec_env_v1(parallel_env(max_cycles=3, budget=96.0, validation_items=8))
    envs: Any = supersuit.concat_vec_envs_v1(rows, 2, num_cpus=1, base_class="stable_baselines3")
    teacher = PPO("MlpPolicy", VecMonitor(envs), n_steps=3, batch_size=6).learn(36)
    assert [episode["l"] for episode in teacher.ep_info_buffer or ()] == [3] * 12
