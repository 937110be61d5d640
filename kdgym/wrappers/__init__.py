"""Wrappers for other people's environments."""

from kdgym.wrappers.collecting import collect_snapshots, sb3_policy
from kdgym.wrappers.population_reset import collect_population_snapshots
from kdgym.wrappers.samplers import UniformSampler, ValueClusters
from kdgym.wrappers.snapshot_reset import SnapshotReset, s3rl
from kdgym.wrappers.states import StateAdapter, UnknownStateError, find_adapter, register_adapter
from kdgym.wrappers.store import SnapshotMismatchError, SnapshotStore

__all__ = [
    "SnapshotMismatchError",
    "SnapshotReset",
    "SnapshotStore",
    "StateAdapter",
    "UniformSampler",
    "UnknownStateError",
    "ValueClusters",
    "collect_population_snapshots",
    "collect_snapshots",
    "find_adapter",
    "register_adapter",
    "s3rl",
    "sb3_policy",
]
