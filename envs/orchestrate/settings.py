"""Settings of the Orchestrate family."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from kdgym.core.ledger import ACTORS
from kdgym.settings import Settings


class OrchestrateSettings(Settings):
    """Arguments of `Orchestrate`; see there."""

    pool: Literal["train", "evaluation"] = "train"
    tasks: int = Field(24, ge=1, le=1000)
    worth: float = Field(1.0, gt=0, le=1e12)
    budget: float = Field(1e9, gt=0, le=1e12)
    slots: int = Field(32, ge=1, le=1024)
    recheck: bool = False
    verdict_accuracy: float = Field(0.9, ge=0, le=1)
    advice_accuracy: float = Field(0.85, ge=0, le=1)
    step_accuracy: float = Field(0.9, ge=0, le=1)
    judge_accuracy: float = Field(0.85, ge=0, le=1)
    prices: dict[str, float] = {"student_inference": 1.0, "teacher": 5.0, "judge": 1.0, "memory": 1.0, "tools": 0.0}
    notebooks: str | None = None
    teacher: str = "noisy"
    actions: Literal["box", "discrete"] = "box"
    device: str = "cpu"

    @field_validator("prices")
    @classmethod
    def _have_actors(cls, prices: dict[str, float]) -> dict[str, float]:
        if set(prices) - set(ACTORS) or not all(0 <= price <= 1e12 for price in prices.values()):
            raise ValueError(f"give numbers from 0 to 1e12 for {', '.join(ACTORS)}")
        return prices


class IncidentsSettings(OrchestrateSettings):
    """Arguments of `OrchestrateIncidents`."""

    worth: float = Field(6000.0, gt=0, le=1e12)
    budget: float = Field(90_000.0, gt=0, le=1e12)
    incidents: int = Field(64, ge=1, le=1000)
    student: str = "investigator"


class MathSettings(OrchestrateSettings):
    """Arguments of `OrchestrateMath`."""

    later = ("version",)
    worth: float = Field(400.0, gt=0, le=1e12)
    budget: float = Field(6000.0, gt=0, le=1e12)
    radix: int = Field(6, ge=4, le=10)
    steps: int = Field(3, ge=1, le=4)
    version: int = Field(0, ge=0, le=1)
