"""A language model as supervisor: it reads task and attempt, gives verdicts, and chooses advice.

Prompts hold what a person would see, and never the truth. Tokens are as the model counts them. An unusable answer counts as a
valid verdict, or as no advice. Steps (lane ``stepwise``) are still checked by the noisy supervisor.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import BaseModel, Field, create_model
from torch import Tensor

from kdgym.envs.orchestrate.frozen_students import NO_ADVICE
from kdgym.envs.orchestrate.settings import OrchestrateSettings
from kdgym.envs.orchestrate.supervision import Session, Supervisor
from kdgym.llm.chat import Answer, Chat, Conversation, parsed
from kdgym.llm.connect import reach

_SYSTEM = "You supervise a student's work. Answer in JSON."
_MAX_TOKENS = 32
_LONGEST = 1500  # characters of an attempt that are shown


class _Verdict(BaseModel):
    valid: bool


@dataclass(frozen=True)
class LanguageModelSupervisor(Supervisor):
    """A `Supervisor` whose verdicts and advice come from ``chat``; its accuracies are those of steps and judge alone."""

    chat: Chat

    def find_fault(self, session: Session, chosen: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """See `Supervisor.find_fault`."""
        ask = 'Is this right? Reply {"valid": true} or {"valid": false}.'
        told = [_shown(task, work, ask) for task, work in self._work(session, chosen)]
        answers = self.chat.answer(told, _Verdict.model_json_schema(), _MAX_TOKENS)
        verdicts = [parsed(answer, _Verdict) for answer in answers]
        found = torch.tensor([verdict is not None and not verdict.valid for verdict in verdicts], device=chosen.device)
        return found, _tokens(answers, chosen)

    def advise(self, session: Session, chosen: Tensor, key: Tensor, size: float) -> tuple[Tensor, Tensor]:
        """See `Supervisor.advise`; ``size`` changes nothing, as the model is billed for what it says."""
        rows, number = session.rows[chosen], session.number[chosen]
        fitting = session.world.plausible_advice(session.state, rows, number)
        told = []
        for (task, work), numbers in zip(self._work(session, chosen), fitting, strict=True):
            choices = "\n".join(f"{i}: {session.world.advices[advice]}" for i, advice in enumerate(numbers))
            told.append(_shown(task, work, f'What would help most?\n{choices}\nReply {{"advice": NUMBER}}.'))
        most = max(map(len, fitting))
        kind = create_model("Advice", advice=(int, Field(ge=0, lt=most)))
        answers = self.chat.answer(told, kind.model_json_schema(), _MAX_TOKENS)
        said = []
        for answer, numbers in zip(answers, fitting, strict=True):
            reply: Any = parsed(answer, kind)
            said.append(numbers[reply.advice] if reply is not None and reply.advice < len(numbers) else NO_ADVICE)
        return torch.tensor(said, device=chosen.device), _tokens(answers, chosen)

    @staticmethod
    def _work(session: Session, chosen: Tensor) -> list[tuple[str, str]]:
        """Tasks in words, and what the students did last."""
        tasks = session.world.text(session.state, session.rows[chosen], session.number[chosen])
        last = [_last_attempt(session.events[student]) for student in chosen.tolist()]
        return list(zip(tasks, last, strict=True))


def make_supervisor(config: OrchestrateSettings) -> Supervisor:
    """The supervisor that settings ask for.

    Raises:
        ValueError: there is no such language model.
    """
    numbers = (
        config.verdict_accuracy,
        config.advice_accuracy,
        config.step_accuracy,
        config.judge_accuracy,
        config.prices,
    )
    return (
        Supervisor(*numbers) if config.teacher == "noisy" else LanguageModelSupervisor(*numbers, reach(config.teacher))
    )


def _last_attempt(events: list[dict[str, Any]]) -> str:
    """The last plan, or all steps of the last attempt, without scores."""
    work: list[str] = []
    for event, before in zip(events, [None, *events], strict=False):
        if event["what"] in ("plan", "attempt"):
            if before is not None and before["what"] != event["what"]:
                work.clear()
            shown = {name: value for name, value in event.items() if name not in ("what", "score", "problem", "hint")}
            work.append(json.dumps(shown))
    return "\n".join(work)[-_LONGEST:]


def _shown(task: str, work: str, ask: str) -> Conversation:
    content = f"Task: {task}\n\nThe student's work:\n{work}\n\n{ask}"
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": content}]


def _tokens(answers: list[Answer], chosen: Tensor) -> Tensor:
    spent = [float(answer.prompt_tokens + answer.completion_tokens) for answer in answers]
    return torch.tensor(spent, dtype=torch.float64, device=chosen.device)
