"""What can be chosen about practice with feedback."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, JsonValue, model_validator

from kdgym.core.course_settings import CourseSettings
from kdgym.students import is_language_model

# An update of a language model takes seconds on one core, so an episode has few, of few and short attempts.
_FOR_LANGUAGE_MODELS: dict[str, Any] = {
    "steps": 4,
    "updates": 1,
    "group": 8,
    "problems": 1,
    "budget": 4 * 900.0,
    "learning_rate": 5e-4,
    "validation_items": 2,
    "test_items": 4,
}
_LONGEST_ATTEMPT = 64  # tokens of a language model


class FeedbackSettings(CourseSettings):
    """Arguments of `kdgym.envs.feedback.feedback.Feedback`; see there."""

    later = ("faulty", "shifts")
    task: str = "Scratchpad"
    student: str = "reasoner"
    succeed: Literal["rarely", "often"] = "rarely"
    steps: int = Field(8, ge=1, le=1000)
    updates: int = Field(8, ge=1, le=1000)
    group: int = Field(8, ge=2, le=256)
    problems: int | None = Field(None, ge=1)
    budget: float = Field(8 * 8 * 500.0, gt=0, le=1e12)
    price: float = Field(1.0, ge=0, le=1000)
    feedback_cost: float = Field(0.05, ge=0, le=10)
    learning_rate: float = Field(2e-3, gt=0, le=1)
    epochs: int = Field(1, ge=1, le=16)
    clip: float = Field(0.2, gt=0, le=1)
    kl: float = Field(0.0, ge=0, le=10)
    shaping_constant: float = Field(0.1, gt=0, le=10)
    validation_items: int = Field(32, ge=1, le=1024)
    actions: Literal["box", "discrete"] = "box"
    faulty: int = Field(0, ge=0, le=3)
    shifts: int = Field(1, ge=1, le=100)

    @model_validator(mode="before")
    @classmethod
    def _by_student(cls, given: dict[str, Any]) -> dict[str, Any]:
        """What is not given is what suits the student, and a task without options of its own gets none."""
        options: dict[str, JsonValue] = {"radix": 6} if given.get("task", "Scratchpad") == "Scratchpad" else {}
        chosen = given.get("task_options")
        if isinstance(chosen, dict) and chosen.keys() == {
            "version"
        }:  # of an id; somebody's own options are all there are
            given = {**given, "task_options": {**options, **chosen}}
        if not is_language_model(str(given.get("student", ""))):
            return {"task_options": options, **given}
        if not isinstance(given.get("student_options", {}), dict):
            raise ValueError("student_options has to be a dict")
        speech = {"max_new_tokens": _LONGEST_ATTEMPT, **given.get("student_options", {})}
        return {"task_options": options, **_FOR_LANGUAGE_MODELS, **given, "student_options": speech}
