"""HSSDA with the upper threshold alone: what is between both thresholds is not learned."""

from kdgym.agents.label import hssda


class Agent(hssda.Agent):
    middle = 0.0
