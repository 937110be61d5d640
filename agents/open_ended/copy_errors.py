"""Every error back with its right answer, and real items for the rest of the money.

LLM2LLM's rule (Lee, Wattanawong, Kim et al., Findings of ACL 2024, section 3) without its variants: what the student got wrong
is what it gets. Compare llm2llm.
"""

import json

from kdgym.teaching import Teacher

COPIES = 5  # of every error; more of the same few items teach those items alone


class Agent(Teacher):
    def act(self, observation):
        return [self._write(json.loads(text)) for text in observation]

    def _write(self, seen):
        items = [{"problem": error["problem"], "answer": error["right"]} for error in seen["errors"]]
        items = (items * COPIES)[: seen["items"]]
        rest = seen["items"] - len(items)
        return json.dumps(items + ([{"draw": rest}] if rest else []))
