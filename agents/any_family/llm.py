"""A language model teaches, on every id: reads what is new in a few words, and answers by a JSON object of decisions.

It sees its earlier turns, and what they earned. Where no usable answer comes, the decision is neutral. On Open-Ended ids it
orders items like an error that it was shown, from an engine that it names, and writes items; more of its last order takes what
is left of the money.
"""

from kdgym.teaching.language_model import LanguageTeacher


class Agent(LanguageTeacher):
    """All of it is the base's; derive from that to change the prompt."""
