"""ATLAS's rule for the supervision lane, and its use of the memory ("Continual Learning, Not Training", Arc Computer, 2025).

Without history for a task's key: paired. Otherwise a probe states its confidence: from 0.85 up auto, from 0.65 paired, from
0.35 coach, below that paired again, the fallback. Its probe is a language model that reads task and history; here the
confidence is the mean judged score of the key's history. Notes are written after every task and pruned now and then.
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
