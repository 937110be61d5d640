"""A language model as orchestrator: asked before every task, it names the lane, the note to start from and what to remember.

It reads the observation in words. Its own tokens are the teacher's in the ledger, in addition to the money of the lanes.
Without a usable answer the lane is auto, without a note.
"""

from typing import Any, Literal

from pydantic import BaseModel

from kdgym.teaching.language_model import LanguageTeacher


class Decision(BaseModel):
    lane: Literal["auto", "paired", "coach", "stepwise"]
    plan: Literal["own", "exact", "similar"]
    memory: Literal["keep", "write", "prune"]


class Agent(LanguageTeacher):
    answer = Decision
    system = "You decide how closely a student's work is supervised. Answer in JSON."

    def questions(self, seen: Any) -> list[str]:
        tried, judged, _, _, helped = seen["history"]
        filled, exact, _, similarity, _ = seen["memory"]
        lanes = ", ".join(
            f"{lane} {seen['lanes'][i]:.2f} for {seen['lanes'][4 + i]:.2f}"
            for i, lane in enumerate(self.action_space.choices["lane"])
        )
        history = (
            f"{10 * tried:.0f} such tasks so far, judged {judged:.2f} on average, {helped:.0%} of them supervised"
            if tried
            else "no such task so far"
        )
        notes = (
            "a note on this very kind" if exact else "a note on a similar kind" if similarity > 0.5 else "no note on it"
        )
        return [
            f"The next task: {history}; the student's doubt is {seen['uncertainty'][0]:.2f}; there is {notes}, and the memory "
            f"is {filled:.0%} full. Mean score and price of the lanes so far, in units of what a success is worth: {lanes}. "
            f"{seen['budget'][0]:.0%} of the money and {seen['time'][0]:.0%} of the tasks are left.\n\n"
            '"lane": "auto" leaves the student alone and is cheapest, "paired" checks its answer and allows one retry, "coach" '
            'also reads its plan, "stepwise" checks every step and is dearest. "plan": start from its "own" idea, or from an '
            '"exact" or "similar" note. "memory": "keep", "write" what helped, or "prune". What is best?'
        ]

    def lesson(self, seen: Any, answers: list[Any]) -> Any:
        (decision,) = answers
        if decision is None:
            return self.action_space.encode(1, lane="auto", plan="own", operation="keep")[0]
        return self.action_space.encode(1, lane=decision.lane, plan=decision.plan, operation=decision.memory)[0]
