"""ATLAS's rule for the supervision lane, and its use of the memory ("Continual Learning, Not Training", Arc Computer, 2025).

Without history for a kind of task: paired. Otherwise by confidence: auto from 0.85 up, paired from 0.65, coach from 0.35, and
paired again below that, as the fallback. ATLAS's confidence comes from a language model that reads task and history. Here it is
the mean judged score of the kind of task. Notes are written after every task and pruned at every eighth.
"""

import numpy as np

from kdgym.teaching import Floats, Teacher

AUTO, PAIRED, COACH = 0.85, 0.65, 0.35
PRUNE_EVERY = 8  # tasks


class Agent(Teacher):
    def reset(self, observation: dict[str, Floats]) -> None:
        self.tasks = 0

    def act(self, observation: dict[str, Floats]) -> Floats:
        tried, confidence = observation["history"][:, 0], observation["history"][:, 1]
        unknown, sure = tried == 0, [confidence >= threshold for threshold in (AUTO, PAIRED, COACH)]
        lane = np.select([unknown, *sure], ["paired", "auto", "paired", "coach"], "paired")
        self.tasks += 1
        operation = "prune" if self.tasks % PRUNE_EVERY == 0 else "write"
        return np.asarray(self.action_space.encode(len(lane), lane=lane, plan="exact", operation=operation))
