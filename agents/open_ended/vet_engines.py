"""Orders items like the student's errors, of each kind from the engine that is most likely sound. What an engine says to an
error stands beside the right answer, as gold questions tell whom to trust among annotators (Snow, O'Connor, Jurafsky and Ng,
"Cheap and fast, but is it good?", EMNLP 2008, section 5). Compare open_ended, which takes items from any engine.
"""

import json
import re
from collections import Counter, defaultdict
from math import log
from typing import Any

from kdgym.teaching import Teacher

OPENING = 30  # characters by which a problem's kind is recognised, numbers and single letters left out
RIGHT = log(1 / 0.5)  # evidence for an engine that is right, if unsound ones are right half of the time
WRONG = log(0.02 / 0.5)  # problems of two kinds may read alike, so that a sound engine seems to be wrong at times


class Agent(Teacher):
    def reset(self, observation):
        # Of every student, by kind: log-odds of every engine.
        self.evidence: list[Any] = [defaultdict(Counter) for _ in observation]

    def act(self, observation):
        seen = [json.loads(text) for text in observation]
        return [json.dumps(self._write(*one)) for one in zip(seen, self.evidence, strict=True)]

    def _write(self, seen, evidence):
        errors, money = seen["errors"], seen["items"]
        for error in errors:
            if "engine" in error:
                says = RIGHT if error["engine_answer"] == error["right"] else WRONG
                evidence[kind(error["problem"])][error["engine"]] += says
        if not errors:
            return [{"draw": money}] if money else []
        lesson = []
        for i, error in enumerate(errors):
            n, trusted = money // len(errors) + (i < money % len(errors)), {}
            if "engines" in seen:  # elsewhere there is one alone, and it makes no mistakes
                trusted["engine"] = self._trusted(seen["engines"], evidence[kind(error["problem"])])
            lesson += [{"draw": n, "like": error["problem"], **trusted}] if n else []
        return lesson

    def _trusted(self, engines, odds):
        best = max(odds[name] for name in engines)
        return str(self.rng.choice([name for name in engines if odds[name] == best]))


def kind(problem):
    """What a problem asks, in a sentence or beside a picture: its opening without numbers and names of cells."""
    text = problem if isinstance(problem, str) else problem["question"]
    return re.sub(r"\b(\d+|[A-Z])\b", "#", text)[:OPENING]
