"""Upper bound: takes the decision with the highest mean reward for this student at this task.

It tries every lane and starting note several times on copies of the student, at no cost, with random streams other than those
of the real attempt. It looks one task ahead and does not see the later value of a note, so it writes down all advice.
"""

from typing import Any

import numpy as np

from kdgym.teaching import Floats, Teacher

SAMPLES = 8


class Agent(Teacher):
    upper_bound = True

    def attach(self, envs: Any) -> None:
        """See more than a teacher may."""
        self.envs = envs

    def act(self, observation: dict[str, Floats]) -> Floats:
        students = len(observation["time"])
        tried = [(lane, plan) for lane in self.action_space.choices["lane"] for plan in ("own", "similar")]
        options = [self.action_space.encode(students, lane=lane, plan=plan) for lane, plan in tried]
        best = self.envs.expected_reward(np.stack(options, axis=1), SAMPLES).argmax(1)
        lane, plan = np.array(tried)[best].T
        operation = np.where(lane == "auto", "keep", "write")
        return np.asarray(self.action_space.encode(students, lane=lane, plan=plan, operation=operation))
