"""Plain SnapshotRL: all snapshots are equally likely, without truncation; the guided phase is as long as S3RL's."""

from kdgym.agents.snapshot import s3rl


class Agent(s3rl.Agent):
    classify = truncate = False
