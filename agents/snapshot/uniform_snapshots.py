"""Plain SnapshotRL: all snapshots are equally likely, and nothing is cut; as long as S3RL's guided phase."""

from kdgym.agents.snapshot import s3rl


class Agent(s3rl.Agent):
    classify = truncate = False
