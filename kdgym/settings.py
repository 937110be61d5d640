"""Keyword arguments of an environment as a checked, frozen value."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from kdgym.suggestions import did_you_mean

_DEEPEST = 20  # settings are written as JSON


class UnknownSettingError(TypeError, ValueError):
    """A setting that there is not: a ValueError as for any bad setting, and the TypeError of Python for unknown arguments, by
    whose words others know that they may try again without it (TorchRL's ``frameskip``).
    """


class Settings(BaseModel):
    """Base of every family's settings: unknown names and values out of range are refused in sentences.

    Attributes:
        noun: what one of them is called.
        later: names of settings that came after there were records. While all of them have their defaults they are left out of
            cards, records and snapshots, which stay as they were.
    """

    noun: ClassVar[str] = "setting"
    later: ClassVar[tuple[str, ...]] = ()
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_serializer(mode="wrap")
    def _dump(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        is_early = all(getattr(self, name) == type(self).model_fields[name].default for name in self.later)
        return {name: value for name, value in dump(self).items() if not (is_early and name in self.later)}

    @classmethod
    def parse(cls, settings: dict[str, Any]) -> Self:
        """The settings, checked.

        Raises:
            UnknownSettingError: there is no such setting.
            ValueError: a setting has the wrong type or is out of range.
        """
        for name, value in settings.items():
            reason = _unusable(value)
            if reason:
                raise ValueError(f"The {cls.noun} {name} is refused: {reason}.")
        try:
            return cls(**settings)
        except ValidationError as error:
            sentences = [*map(cls._refusal, error.errors()), f"Known {cls.noun}s: {', '.join(cls.model_fields)}."]
            unknown = [str(found["loc"][0]) for found in error.errors() if found["type"] == "extra_forbidden"]
            if not unknown:
                raise ValueError(" ".join(sentences)) from None
            sentences += [f"(unexpected keyword argument {name!r})" for name in unknown]
            raise UnknownSettingError(" ".join(sentences)) from None

    @classmethod
    def _refusal(cls, found: Any) -> str:
        name = ".".join(map(str, found["loc"]))
        if found["type"] != "extra_forbidden":
            return f"The {cls.noun} {name}={repr(found['input'])[:200]} is refused: {found['msg']}."
        return f"There is no {cls.noun} {name!r}.{did_you_mean(name, cls.model_fields)}"


def _unusable(value: Any, depth: int = 0) -> str:
    """Why a value, or one within it, is none that can be kept in files and computed with; empty if it can."""
    if isinstance(value, str):
        plain = "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)
        return "" if plain else "a text has a zero character or half a character"
    if isinstance(value, int):
        return "" if abs(value) < 2**63 else "a whole number has more than 63 bits"
    if isinstance(value, (dict, list, tuple)):
        if depth == _DEEPEST:
            return f"it is nested more than {_DEEPEST} deep"
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        return next(filter(None, (_unusable(part, depth + 1) for part in parts)), "")
    return ""
