"""DataEnvGym's language-model policy of the Skill-Tree (Khan, Stengel-Eskin, Cho and Bansal, ICLR 2025): asked skill by skill,
the model explores, or says how much practice the open subskills get.

DataEnvGym's model sets every subskill's items; here it gives one share of the lesson to all open ones of a skill, as a small
model has enough to do with that. Where no usable answer comes, a skill explores if nothing of it is open, and
else goes on as it is.
"""

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from kdgym.teaching.language_model import LanguageTeacher

MOST = 5  # percent of a lesson for one subskill; DataEnvGym allows 30 items a subskill


class Decision(BaseModel):
    action: Literal["explore", "exploit"]
    percent: Annotated[int, Field(ge=0, le=MOST)]


class Agent(LanguageTeacher):
    answer = Decision
    system = "You decide how a student's training data grow. Answer in JSON."

    def questions(self, seen: Any) -> list[str]:
        opened, allocation = self._by_skill(seen["open"]), self._by_skill(seen["allocation"])
        return [
            f"A skill that counts {seen['target'][k]:.2f} of all: accuracy {seen['accuracy'][k]:.2f}, last change "
            f"{seen['change'][k]:+.2f}. {opened[k].sum():.0f} of its {opened.shape[1]} subskills are open, with "
            f"{100 * allocation[k].sum():.0f} percent of a lesson. {100 * seen['budget'][0]:.0f} percent of the money is left."
            f'\n\n"explore" opens further subskills; "exploit" gives each open one "percent" of the lesson, 0 to {MOST}. A '
            "skill that does not count needs nothing. What is best?"
            for k in range(len(opened))
        ]

    def lesson(self, seen: Any, answers: list[Any]) -> Any:
        opened, wanted = self._by_skill(seen["open"]), self._by_skill(seen["allocation"]).copy()
        explore = np.zeros(len(opened), dtype=bool)
        for k, decision in enumerate(answers):
            explore[k] = not opened[k].any() if decision is None else decision.action == "explore"
            if decision is not None:
                wanted[k] = decision.percent / 100
        return self.action_space.encode(explore[None], wanted.reshape(1, -1), seen["allocation"][None])[0]

    def _by_skill(self, values: Any) -> Any:
        return values.reshape(self.action_space.skills, -1)
