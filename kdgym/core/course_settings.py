"""What can be chosen about a course."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, JsonValue, model_validator

from kdgym.settings import Settings
from kdgym.students import Engine, recommended_settings
from kdgym.tasks import task_options


class CourseSettings(Settings):
    """Arguments that every level of a course has; `kdgym.envs.datagen.skill_list.SkillList` says what they mean."""

    task: str = "Math"
    task_options: dict[str, JsonValue] = {}
    skills: str | None = Field(None, pattern=r"^discovered(:[0-9]{1,3})?$")
    student: str = "transformer"
    student_options: dict[str, Any] = {}
    pool: Literal["train", "evaluation"] = "train"
    steps: int = Field(12, ge=1, le=1000)
    budget: float = Field(12 * 640.0, gt=0, le=1e9)
    max_targets: int = Field(3, ge=1)
    validation_items: int = Field(64, ge=1, le=1024)
    test_items: int = Field(128, ge=1, le=1024)
    test_draw: int = Field(0, ge=0, lt=2**62)
    misconceptions: int | tuple[str, ...] = 0
    reward: Literal["accuracy", "log_loss"] = "accuracy"
    placebo: bool = False
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    engine: Engine = "auto"

    @model_validator(mode="before")
    @classmethod
    def _by_student(cls, given: dict[str, Any]) -> dict[str, Any]:
        """What is not given is what suits the student."""
        return {**recommended_settings(str(given.get("student", ""))), **given}

    @model_validator(mode="before")
    @classmethod
    def _take_options(cls, given: dict[str, Any]) -> dict[str, Any]:
        """The task's own options may stand beside the settings: ``radix=10`` for ``task_options={"radix": 10}``."""
        beside = set(task_options(str(given.get("task", "Math")))) & (given.keys() - cls.model_fields.keys())
        if not beside:
            return given
        settings = {name: value for name, value in given.items() if name not in beside}
        options = settings.pop("task_options", {})
        if not isinstance(options, dict):
            raise ValueError("task_options has to be a dict")
        options = {**options, **{name: given[name] for name in beside}}
        return {**settings, "task_options": options}
