"""Every error back five times with its right answer, and items like the errors for the rest of the money. What the teacher
writes itself is right, whatever engines make of the rest; it does not ask which engine is to be trusted. Compare vet_engines.
"""

import json

from kdgym.agents.open_ended.copy_errors import COPIES
from kdgym.teaching import Teacher


class Agent(Teacher):
    def act(self, observation):
        return [json.dumps(self._write(json.loads(text))) for text in observation]

    def _write(self, seen):
        errors, money = seen["errors"], seen["items"]
        if not errors:
            return [{"draw": money}] if money else []
        copies = [{"problem": error["problem"], "answer": error["right"]} for error in errors] * COPIES
        rest = max(0, money - len(copies))
        share = [rest // len(errors) + (i < rest % len(errors)) for i in range(len(errors))]
        return copies[:money] + [{"draw": n, "like": e["problem"]} for n, e in zip(share, errors, strict=True) if n]
