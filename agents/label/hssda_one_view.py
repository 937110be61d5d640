"""HSSDA with one view: a label is as sure as the memory is of the image as it is."""

from kdgym.agents.label import hssda


class Agent(hssda.Agent):
    views = 0.0
