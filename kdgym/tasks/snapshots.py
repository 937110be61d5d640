"""States on a demonstrator's trajectories through a control task, in bands of value: where practice may start.

After S3RL (Zhao et al., AutoRL workshop at ICML 2024): ten episodes of the demonstrator, a snapshot every few steps, k-means in
one dimension on the value. The demonstrator is the task's scripted expert. A snapshot's value is the discounted return of the
rest of its own trajectory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kdgym import random
from kdgym.storage import cache_directory, load_or_build
from kdgym.tasks.control import Control

_EPISODES, _EVERY = 10, 5  # demonstrations, and steps between two snapshots
_SEED = 0x5EED  # of the demonstrations, which are the same for all students
_VERSION = 0  # of what lies in the cache


@dataclass(frozen=True)
class Trajectories:
    """N snapshots of a task, in C clusters from low value to high.

    Attributes:
        state: simulator states, float64 [N, n].
        value: the demonstrator's discounted and scaled return from there, in [-1, 1], float64 [N].
        cluster: int64 [N], in ascending order.
        size: snapshots of every cluster, int64 [C].
        steps: environment steps that collecting them took.
    """

    state: Tensor
    value: Tensor
    cluster: Tensor
    size: Tensor
    steps: int

    def to(self, device: torch.device) -> Trajectories:
        """A copy on a device."""
        state, value, cluster, size = (x.to(device) for x in (self.state, self.value, self.cluster, self.size))
        return Trajectories(state, value, cluster, size, self.steps)

    def members(self, cluster: Tensor, noise: Tensor) -> Tensor:
        """A row of each cluster, all equally likely: int64 [...], uniform noise in [0, 1) [...] -> int64 [...]."""
        begin = (self.size.cumsum(0) - self.size)[cluster]
        return begin + (noise * self.size[cluster]).long()


def value_bands(values: npt.NDArray[np.float64], clusters: int) -> npt.NDArray[np.int64]:
    """Clusters of numbers [N] by k-means, numbered from low to high, int64 [N]; fewer, if there are fewer different numbers."""
    from sklearn.cluster import KMeans  # slow to import

    column = values[:, None]
    found = KMeans(min(clusters, len(np.unique(values))), n_init=10, random_state=0).fit(column)
    order = found.cluster_centers_[:, 0].argsort().argsort()
    return np.asarray(order[found.labels_], np.int64)


def demonstrator_trajectories(control: Control, clusters: int) -> Trajectories:
    """A task's snapshots, collected once and then read from the cache.

    Raises:
        ValueError: the values do not make so many clusters.
    """
    recipe = {"task": control.name, "task_version": control.version, "clusters": clusters, "version": _VERSION}
    path = (
        cache_directory() / "snapshots" / f"{control.name.lower()}-{clusters}-{control.version}.{_VERSION}.safetensors"
    )
    tensors = load_or_build(path, recipe, lambda: _collect(control, clusters), "snapshots")
    found = int(tensors["cluster"].max()) + 1
    if found < clusters:
        raise ValueError(
            f"The demonstrator's values on {control.name} make {found} clusters at most; clusters is {clusters}."
        )
    order = tensors["cluster"].argsort(stable=True)
    state, value, cluster = (tensors[name][order] for name in ("state", "value", "cluster"))
    return Trajectories(state, value, cluster, cluster.bincount(), int(tensors["steps"]))


def _collect(control: Control, clusters: int) -> dict[str, Tensor]:
    """The demonstrator's episodes side by side; with probability ``expert_epsilon`` an action is random."""
    key = random.fold(torch.tensor(_SEED), torch.arange(_EPISODES))
    state = control.start(random.uniform(random.fold(key, 0), control.state_size))
    states, rewards, running = [], [], [torch.ones(_EPISODES, dtype=torch.bool)]
    for step in range(control.limit):
        noise = random.uniform(random.fold(key, 1, step), 2).unbind(-1)
        explores = noise[0] < control.expert_epsilon
        action = torch.where(explores, (noise[1] * control.actions).long(), control.expert(state))
        states.append(state)
        state, reward, terminated = control.step(state, action)
        rewards.append(control.training_reward(reward, terminated))
        running.append(running[-1] & ~terminated)
    value, left = [], torch.zeros(_EPISODES, dtype=torch.float64)
    for reward, alive in zip(reversed(rewards), reversed(running[1:]), strict=True):
        left = reward + control.discount * left * alive
        value.append(left)
    taken = torch.stack(running[:-1])
    taken[torch.arange(control.limit) % _EVERY != 0] = False
    values = torch.stack(value[::-1])[taken]
    cluster = torch.from_numpy(value_bands(values.numpy(), clusters))
    steps = torch.stack(running[:-1]).sum()
    return {"state": torch.stack(states)[taken], "value": values, "cluster": cluster, "steps": steps}
