"""A right step where the student went wrong, with less weight as time goes by. It is the nearest there is to KDRL (2025), which
adds to GRPO's loss the student's divergence from a teacher at every token that the student wrote.

As in KDRL the teacher answers the student's own attempts, right ones are left alone, and its weight falls towards a fifth. The
divergence itself no action expresses: a teacher that knows one solution has no probabilities, and the logarithm of any other
token's would be infinite. Its tokens count by the group's advantage, so it corrects half of each group; KDRL, all mistakes.
"""

import numpy as np

from kdgym.teaching import Floats, Teacher

LAST = 0.2  # of the first weight; KDRL's goes from 5e-3 to 1e-3


class Agent(Teacher):
    def act(self, observation: dict[str, Floats]) -> Floats:
        left = observation["time"][:, 0]
        rule = {"which": "wrong", "kind": "next_step", "length": 0, "shaping": "plain"}
        weight = LAST + (1 - LAST) * left
        return np.asarray(self.action_space.encode(len(left), fraction=0.5, weight=weight, **rule))
