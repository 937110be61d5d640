"""What all teachers that are language models share: asking for every student at once, reading, writing down, counting."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import AfterValidator, TypeAdapter, ValidationError

from kdgym.llm.chat import Answer, Conversation, Transcript
from kdgym.llm.connect import connect
from kdgym.teaching.base import Teacher
from kdgym.teaching.text import Items, TextInterface, filled, text_interface

Seen = dict[str, Any]  # what the teacher of one student sees


class LanguageTeacher(Teacher):
    """A teacher that asks a language model, on every id: it tells what is new (`kdgym.teaching.text`) and reads a decision.

    A step is a turn of one conversation a student: what its last decision earned, what changed, and what was wrong with the
    last answer. Where no usable answer comes, the decision is neutral. ``system`` is the prompt before it; an agent with a
    prompt of its own sets that. One that asks other questions writes `questions` and `lesson`, and names the type of an
    ``answer``.

    An answer that never came, was cut short, or does not fit ``answer`` counts as None: the agent then does what its docstring
    states. Every such case is in the transcript (``"default": true``), in `remarks` and in a warning. A model that cannot be
    asked at all raises `kdgym.llm.chat.UnreachableError` at the first question.

    Args:
        observation_space, action_space: of one student.
        seed: not used; the model takes the likeliest tokens.
        base_url: endpoint of the model, ``transformers`` or ``vllm``; see `kdgym.llm.connect.connect`.
        model: its name there.
        transcript: JSONL file to append every question to.
        max_tokens: longest answer.
        limits: ``token_budget`` and ``seconds_budget``; see `kdgym.llm.endpoint.Endpoint`.

    Attributes:
        system: what the model is, and what it is after; how to decide is said behind it.
        answer: type of a usable answer to `questions`; its JSON schema constrains what the model may say.

    Raises:
        ValueError: it is not said where the model is.
    """

    options = ("base_url", "model", "transcript", "max_tokens", "token_budget", "seconds_budget")
    answer: Any = None
    system: ClassVar[str] = "You teach a student. Answer in JSON."
    characters: ClassVar[int] = 200  # of what is told a step

    def __init__(
        self,
        observation_space: Any,
        action_space: Any,
        seed: int = 0,
        base_url: str = "",
        model: str = "",
        transcript: str = "",
        max_tokens: int = 512,
        **limits: float,
    ) -> None:
        if not base_url or not model:
            raise ValueError(
                "This teacher is a language model and needs one: give --base-url http://127.0.0.1:8000/v1 --model NAME "
                "for an endpoint, or --base-url transformers --model smollm2 for a model in this process."
            )
        super().__init__(observation_space, action_space, seed)
        self.model, self.max_tokens = model, max_tokens
        self.chat = connect(base_url, model, **limits)
        self.transcript = Transcript(Path(transcript)) if transcript else None
        self.asked, self.defaults, self.failed, self.step = 0, 0, 0, 0
        self._tokens = np.zeros(0)
        self.metadata: dict[str, Any] = {}
        self.views: list[TextInterface] = []  # one a student
        self.said: list[Conversation] = []
        self._earned: list[str] = []
        self._wrong: dict[int, str] = {}  # student -> what was wrong with its last answer

    # --- what an agent says --------------------------------------------------------------------------------------

    def questions(self, seen: Seen) -> list[str]:
        """What to ask about one student now."""
        raise NotImplementedError(f"The teacher {type(self).__module__} names an answer and has no questions(seen).")

    def lesson(self, seen: Seen, answers: list[Any]) -> Any:
        """One student's action; an answer for every question, None where there was no usable one."""
        raise NotImplementedError(
            f"The teacher {type(self).__module__} names an answer and has no lesson(seen, answers)."
        )

    # --- the teacher's interface ---------------------------------------------------------------------------------

    def study(self, metadata: dict[str, Any]) -> None:
        """Keep names of skills and of what is seen."""
        self.metadata = metadata

    def reset(self, observation: Any) -> None:
        """Begin a conversation about every student."""
        spaces = self.observation_space, self.action_space
        self.views = [text_interface(*spaces, self.metadata, self.characters) for _ in _rows(observation)]
        self.said, self._earned, self._wrong = [[] for _ in self.views], [""] * len(self.views), {}

    def after_step(self, reward: Any, done: Any) -> None:
        """Keep what the last decisions earned, to be told."""
        self._earned = [f"Your last decision earned {one:+.3f}.\n" for one in reward]

    def act(self, observation: Any) -> list[Any]:
        """One action a student."""
        seen = _rows(observation)
        self._tokens = np.zeros(len(seen))
        actions = self.teach(seen)
        self.step += 1
        return actions

    def teach(self, seen: list[Seen]) -> list[Any]:
        """Every student's action: one round of questions, unless an agent needs more."""
        if self.answer is not None:
            answers = self.round([self.questions(one) for one in seen], self.answer)
            return [self.lesson(one, mine) for one, mine in zip(seen, answers, strict=True)]
        told = [view.tell(one) for view, one in zip(self.views, seen, strict=True)]
        for i, (said, view, text) in enumerate(zip(self.said, self.views, told, strict=True)):
            if not said:
                said.append({"role": "system", "content": f"{self.system}\n{view.instructions}"})
            wrong = f"Your last decision was not taken: {self._wrong[i]}\n" if self._wrong.get(i) else ""
            said.append({"role": "user", "content": wrong + self._earned[i] + text})
        kinds = [Annotated[dict[str, Any], AfterValidator(view.read)] for view in self.views]
        longest = max(self.views, key=lambda view: len(view.errors) if isinstance(view, Items) else 0)
        actions, tokens = self.ask(list(range(len(seen))), self.said, kinds, longest.schema)
        self._tokens += tokens
        return [self._decided(i, action) for i, action in enumerate(actions)]

    def _decided(self, student: int, action: Any) -> Any:
        """The action as it is taken, of which the conversation keeps the decision."""
        view = self.views[student]
        self.said[student].append(
            {"role": "assistant", "content": json.dumps({} if action is None else view.write(action))}
        )
        if action is None:
            return view.neutral
        if isinstance(view, Items) and "items" in view.seen:
            return filled(json.loads(action), view.seen["items"])
        return action

    def round(self, questions: list[list[str]], answer: Any) -> list[list[Any]]:
        """All students' questions at once, and what was answered to each student's; None where it was not usable.

        Args:
            questions: of every student.
            answer: type of a usable answer.
        """
        whose = [student for student, mine in enumerate(questions) for _ in mine]
        given, tokens = self.ask(whose, [text for mine in questions for text in mine], answer)
        np.add.at(self._tokens, np.array(whose, dtype=int), tokens)
        answers: list[list[Any]] = [[] for _ in questions]
        for student, one in zip(whose, given, strict=True):
            answers[student].append(one)
        return answers

    def ask(
        self, students: list[int], questions: list[str] | list[Conversation], answer: Any, schema: Any = None
    ) -> tuple[list[Any], list[int]]:
        """The answers, None where there was no usable one, and how many tokens each took.

        Args:
            students: whom each question is about.
            questions: what to ask; or conversations, the question last.
            answer: type of a usable answer, or one a question.
            schema: JSON schema that the model is held to; that of the type, if left out.
        """
        kinds = answer if isinstance(answer, list) else [answer] * len(questions)
        readers, before = [TypeAdapter(kind) for kind in kinds], self.defaults
        conversations = [self._conversation(one) if isinstance(one, str) else one for one in questions]
        schema = schema or (readers[0].json_schema() if readers else None)
        given = self.chat.answer(conversations, schema, self.max_tokens) if questions else []
        answers = [self._read(*one) for one in zip(students, conversations, given, readers, strict=True)]
        if self.defaults > before:
            warnings.warn(
                f"{self.model} gave no usable answer to {self.defaults} of {self.asked} questions so far; there the teacher "
                "did what it does by default.",
                RuntimeWarning,
                stacklevel=3,
            )
        return answers, [answer.prompt_tokens + answer.completion_tokens for answer in given]

    def spent(self) -> dict[str, Any]:
        """Tokens of the last decision as the model counted them, prompts included, [S]; lost attempts are not known."""
        return {"tokens": self._tokens}

    def remarks(self) -> dict[str, int]:
        """How many questions there were, to how many there was no usable answer, and how many of those the model never got."""
        return {"questions": self.asked, "without a usable answer": self.defaults, "failed": self.failed}

    # -------------------------------------------------------------------------------------------------------------

    def _conversation(self, text: str) -> Conversation:
        return [{"role": "system", "content": self.system}, {"role": "user", "content": text}]

    def _read(self, student: int, conversation: Conversation, answer: Answer, reader: TypeAdapter[Any]) -> Any:
        error, value = answer.error, None
        if not error:
            try:
                value = reader.validate_json(answer.text)
            except ValidationError as problem:
                found = problem.errors()[0]
                error = f"unusable answer: {'.'.join(map(str, found['loc']))} {found['msg']}"
        self._wrong[student] = error
        self.asked += 1
        self.defaults += bool(error)
        self.failed += answer.failed
        if self.transcript is not None:
            head = {"step": self.step, "student": student, "model": self.model, "prompt": conversation}
            self.transcript.write({**head, **vars(answer), "error": error, "default": bool(error)})
        return value


def _rows(observation: Any) -> list[Seen]:
    """A population's observation, student by student."""
    if isinstance(observation, dict):
        students = len(next(iter(observation.values())))
        return [{key: value[i] for key, value in observation.items()} for i in range(students)]
    return [json.loads(text) for text in observation]
