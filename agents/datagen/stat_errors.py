"""STAT's control without a skill profile: a failed problem asks for more of its own skill, whatever that builds on."""

from kdgym.agents.datagen import stat


class Agent(stat.Agent):
    def profile(self, failed, failures):
        return failed
