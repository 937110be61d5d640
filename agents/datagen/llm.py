"""A language model teaches, on every Skill-List and Open-Ended id: reads what a student can do or gets wrong, answers in JSON.

Open-Ended: it writes items after seeing errors; the rest of the money buys real ones. Skill-List: it sees skills, sources and
what its last decisions gained, and splits the money over sources. Where no usable answer comes, the student gets the control's
lesson: real items, or equal shares.
"""

import json
from typing import Annotated, Any, Literal

import numpy as np
from gymnasium.spaces import Text
from pydantic import BaseModel, Field, create_model

from kdgym.teaching.language_model import LanguageTeacher, WrittenItem, written_lesson

WRITTEN = 8  # most items the model writes a step
SHOWN = 6  # errors shown to it
BOUGHT = 8  # most sources of a decision
REMEMBERED = 6  # last decisions shown to it
HINT = (
    "Sources sell right answers, mostly wrong ones, or the same few items again and again; prices do not tell which. Wrong "
    "answers keep a loss above the skill's own; repeated items fall far below it."
)


class Cell(BaseModel):
    digit: Annotated[int, Field(ge=0, le=9)]


class Picture(BaseModel):
    cells: Annotated[list[Cell | None], Field(min_length=6, max_length=6)]
    question: Annotated[str, Field(max_length=400)]


class PictureItem(BaseModel):
    problem: Picture
    answer: Annotated[str, Field(max_length=400)]


class Agent(LanguageTeacher):
    def __init__(self, observation_space: Any, action_space: Any, seed: int = 0, **options: Any) -> None:
        super().__init__(observation_space, action_space, seed, **options)
        self.writes = isinstance(action_space, Text)
        if not self.writes:
            skills = observation_space["target"].shape[0]
            self.sources = observation_space["price"].shape[0] // skills
            self._name([{"name": f"skill_{k}"} for k in range(skills)])

    def study(self, metadata: Any) -> None:
        if not self.writes and "skills" in metadata:
            self._name(metadata["skills"])

    def _name(self, skills: Any) -> None:
        self.names = [skill["name"] for skill in skills]
        about = [skill.get("description", "A skill").rstrip(".") + "." for skill in skills]
        bases = [", ".join(skill.get("prerequisites", ())) for skill in skills]
        self.about = [text + (f" Builds on {base}." if base else "") for text, base in zip(about, bases, strict=True)]
        self.answer = _purchases(self.names, self.sources)

    def reset(self, observation: Any) -> None:
        if self.writes:
            errors = [error for text in observation for error in json.loads(text)["errors"]]
            item = PictureItem if any(isinstance(error["problem"], dict) for error in errors) else WrittenItem
            items = Annotated[list[item], Field(min_length=1, max_length=WRITTEN)]  # type: ignore[valid-type]
            self.answer = create_model("Items", items=items)
        else:
            self.decided: list[list[str]] = [[] for _ in observation["time"]]
            self.gained: list[list[float]] = [[] for _ in observation["time"]]

    def after_step(self, reward: Any, done: Any) -> None:
        if not self.writes:
            for gained, gain in zip(self.gained, reward, strict=True):
                gained.append(float(gain))

    def teach(self, seen: Any) -> list[Any]:
        if self.writes:
            return super().teach(seen)
        past = zip(self.decided, self.gained, strict=True)
        return super().teach(
            [{**one, "decided": mine, "gained": gains} for one, (mine, gains) in zip(seen, past, strict=True)]
        )

    def questions(self, seen: Any) -> list[str]:
        return [self._errors(seen) if self.writes else self._skills(seen)]

    def lesson(self, seen: Any, answers: list[Any]) -> Any:
        (answer,) = answers
        if self.writes:
            return written_lesson(answer.model_dump()["items"] if answer else [], seen)
        bought = answer.buy if answer else []
        seen["decided"].append(
            ", ".join(f"{one.skill} {one.source}: {one.percent}" for one in bought) or "equal shares"
        )
        if not bought:
            return np.zeros(self.action_space.shape, dtype=np.float32)
        share = np.zeros(self.action_space.shape)
        for one in bought:
            share[self.names.index(one.skill) * self.sources + one.source - 1] += one.percent
        return self.action_space.encode(share)

    def _errors(self, seen: Any) -> str:
        shown = "\n".join(
            f"{json.dumps({'problem': error['problem'], 'answer': error['right']})} (the student said {error['given']!r})"
            for error in seen["errors"][:SHOWN]
        )
        return (
            f"The student has to learn problems like these, with their right answers:\n{shown}\n\nWrite {WRITTEN} new ones of "
            'the same kinds, in exactly the same form, as {"items": [...]}. Every answer has to be right.'
        )

    def _skills(self, seen: Any) -> str:
        counting = [k for k in np.argsort(-seen["target"], kind="stable") if seen["target"][k] > 0]
        lines = ["Skills that count, and the sources of their items:"]
        for k in counting:
            lines += [
                self._skill(seen, k),
                *(f"- source {m + 1}: {self._source(seen, k, m)}" for m in range(self.sources)),
            ]
        lines += ["Other skills do not count, but may help:"]
        lines += [self._other(seen, k) for k in range(len(self.names)) if k not in counting]
        lines += ["", HINT, *self._past(seen), ""]
        score = float(seen["target"] @ seen["accuracy"])
        lines += [
            f"The score is {score:.2f}, the mean accuracy of what counts. Left: {100 * seen['budget'][0]:.0f} percent of the "
            f"money, {100 * seen['time'][0]:.0f} percent of the steps. Split the next step's money over 1 to {BOUGHT} "
            f'sources: {{"buy": [{{"skill": "{self.names[counting[0]]}", "source": 1, "percent": 25}}, ...]}}.'
        ]
        return "\n".join(lines)

    def _skill(self, seen: Any, k: int) -> str:
        now = f"accuracy {seen['accuracy'][k]:.2f} ({seen['change'][k]:+.2f}), loss {seen['loss'][k]:.2f}"
        return f"{self.names[k]}: {self.about[k]} Counts {seen['target'][k]:.2f}, {now}"

    def _source(self, seen: Any, k: int, m: int) -> str:
        n = k * self.sources + m
        spent, losses = (
            seen["source_spend"][n],
            f"loss {seen['source_loss'][n]:.2f}, mean {seen['source_loss_mean'][n]:.2f}",
        )
        return f"price {seen['price'][n]:g}, {f'{losses}, {100 * spent:.0f} percent spent' if spent else 'not tried'}"

    def _other(self, seen: Any, k: int) -> str:
        """In one line: of the sources the prices, and the losses of those that were tried."""
        mine = slice(k * self.sources, (k + 1) * self.sources)
        told = [
            f"accuracy {seen['accuracy'][k]:.2f}",
            "prices " + " ".join(f"{price:g}" for price in seen["price"][mine]),
        ]
        tried = [m for m, spent in enumerate(seen["source_spend"][mine]) if spent]
        told += [f"source {m + 1} loss {seen['source_loss_mean'][mine][m]:.2f}" for m in tried]
        return f"{self.names[k]}: {', '.join(told)}"

    def _past(self, seen: Any) -> list[str]:
        """The last decisions, as percent of a step's money a source, and what each gained."""
        steps = list(enumerate(zip(seen["decided"], seen["gained"], strict=True), start=1))
        lines = [f"- step {step}: {decided}; gain {gain:+.2f}" for step, (decided, gain) in steps[-REMEMBERED:]]
        return ["Your last decisions (percent of the money), and the gain in score:", *lines] if lines else []


def _purchases(skills: list[str], sources: int) -> Any:
    """The type of a decision: which sources get how many percent of the money."""
    fields: dict[str, Any] = {
        "skill": (Literal[tuple(skills)], ...),
        "source": (Annotated[int, Field(ge=1, le=sources)], ...),
        "percent": (Annotated[int, Field(ge=1, le=100)], ...),
    }
    purchases: Any = Annotated[list[create_model("Purchase", **fields)], Field(min_length=1, max_length=BOUGHT)]  # type: ignore[misc]
    return create_model("Purchases", buy=purchases)
