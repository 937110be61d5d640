"""Items of a teacher's own making: JSON in, training items out, and a reason for every one that is refused.

A lesson is a JSON list. ``{"problem": ..., "answer": "..."}`` is an item; what a problem looks like is the task's matter (a
sentence, or the description of a picture). ``{"draw": n}`` buys n real items: random problems of the train split with their
answers. ``{"draw": n, "like": problem}`` buys n others of the given problem's kind, as a data engine makes variants of an
example, and ``"engine": name`` says which engine, where there are several. Nothing that a teacher writes raises: what cannot
be read is refused, counted and explained.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json
from torch import Tensor

from kdgym.tasks.base import Posed, Task, UnreadableError

MOST_CHARACTERS = 2**20
_EXPLAINED = 8  # reasons written out in full

Reason = Literal["not_json", "malformed", "problem", "held_out", "answer", "over_budget"]
REASONS: tuple[Reason, ...] = ("not_json", "malformed", "problem", "held_out", "answer", "over_budget")


class _Item(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    problem: str | dict[str, Any]
    answer: Annotated[str, Field(max_length=1000)]


class _Draw(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    draw: Annotated[int, Field(ge=1, le=1_000_000)]
    like: str | dict[str, Any] | None = None
    engine: str | None = None


_ADAPTER: TypeAdapter[_Item | _Draw] = TypeAdapter(_Item | _Draw)


@dataclass
class WrittenLesson:
    """What one teacher wrote, read.

    Attributes:
        prompt: tokens of the accepted items' problems, a tensor [T] each.
        image: their pictures, uint8 [patches, pixels] each, where the task has any.
        answer: tokens of the answers to be learned, [A] each.
        text: the same as text, for students that read: problem (worded by the task) and answer.
        right: whether each of those is the right answer.
        drawn: how many real items to add.
        asked: of the first ones of those, the skill they are of, the problem they are not, and the engine; -1 for any.
        rejected: how many items were refused, by reason.
        explained: the first refusals, for a person or a language model.
        processed: items that were read, accepted or not; each costs as much as one.
    """

    prompt: list[Tensor] = field(default_factory=list)
    image: list[Tensor] = field(default_factory=list)
    answer: list[Tensor] = field(default_factory=list)
    text: list[tuple[str, str]] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    drawn: int = 0
    asked: list[tuple[int, int, int]] = field(default_factory=list)
    rejected: Counter[Reason] = field(default_factory=Counter)
    explained: list[str] = field(default_factory=list)
    processed: int = 0

    def refuse(self, reason: Reason, message: str, count: int = 1) -> None:
        """Count a refusal, and keep the first few messages."""
        self.rejected[reason] += count
        if len(self.explained) < _EXPLAINED:
            self.explained.append(message)


def read_lesson(task: Task, text: str, most: int, engines: Sequence[str] = ()) -> WrittenLesson:
    """Read what a teacher wrote; at most ``most`` items are read, drawn ones included. Items are drawn from ``engines``.

    A text that is no JSON list counts as one item read.
    """
    lesson = WrittenLesson()
    items = _parse(lesson, text)
    if items is None:
        lesson.processed = min(1, most)
        return lesson
    for place, raw in enumerate(items):
        left = most - lesson.processed
        if left <= 0:
            rest = len(items) - place
            lesson.refuse("over_budget", f"Items {place} to {len(items) - 1}: there is money for {most} items.", rest)
            break
        _read_item(lesson, task, place, raw, left, engines)
    return lesson


def _parse(lesson: WrittenLesson, text: str) -> list[Any] | None:
    if len(text) > MOST_CHARACTERS:
        lesson.refuse("not_json", f"The lesson has {len(text)} characters; {MOST_CHARACTERS} are allowed.")
        return None
    try:
        items = from_json(text.encode(errors="surrogatepass"), allow_inf_nan=False)  # half a character is no JSON
    except ValueError as error:
        lesson.refuse("not_json", f"The lesson is no JSON: {error}.")
        return None
    if not isinstance(items, list):
        lesson.refuse("not_json", f"The lesson is a JSON {type(items).__name__}; a list of items is wanted.")
        return None
    return items


def _read_item(lesson: WrittenLesson, task: Task, place: int, raw: Any, left: int, engines: Sequence[str]) -> None:
    try:
        item = _ADAPTER.validate_python(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        lesson.processed += 1
        lesson.refuse("malformed", f"Item {place}: {where or 'the item'}: {first['msg']}.")
        return
    if isinstance(item, _Draw):
        _read_draw(lesson, task, place, item, left, engines)
        return
    lesson.processed += 1
    try:
        posed = task.read_problem(item.problem)
        answer = task.read_answer(item.answer)
    except UnreadableError as error:
        lesson.refuse(error.reason, f"Item {place}: {error}")
        return
    lesson.prompt.append(posed.prompt)
    lesson.answer.append(answer)
    lesson.text.append((posed.text, item.answer))
    lesson.right.append(torch.equal(answer, task.answer[posed.solution]))
    if posed.image is not None:
        lesson.image.append(posed.image)


def _read_draw(lesson: WrittenLesson, task: Task, place: int, item: _Draw, left: int, engines: Sequence[str]) -> None:
    bought = min(item.draw, left)
    if item.engine is not None and item.engine not in engines:
        known = f"choose from {', '.join(engines)}" if engines else "there is only one, so leave engine out"
        lesson.processed += 1
        lesson.refuse("malformed", f"Item {place}: engine is {item.engine!r:.40}; {known}.")
        return
    skill, other, engine = -1, -1, -1 if item.engine is None else engines.index(item.engine)
    if item.like is not None:
        try:
            posed = task.read_problem(item.like)
        except UnreadableError as error:
            lesson.processed += 1
            lesson.refuse(error.reason, f"Item {place}: {error}")
            return
        skill, other = posed.skill, _find(task, posed)
    if (skill, engine) != (-1, -1):
        lesson.asked += [(skill, other, engine)] * bought
    lesson.drawn += bought
    lesson.processed += bought
    if bought < item.draw:
        lesson.refuse("over_budget", f"Item {place}: there is money for {bought} of {item.draw}.", item.draw - bought)


@lru_cache(maxsize=4)
def _train_problems(task: Task) -> dict[tuple[int, bytes], int]:
    """Every train problem, by its skill and by what a student sees of it: prompt and picture."""
    pool, prompt = task.pool("train"), task.prompt.numpy()
    places = enumerate(zip(pool.start.tolist(), pool.count.tolist(), strict=True))
    ids = [(skill, problem) for skill, (start, n) in places for problem in range(start, start + n)]
    if task.scene is None or task.scenes is None:
        return {(skill, prompt[i].tobytes()): i for skill, i in ids}
    scene, scenes = task.scene.numpy(), task.scenes.numpy()
    return {(skill, prompt[i].tobytes() + scenes[scene[i]].tobytes()): i for skill, i in ids}


def _find(task: Task, posed: Posed) -> int:
    """The train problem that a student cannot tell from the posed one, or -1."""
    image = b"" if posed.image is None else posed.image.numpy().tobytes()
    known = _train_problems(task)
    return known.get((posed.skill, posed.prompt.numpy().tobytes() + image), -1)
