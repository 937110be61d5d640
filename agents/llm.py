"""A language model as teacher: reads what a student can do or gets wrong, and answers in JSON.

For every id whose level is Skill-List, or Open-Ended with problems in text. It asks an OpenAI-compatible endpoint, for all
students at once. Where no usable answer comes, the student gets the control's lesson (Open-Ended: real items; Skill-List: equal
shares), which the transcript, ``fallbacks`` and a warning state.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.spaces import Text

from kdgym.llm.chat import Answer, Conversation, Transcript
from kdgym.llm.endpoint import Endpoint

WRITTEN = 8  # items the model writes a step; the rest of the money buys real ones
SHOWN = 6  # errors shown to it


class Agent:
    options = ("base_url", "model", "transcript")

    def __init__(
        self,
        observation_space: Any,
        action_space: Any,
        seed=0,
        base_url: str = "",
        model: str = "",
        transcript: str = "",
    ) -> None:
        if not base_url or not model:
            raise ValueError("The agent llm needs an endpoint: give --base-url http://127.0.0.1:8000/v1 --model NAME.")
        self.action_space, self.chat = action_space, Endpoint(base_url, model)
        self.level = OpenEnded() if isinstance(action_space, Text) else SkillList(action_space)
        self.transcript = Transcript(Path(transcript)) if transcript else None
        self.model, self.asked, self.fallbacks, self.step = model, 0, 0, 0
        self.tokens = np.zeros(0)

    def act(self, observation: Any) -> Any:
        seen, before = self.level.split(observation), self.fallbacks
        prompts = [self.level.prompt(one) for one in seen]
        answers = self.chat.answer(prompts, self.level.schema)
        actions = [self._use(i, *pair) for i, pair in enumerate(zip(seen, prompts, answers, strict=True))]
        self.tokens = np.array([answer.prompt_tokens + answer.completion_tokens for answer in answers])
        self.step += 1
        if self.fallbacks > before:
            warnings.warn(
                f"{self.model} gave no usable answer: so far {self.fallbacks} of {self.asked} lessons are the control's.",
                RuntimeWarning,
                stacklevel=2,
            )
        return actions

    def spent(self) -> dict[str, Any]:
        """Tokens of the last decision, prompts included, [S]."""
        return {"tokens": self.tokens}

    def _use(self, student: int, seen: Any, prompt: Conversation, answer: Answer) -> Any:
        error, action = answer.error, None
        if not error:
            try:
                action = self.level.action(seen, json.loads(answer.text))
            except (ValueError, TypeError, KeyError) as problem:
                error = f"unusable answer: {problem}"
        self.asked += 1
        self.fallbacks += bool(error)
        if self.transcript is not None:
            record = {"step": self.step, "student": student, "model": self.model, "prompt": prompt}
            self.transcript.write({**record, **vars(answer), "error": error, "fallback": bool(error)})
        return self.level.fallback(seen) if error else action


class OpenEnded:
    """Items written by the model, real items for the rest."""

    schema: dict[str, Any] = {
        "type": "array",
        "minItems": 1,
        "maxItems": WRITTEN,
        "items": {
            "type": "object",
            "properties": {
                "problem": {"type": "string", "maxLength": 200},
                "answer": {"type": "string", "maxLength": 60},
            },
            "required": ["problem", "answer"],
            "additionalProperties": False,
        },
    }

    def split(self, observation: Any) -> list[Any]:
        return [json.loads(text) for text in observation]

    def prompt(self, seen: Any) -> Conversation:
        errors = "\n".join(json.dumps(error) for error in seen["errors"][:SHOWN])
        return [
            {"role": "system", "content": "You teach a student by writing training items. Answer in JSON."},
            {
                "role": "user",
                "content": f"The student got these wrong:\n{errors}\n\nWrite {WRITTEN} new problems of the same kinds, in "
                'exactly the same form, as [{"problem": ..., "answer": ...}]. Every answer has to be right.',
            },
        ]

    def action(self, seen: Any, answer: Any) -> str:
        items = [{"problem": item["problem"], "answer": item["answer"]} for item in answer][: seen["items"]]
        rest = seen["items"] - len(items)
        return json.dumps(items + ([{"draw": rest}] if rest else []))

    def fallback(self, seen: Any) -> str:
        return json.dumps([{"draw": seen["items"]}]) if seen["items"] else "[]"


class SkillList:
    """A weight for every skill; its sources share it by their price."""

    def __init__(self, action_space: Any) -> None:
        self.action_space = action_space
        self.schema: dict[str, Any] = {}

    def split(self, observation: Any) -> list[Any]:
        students = [{key: value[i] for key, value in observation.items()} for i in range(len(observation["time"]))]
        skills = len(students[0]["target"])
        weight = {"type": "integer", "minimum": 0, "maximum": 10}
        self.schema = {"type": "array", "items": weight, "minItems": skills, "maxItems": skills}
        return students

    def prompt(self, seen: Any) -> Conversation:
        lines = "\n".join(
            f"skill {k}: goal {target:.2f}, accuracy {accuracy:.2f}"
            for k, (target, accuracy) in enumerate(zip(seen["target"], seen["accuracy"], strict=True))
        )
        return [
            {"role": "system", "content": "You plan what a student practises next. Answer in JSON."},
            {
                "role": "user",
                "content": f"{lines}\n\nThe goal says how much a skill counts. Give every skill, in order, a weight from 0 to "
                f"10: a list of {len(seen['target'])} integers.",
            },
        ]

    def action(self, seen: Any, answer: Any) -> Any:
        weights = np.asarray(answer, dtype=float)
        if weights.shape != seen["target"].shape:
            raise ValueError(f"{weights.size} weights for {len(seen['target'])} skills")
        return self.action_space.encode(weights.repeat(len(seen["price"]) // len(weights)) / seen["price"])

    def fallback(self, seen: Any) -> Any:
        return np.zeros(self.action_space.shape, dtype=np.float32)
