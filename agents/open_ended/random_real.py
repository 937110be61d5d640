"""Real items at random, for all the money: the control that every writing teacher has to beat.

A published gain of 7.7 points turned out to be mostly what 120 real items give as well.
"""

import json

from kdgym.teaching import Teacher


class Agent(Teacher):
    def act(self, observation):
        items = [json.loads(text)["items"] for text in observation]
        return [json.dumps([{"draw": n}]) if n else "[]" for n in items]
