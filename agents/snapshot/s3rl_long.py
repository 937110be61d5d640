"""S3RL with a guided phase of two thirds of practice in place of a tenth, and episodes truncated at half the time limit."""

from kdgym.agents.snapshot import s3rl


class Agent(s3rl.Agent):
    share, cut = 2 / 3, 0.5
