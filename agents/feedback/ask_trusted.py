"""A pupil asks about half of its attempts, and its tutor keeps the kind of answer after which attempts end right."""

from kdgym.agents.feedback import follow_success


class Agent(follow_success.Agent):
    rule = {**follow_success.Agent.rule, "ask": 0.5}
