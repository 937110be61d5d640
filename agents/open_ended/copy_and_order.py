"""Every error back five times with its right answer, and items like the errors for the rest of the money. What the teacher
writes itself is right, whatever engines make of the rest; it does not ask which engine is to be trusted. Compare vet_engines.
"""

import json

from kdgym.agents.open_ended.arte import variants
from kdgym.agents.open_ended.copy_errors import COPIES
from kdgym.teaching import Teacher


class Agent(Teacher):
    def act(self, observation):
        return [json.dumps(self._write(json.loads(text))) for text in observation]

    def _write(self, seen):
        errors, money = seen["errors"], seen["items"]
        copies = [{"problem": error["problem"], "answer": error["right"]} for error in errors] * COPIES
        return copies[:money] + variants(errors, max(0, money - len(copies)))
