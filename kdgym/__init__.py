"""kdgym: a gym for teacher agents. The environment is a student that learns, the agent is its teacher.

>>> import gymnasium as gym
>>> import kdgym
>>> env = gym.make("kdgym/DataGen-Math-v0")
>>> env.action_space.shape
(42,)
"""

from kdgym.registration import register_all

__version__ = "0.1.0"

register_all()
