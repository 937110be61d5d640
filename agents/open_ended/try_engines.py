"""Tries every engine for a step, on items like the student's errors, and goes on with the one after which the score rose most.
It judges engines by what comes of their items, as arte judges drafts, and does not read what they say. Compare vet_engines.
"""

import json

import numpy as np

from kdgym.agents.open_ended.arte import variants
from kdgym.teaching import Teacher


class Agent(Teacher):
    def reset(self, observation):
        self.step, first = 0, json.loads(observation[0])
        self.choices = [{}, *({"engine": name} for name in first.get("engines", []))]  # any of them, or always one
        self.change = np.zeros((len(observation), len(self.choices)))

    def act(self, observation):
        seen, tries = [json.loads(text) for text in observation], len(self.choices)
        if 0 < self.step <= tries:
            self.change[:, self.step - 1] = [one["change"] for one in seen]
        chosen = np.full(len(seen), self.step) if self.step < tries else self.change.argmax(1)
        self.step += 1
        return [json.dumps(self._order(one, self.choices[i])) for one, i in zip(seen, chosen, strict=True)]

    def _order(self, seen, choice):
        return [{**item, **choice} for item in variants(seen["errors"], seen["items"])]
