"""Keyword arguments of an environment as a checked, frozen value."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from kdgym.suggestions import did_you_mean


class Settings(BaseModel):
    """Base of every family's settings: unknown names and values out of range are refused in sentences."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls, settings: dict[str, Any]) -> Self:
        """The settings, checked.

        Raises:
            ValueError: a setting is unknown, has the wrong type or is out of range.
        """
        try:
            return cls(**settings)
        except ValidationError as error:
            known = ", ".join(cls.model_fields)
            lines = [cls._refusal(found) for found in error.errors()]
            raise ValueError(" ".join([*lines, f"Known settings: {known}."])) from None

    @classmethod
    def _refusal(cls, found: Any) -> str:
        name = ".".join(map(str, found["loc"]))
        if found["type"] != "extra_forbidden":
            return f"The setting {name}={found['input']!r} is refused: {found['msg']}."
        return f"There is no setting {name!r}.{did_you_mean(name, cls.model_fields)}"
