"""One attempt of every group is criticised and tried again, as in Critique-GRPO (Zhang et al., "Advancing LLM reasoning with
natural language and numerical feedback", 2025): seven attempts and one refinement. Looks at nothing.

The critique, the first kind of feedback there is, points at a mistake without correcting it, and is not learned from. The
student learns from what it writes next, in the place where it reads the critique and with the clipped ratio; in the paper as
an answer to the bare problem, and with pi / (pi + 0.1), which here is for a teacher's tokens alone.
"""

import numpy as np


class Agent:
    def __init__(self, observation_space, action_space, seed=0):
        self.action_space = action_space

    def act(self, observation):
        rule = {"which": "wrong", "kind": 0, "length": 1, "shaping": "mask"}
        return np.asarray(self.action_space.encode(len(observation["time"]), fraction=0.125, **rule))
