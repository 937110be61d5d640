"""What a teacher sees and decides, in words and as a tool: one piece for language models, adapters and persons."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Text
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from kdgym.spaces import Parameter, WordedBox

_Array = npt.NDArray[np.float64]
_MOST = 8  # orders of a decision, and written items
_FIRST = 4  # times as long as the others is the first view
_SMALLEST = 0.005  # share of a field's largest value below which a change is not told
_SMALL_VALUES = 0.05  # share of a field's range that stands for its largest value, where all are smaller
_CROWD = 4  # entries of a field after which another counts half
_OFF_TARGET = 0.2  # how much a change of a skill counts that has no target


class TextInterface(ABC):
    """One student's episode in words. It keeps what was told, so there is one for every student, and a new one an episode.

    Args:
        observation_space, action_space: of one student.
        metadata: what the environment says of itself; see `kdgym.teaching.Teacher.study`.
        characters: longest view; the first has four times as many. A single error is told in full even if it is longer.
    """

    def __init__(self, observation_space: Any, action_space: Any, metadata: Any = None, characters: int = 200) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.metadata: Mapping[str, Any] = metadata or {}
        self.characters = characters
        self._views = 0

    @property
    @abstractmethod
    def instructions(self) -> str:
        """How to decide, to be said once."""

    @property
    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """JSON schema of a decision. Where items are written, it depends on what was told last."""

    @property
    def tool(self) -> dict[str, Any]:
        """The decision as a function that a language model can call, in the form of OpenAI's API."""
        about = {"name": "teach", "description": self.instructions, "parameters": self.schema}
        return {"type": "function", "function": about}

    @property
    @abstractmethod
    def neutral(self) -> Any:
        """The action that favours nothing."""

    @abstractmethod
    def tell(self, seen: Any, whole: bool = False) -> str:
        """What is new for the teacher.

        Args:
            seen: one student's observation.
            whole: tell everything, at any length.
        """

    def read(self, said: str | Mapping[str, Any] | list[Any]) -> Any:
        """The action of a decision: arguments of the tool, the same as JSON, or what a person types.

        Raises:
            ValueError: it is none; the message says what was given, and what is allowed.
        """
        if isinstance(said, str):
            text = said.strip()
            said = _parsed(text, self.schema) if text.startswith(("{", "[")) else self._typed(text)
        return self._action(said)

    @abstractmethod
    def write(self, action: Any) -> dict[str, Any]:
        """The arguments of the tool that stand for an action, but for rounding."""

    @abstractmethod
    def _typed(self, text: str) -> Any:
        """The arguments that a person types."""

    @abstractmethod
    def _action(self, arguments: Any) -> Any:
        """The action of a tool's arguments."""


def text_interface(
    observation_space: Any, action_space: Any, metadata: Any = None, characters: int = 200
) -> TextInterface:
    """The interface of these spaces; see `TextInterface`."""
    kind = Items if isinstance(action_space, Text) else Decisions if isinstance(action_space, WordedBox) else Numbers
    return kind(observation_space, action_space, metadata, characters)


class Numbers(TextInterface):
    """Observations are arrays, and an action is numbers without names."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        skills = [skill["name"] for skill in self.metadata.get("skills", [])]
        target = getattr(self.observation_space, "spaces", {}).get("target")
        self.skills: list[str] = skills or [f"skill_{k}" for k in range(target.shape[0] if target else 0)]
        self._told: dict[str, _Array] = {}
        self._size = int(np.prod(getattr(self.action_space, "shape", None) or ()))

    @property
    def instructions(self) -> str:
        return f'Decide by {{"action": [...]}} with {self._size} numbers: {self.action_space}.'

    @property
    def schema(self) -> dict[str, Any]:
        numbers = {"type": "array", "items": {"type": "number"}, "minItems": self._size, "maxItems": self._size}
        return _object({"action": numbers}, ["action"])

    @property
    def neutral(self) -> Any:
        return np.zeros(self.action_space.shape, self.action_space.dtype)

    def _typed(self, text: str) -> Any:
        return {"action": text.replace(",", " ").split()}

    def _action(self, arguments: Any) -> Any:
        numbers = arguments.get("action") if isinstance(arguments, Mapping) else arguments
        try:
            action = np.array(numbers, np.float64).reshape(self.action_space.shape).astype(self.action_space.dtype)
        except (TypeError, ValueError) as error:
            given = f"{len(numbers)} numbers were" if isinstance(numbers, list) else f"{arguments!r} was"
            raise ValueError(f"{given} given; {self._size} of {self.action_space} are asked for.") from error
        if not self.action_space.contains(action):
            raise ValueError(f"{numbers} is out of range; {self.action_space} is asked for.")
        return action

    def write(self, action: Any) -> dict[str, Any]:
        return {"action": np.ravel(action).tolist()}

    # --- what is seen --------------------------------------------------------------------------------------------

    def labels(self, field: str, size: int) -> list[str]:
        """Names of a field's entries: of skills, of their parts (``add.1``), those of the metadata, or numbers from 1."""
        told, count = self.metadata, len(self.skills)
        named = {field["name"]: field["entries"] for field in told.get("fields", [])}
        clusters = [f"cluster {c}" for c, _ in enumerate(told.get("clusters", []))]
        teachers = [f"teacher {t}" for t, _ in enumerate(told.get("subjects", []))]
        for names in (named.get(field, []), self.skills, told.get("features", []), clusters, teachers):
            if len(names) == size:
                return list(names)
        if count and size % count == 0:
            return [f"{skill}.{part + 1}" for skill in self.skills for part in range(size // count)]
        return [str(i + 1) for i in range(size)] if size > 1 else [""]

    def tell(self, seen: Any, whole: bool = False) -> str:
        """Entries by field, those first that changed most for their range; what was 0 and stays 0 is not told."""
        arrays = {name: np.ravel(np.asarray(v, np.float64)) for name, v in seen.items()}
        before = {
            name: np.zeros_like(v) if whole else self._told.get(name, np.zeros_like(v)) for name, v in arrays.items()
        }
        found = []
        for name, value in arrays.items():
            change = self._importance(name, value - before[name], arrays)
            ranked = [int(i) for i in np.argsort(-change, kind="stable") if change[i] >= _SMALLEST]
            found += [(-change[i] / (1 + rank / _CROWD), name, i) for rank, i in enumerate(ranked)]
        room = len(found) * 1_000 if whole else self.characters * (1 if self._views else _FIRST)
        shown: dict[str, list[str]] = {}
        for _, name, i in sorted(found):
            entry = f"{self.labels(name, len(arrays[name]))[i]} {_short(arrays[name][i])}".strip()
            if _short(arrays[name][i]) == _short(before[name][i]):
                continue
            room -= len(entry) + 2 + (name not in shown) * (len(name) + 2)
            if room >= 0:
                shown.setdefault(name, []).append(entry)
                before[name][i] = arrays[name][i]
        self._told, self._views = before, self._views + 1
        return "\n".join(f"{name} {', '.join(entries)}" for name, entries in shown.items())

    def _importance(self, field: str, change: _Array, arrays: Mapping[str, _Array]) -> _Array:
        """Every entry's change, as a share of the field's largest value; more of what concerns everything, or a target."""
        space, largest = getattr(self.observation_space, "spaces", {}).get(field), np.abs(arrays[field]).max(initial=0)
        least = _SMALL_VALUES * float((space.high - space.low).max()) if space is not None else 0.0
        size: _Array = np.abs(change) / max(largest, least if np.isfinite(least) else 0.0, 1e-9)
        count = len(self.skills)
        if len(change) == 1:
            return np.where(size >= _SMALLEST, 10.0, 0.0)
        if "target" not in arrays or not count or len(change) % count:
            return size
        target = arrays["target"] / max(arrays["target"].max(), 1e-9)
        counts = (_OFF_TARGET + (1 - _OFF_TARGET) * target).repeat(len(change) // count)
        return np.asarray(np.where(size >= _SMALLEST, np.maximum(size * counts, _SMALLEST), 0.0))


class Decisions(Numbers):
    """Observations are arrays, and an action stands for decisions that have names."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.parameters: tuple[Parameter, ...] = self.action_space.parameters(self.skills)
        self._arguments = {one.name.replace(" ", "_"): one.name for one in self.parameters}

    @property
    def instructions(self) -> str:
        groups: dict[str, list[str]] = {}
        for argument, one in zip(self._arguments, self.parameters, strict=True):
            parts = f", or a list of {one.parts}, one a part" if one.parts else ""
            neutral = f" ({one.neutral})" if one.kind == "option" else f" ({one.neutral:g})" * (one.kind == "number")
            form = f"{one.allowed}{neutral}{parts}{one.meaning and f', {one.meaning}'}"
            groups.setdefault(form, []).append(argument)
        lines = [f"{', '.join(names)}: {form}" for form, names in groups.items()]
        about = [f"{skill['name']}: {skill.get('description', '')}" for skill in self.metadata.get("skills", [])]
        concern = any(one.name.endswith(skill) for one in self.parameters for skill in self.skills)
        said = "At first all is 0; the largest changes are told. Decide by a JSON object; what you leave out stays neutral."
        return "\n".join([*(about if concern else []), said, *lines])

    @property
    def schema(self) -> dict[str, Any]:
        return _object({name: _schema(one) for name, one in zip(self._arguments, self.parameters, strict=True)})

    @property
    def neutral(self) -> Any:
        return self.action_space.compose({}, self.skills)

    def _typed(self, text: str) -> Any:
        between = "," if any(" " in one.name for one in self.parameters) else r"[,\s]+"
        said = [part.partition("=") for part in re.split(between, re.sub(r"\s*[:=]\s*", "=", text)) if part.strip()]
        options = {one.name for one in self.parameters if one.kind == "option"}
        return {name.strip(): v.strip() if name.strip() in options else _number(name, v) for name, _, v in said}

    def _action(self, arguments: Any) -> Any:
        if not isinstance(arguments, Mapping):
            raise ValueError(f"The decision is {arguments!r}; give an object of {', '.join(self._arguments)}.")
        decided = {self._arguments.get(name, name): value for name, value in arguments.items()}
        return self.action_space.compose(decided, self.skills)

    def write(self, action: Any) -> dict[str, Any]:
        found = self.action_space.describe(action, self.skills)
        return {name.replace(" ", "_"): value for name, value in found.items()}


class Cell(BaseModel):
    """What stands in a cell of a picture."""

    digit: Annotated[int, Field(ge=0, le=9)]


class Picture(BaseModel):
    """A problem about a picture."""

    cells: Annotated[list[Cell | None], Field(min_length=6, max_length=6)]
    question: Annotated[str, Field(max_length=400)]


class WrittenItem(BaseModel):
    """A training item that a model writes, as text."""

    model_config = ConfigDict(extra="forbid")
    problem: Annotated[str, Field(max_length=400)]
    answer: Annotated[str, Field(max_length=400)]


class PictureItem(WrittenItem):
    """A training item about a picture."""

    problem: Picture  # type: ignore[assignment]


class Items(TextInterface):
    """Observations and actions are JSON, and an action is a list of items: Open-Ended.

    The tool has ``orders`` of real items: how many ``items``, like which ``error`` that was told, from which ``engine`` where
    there are several; and items that are ``written``. A person types ``40, 20 like 3 from B``.
    """

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.seen: dict[str, Any] = {}  # what was told last
        self._told: dict[str, str] = {}

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The errors that were told last."""
        found: list[dict[str, Any]] = self.seen.get("errors", [])
        return found

    @property
    def instructions(self) -> str:
        engine = ', "engine": "A"' if "engines" in self.seen else ""
        return (
            f'Decide by a JSON object. "orders" buys real items: [{{"items": 20, "error": 1{engine}}}, {{"items": 9}}] are 20 '
            'like error 1 and 9 of any kind. "written" are your own: [{"problem": ..., "answer": ...}], in the form of the '
            "errors. Each item costs 1. What is not told is as told before."
        )

    @property
    def _lesson(self) -> type[BaseModel]:
        fields: dict[str, Any] = {"items": (Annotated[int, Field(ge=1, le=1_000_000)], ...)}
        if self.errors:
            fields["error"] = (Annotated[int, Field(ge=1, le=len(self.errors))] | None, None)
        if engines := self.seen.get("engines"):
            fields["engine"] = (Literal[tuple(engines)] | None, None)
        strict = ConfigDict(extra="forbid")
        order: Any = create_model("Order", __config__=strict, **fields)
        item: Any = PictureItem if any(isinstance(error["problem"], dict) for error in self.errors) else WrittenItem
        return create_model(
            "Lesson",
            __config__=strict,
            orders=(list[order], Field([], max_length=_MOST)),
            written=(list[item], Field([], max_length=_MOST)),
        )

    @property
    def schema(self) -> dict[str, Any]:
        return self._lesson.model_json_schema()

    @property
    def neutral(self) -> str:
        return filled([], self.seen.get("items", 0))

    def tell(self, seen: Any, whole: bool = False) -> str:
        """What changed of all values, then the errors, numbered."""
        told: dict[str, Any] = json.loads(seen) if isinstance(seen, str) else dict(seen)
        values = dict(pair for name, value in told.items() if name != "errors" for pair in _flat(name, value))
        room = self.characters * (1 if self._views else _FIRST)
        lines = ["; ".join(f"{name} {v}" for name, v in values.items() if whole or self._told.get(name) != v)]
        for number, error in enumerate(told.get("errors", []), 1):
            first, *others = error.items()
            line = f"{number}. {_plain(first[1])}" + "".join(f"; {name} {_plain(value)}" for name, value in others)
            if not whole and number > 1 and sum(map(len, lines)) + len(line) > room:
                break
            lines.append(line)
        self.seen, self._told = told | {"errors": told.get("errors", [])[: len(lines) - 1]}, values
        self._views += 1
        return "\n".join(lines)

    def _typed(self, text: str) -> Any:
        orders = []
        for part in filter(None, (part.strip() for part in text.split(","))):
            found = re.fullmatch(r"(?P<items>\d+)(?: like (?P<error>\d+))?(?: from (?P<engine>\S+))?", part)
            if found is None:
                raise ValueError(
                    f"{part!r} is neither JSON nor a number of items, such as 40, 20 like 3 or 9 like 1 from B."
                )
            orders.append({name: value for name, value in found.groupdict().items() if value is not None})
        return {"orders": orders}

    def _action(self, arguments: Any) -> Any:
        lesson = arguments if isinstance(arguments, list) else self._bought(arguments)
        written = json.dumps(lesson)
        if not self.action_space.contains(written):
            raise ValueError(f"At most {self.action_space.max_length} printable characters are allowed.")
        return written

    def _bought(self, arguments: Any) -> list[dict[str, Any]]:
        try:
            lesson: Any = self._lesson.model_validate(arguments)
        except ValidationError as error:
            found = error.errors()[0]
            where, given = ".".join(map(str, found["loc"])), f"{found['input']!r}"[:80]
            known = f"Errors are numbered from 1 to {len(self.errors)}."
            raise ValueError(f"{where or 'The decision'} is {given}: {found['msg']}. {known}") from error
        items = []
        for order in lesson.orders:
            like = {"like": self.errors[order.error - 1]["problem"]} if getattr(order, "error", None) else {}
            engine = {"engine": order.engine} if getattr(order, "engine", None) else {}
            items.append({"draw": order.items, **like, **engine})
        return items + [item.model_dump() for item in lesson.written]

    def write(self, action: Any) -> dict[str, Any]:
        """See `TextInterface.write`.

        Raises:
            ValueError: it orders items like a problem that was not told.
        """
        lesson: dict[str, list[Any]] = {"orders": [], "written": []}
        problems = [error["problem"] for error in self.errors]
        for item in json.loads(action):
            if "draw" not in item:
                lesson["written"].append(item)
                continue
            if item.get("like") is not None and item["like"] not in problems:
                raise ValueError(f"The problem {item['like']!r} was not told; give more characters, so that it is.")
            like = {"error": problems.index(item["like"]) + 1} if item.get("like") is not None else {}
            lesson["orders"].append(
                {"items": item["draw"], **like, **({"engine": item["engine"]} if item.get("engine") else {})}
            )
        return {name: items for name, items in lesson.items() if items}


def filled(items: list[dict[str, Any]], number: int) -> str:
    """An Open-Ended action: these items as far as the money reaches, and for the rest more of the last order, or of any kind.

    Args:
        items: written ones and orders.
        number: how many the money pays for.
    """
    lesson: list[dict[str, Any]] = []
    last: dict[str, Any] = {}
    rest = number
    for item in items:
        taken = min(item.get("draw", 1), rest)
        if taken:
            lesson.append({**item, "draw": taken} if "draw" in item else item)
        rest, last = rest - taken, item if "draw" in item else last
    return json.dumps(lesson + ([{**last, "draw": rest}] if rest else []))


def _schema(one: Parameter) -> dict[str, Any]:
    about: dict[str, Any] = {"description": one.meaning} if one.meaning else {}
    if one.kind == "option":
        return {"enum": list(one.options), **about}
    if one.kind == "flag":
        return {"type": "boolean", **about}
    number = {"type": "number", "minimum": one.low, **({} if one.kind == "weight" else {"maximum": one.high})}
    many = {"type": "array", "items": number, "minItems": one.parts, "maxItems": one.parts}
    return {"anyOf": [number, many], **about} if one.parts else number | about


def _object(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required or [], "additionalProperties": False}


def _parsed(text: str, schema: Mapping[str, Any]) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        names = ", ".join(schema["properties"])
        raise ValueError(f"{text[:60]!r} is no JSON ({error}). Give an object of {names[:300]}.") from error


def _number(name: str, amount: str) -> float:
    try:
        return float(amount or 1)
    except ValueError as error:
        raise ValueError(f"{name.strip()}={amount} has no number; write {name.strip()}=2.") from error


def _short(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _plain(value: Any) -> str:
    """A value of JSON in one line: texts as they are, all else without blanks."""
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return text.strip().replace("\n", "\\n")


def _flat(name: str, value: Any) -> list[tuple[str, str]]:
    """Every value inside one, with all names that lead to it."""
    if isinstance(value, dict):
        return [pair for inner, each in value.items() for pair in _flat(f"{name} {inner}", each)]
    return [(name, " ".join(map(_plain, value)) if isinstance(value, list) else _plain(value))]
