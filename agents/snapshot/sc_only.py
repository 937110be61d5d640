"""S3RL without its truncation: status classification alone."""

from kdgym.agents.snapshot import s3rl


class Agent(s3rl.Agent):
    truncate = False
