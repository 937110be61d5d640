"""Teachers of this package."""

from kdgym.teaching import Floats, Teacher


class OnTarget(Teacher):
    """Practise what counts, in proportion."""

    groups = ("DataGen Skill-List",)

    def act(self, observation: dict[str, Floats]) -> Floats:
        target = observation["target"]
        encoded: Floats = self.action_space.encode(target.repeat(self.action_space.shape[0] // target.shape[1], axis=1))
        return encoded
