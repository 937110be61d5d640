"""S3RL without its clusters: all snapshots are equally likely, and episodes from them are truncated."""

from kdgym.agents.snapshot import s3rl


class Agent(s3rl.Agent):
    classify = False
