"""Upper bound: tries several moves on copies of the student, plays each lesson to its end, and makes the best move.

It knows which subskills have faulty engines, where there are any.

One step of rollout policy improvement on `tree_target` (Bertsekas, Tsitsiklis and Wu, Journal of Heuristics 3, 1997): a move
is judged by how the lesson ends if tree_target's move, candidate 0, follows ever after.
"""

import numpy as np

from kdgym.teaching import Floats
from kdgym.teaching.lookahead import Lookahead


class Agent(Lookahead):
    def candidate(self, observation: dict[str, Floats], number: int) -> Floats:
        """0: by target and what is missing; 1: by target; 2: by target and what is missing, squared; others: 0, varied."""
        students, skills = len(observation["open"]), self.action_space.skills
        sound = ~self.envs.hidden()["faulty"]
        sound = sound.repeat(students // len(sound), axis=0).reshape(students, skills, -1)  # of every copy
        opened = observation["open"].reshape(sound.shape) * sound
        closed = (sound & (observation["open"].reshape(sound.shape) == 0)).any(-1)
        target, missing = observation["target"], 1.05 - observation["accuracy"]
        per_skill = target * missing ** {1: 0, 2: 2}.get(number, 1)
        explore = closed & (target > 0)
        weight = (per_skill / np.maximum(opened.sum(-1), 1))[:, :, None] * opened
        if number >= 3:
            weight *= np.exp(self.rng.normal(0, 0.7, (students, skills, 1 if number % 2 else opened.shape[-1])))
        if number >= 5:  # a little of something else may help
            others = self.rng.dirichlet(np.full(skills, 0.2), students)
            weight += 0.15 * weight.sum((1, 2), keepdims=True) * (others[:, :, None] * opened)
            explore |= closed & (others > 0.3)
        total = weight.sum((1, 2), keepdims=True)
        wanted = (weight / np.maximum(total, 1e-9)).reshape(students, -1)
        return np.asarray(self.action_space.encode(explore, wanted, observation["allocation"]))
