"""Settings of the Snapshot family."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from kdgym.settings import Settings
from kdgym.students.control.actor_critic import PPOConfig


class SnapshotSettings(Settings):
    """Arguments of `kdgym.envs.snapshot.snapshot.Snapshot`; see there."""

    task: str = "MountainCar"
    pool: Literal["train", "evaluation"] = "train"
    steps: int = Field(12, ge=1, le=1000)
    updates: int = Field(8, ge=1, le=1000)
    actors: int = Field(8, ge=1, le=1024)
    rollout: int = Field(64, ge=2, le=4096)
    budget: float = Field(12 * 8 * 8 * 64.0, gt=0, le=1e12)
    clusters: int = Field(6, ge=2, le=64)
    hidden: int = Field(32, ge=1, le=1024)
    learning_rate: float = Field(2e-3, gt=0, le=1)
    epochs: int = Field(4, ge=1, le=64)
    minibatches: int = Field(4, ge=1, le=64)
    clip: float = Field(0.2, gt=0, le=1)
    entropy: float = Field(0.01, ge=0, le=1)
    validation_starts: int = Field(16, ge=1, le=1024)
    test_starts: int = Field(64, ge=1, le=4096)
    test_draw: int = Field(0, ge=0, lt=2**62)
    teacher_steps: int = Field(200_000, ge=1, le=10**9)
    device: str = "cpu"

    @property
    def ppo(self) -> PPOConfig:
        """How students learn."""
        names = ("learning_rate", "epochs", "minibatches", "clip")
        return PPOConfig(**{name: getattr(self, name) for name in names}, entropy_coef=self.entropy)
