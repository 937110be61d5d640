"""All data to the skill the student is worst at: the weak-skill rule of DataEnvGym's Skill-List teacher (section 1.2 of its
paper's agents), at its sharpest. Ignores the goal; among equals the first skill is taken."""

import numpy as np

from kdgym.teaching import Floats, Teacher


class Agent(Teacher):
    def act(self, observation: dict[str, Floats]) -> Floats:
        accuracy = observation["accuracy"]
        sources = observation["price"].shape[-1] // accuracy.shape[-1]
        weakest = np.arange(accuracy.shape[-1]) == accuracy.argmin(-1)[..., None]
        return np.asarray(self.action_space.encode(weakest.repeat(sources, axis=-1)))
