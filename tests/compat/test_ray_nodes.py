"""A cluster of several nodes, on one machine: a node that is lost loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import ray
from ray.cluster_utils import Cluster

from kdgym.integrations.ray import RayPopulation

ID = "kdgym/DataGen-Math-v0"
SMALL: dict[str, Any] = {"steps": 4, "budget": 128.0, "validation_items": 8}


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head without cores, for the driver only."""
    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
def test_students_of_a_lost_node_go_on_elsewhere(cluster: Any) -> None:
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    envs, twin = RayPopulation(ID, 4, workers=2, **SMALL), gym.make_vec(ID, num_envs=4, **SMALL)
    envs.reset(seed=0)
    twin.reset(seed=0)
    before, rng = envs.pids(), np.random.default_rng(0)
    cluster.add_node(num_cpus=1)
    cluster.remove_node(nodes[1], allow_graceful=False)
    steps_after = 5
    for _ in range(1000):  # the worker outlives its node by a moment
        actions = rng.uniform(-1, 1, envs.action_space.shape).astype(np.float32)
        (observation, reward, *_), (expected, twin_reward, *_) = envs.step(actions), twin.step(actions)
        assert {key: value.tobytes() for key, value in observation.items()} == {
            key: value.tobytes() for key, value in expected.items()
        }
        assert np.array_equal(reward, twin_reward)
        steps_after -= envs.pids() != before
        if steps_after == 0:
            break
    assert sum(a != b for a, b in zip(before, envs.pids(), strict=True)) == 1
    envs.close()
