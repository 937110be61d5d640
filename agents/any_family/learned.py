"""A recurrent network that learned to teach by imitating an upper bound on training students; it sees what any teacher sees.

One small network decides about every item (source, scorer, teacher, cluster) by all that was seen of it. Train it first:
``kdgym train ID --agent learned --out DIR``. The zip is one of sb3-contrib's RecurrentPPO, so PPO goes on from it.
"""

from kdgym.teaching.imitation import imitate
from kdgym.teaching.sb3 import SB3Teacher


class Agent(SB3Teacher):
    """The trained teacher; ``learned:runs/learned/model.zip`` on the command line."""

    train = staticmethod(imitate)
