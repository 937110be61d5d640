"""How populations of actor-critics act in a control task: practice from chosen starts, and examinations from ordinary ones."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from kdgym import random
from kdgym.students.control.actor_critic import ActorCritics, RolloutBatch
from kdgym.tasks.control import Control
from kdgym.tasks.snapshots import Trajectories


@dataclass(frozen=True)
class StartRule:
    """Where the episodes of S students start. Cluster C stands for an ordinary start.

    Attributes:
        share: of the starts, by cluster and ordinary, float64 [S, C + 1]; sums to 1.
        horizon: steps after which an episode from a snapshot is truncated, int64 [S].
    """

    share: Tensor
    horizon: Tensor


class Episodes(NamedTuple):
    """N episodes a student that are under way: every field [S, N], ``state`` [S, N, n].

    Attributes:
        state: of the simulator.
        origin: cluster the episode started from, or C.
        limit: steps after which it is truncated.
        elapsed: steps so far.
        total: discounted, scaled return so far.
    """

    state: Tensor
    origin: Tensor
    limit: Tensor
    elapsed: Tensor
    total: Tensor

    def replaced(self, which: Tensor, other: Episodes) -> Episodes:
        """The ``other`` where ``which`` [S, N], these elsewhere."""
        state = torch.where(which.unsqueeze(2), other.state, self.state)
        rest = (torch.where(which, new, old) for new, old in zip(other[1:], self[1:], strict=True))
        return Episodes(state, *rest)


class Transition(NamedTuple):
    """B environment steps of each of S students.

    Attributes:
        observation: before the step, float32 [S, B, inputs].
        action: int64 [S, B].
        log_p: log-probabilities of all actions, float32 [S, B, actions].
        next_state: the simulator's state after the step, float64 [S, B, n].
        reward: that the student learns from, float64 [S, B].
        terminated: bool [S, B]; ``done``: terminated or truncated, bool [S, B].
        origin: cluster the episode started from, or C, int64 [S, B].
        total: discounted, scaled return of the episode so far, float64 [S, B].
    """

    observation: Tensor
    action: Tensor
    log_p: Tensor
    next_state: Tensor
    reward: Tensor
    terminated: Tensor
    done: Tensor
    origin: Tensor
    total: Tensor


@dataclass(frozen=True)
class EpisodeStats:
    """Sums over episodes by the cluster they started from, float64 [S, C + 1] each; statistics add up.

    Attributes:
        steps: of practice.
        ended: episodes that ended.
        total: their discounted, scaled returns.
        succeeded: those that were successes.
        error: absolute advantages, summed over steps.
    """

    steps: Tensor
    ended: Tensor
    total: Tensor
    succeeded: Tensor
    error: Tensor

    @classmethod
    def nothing(cls, like: Tensor) -> EpisodeStats:
        """Zeros in the shape of ``like``."""
        return cls(*(torch.zeros_like(like) for _ in fields(cls)))

    def only(self, students: Tensor) -> EpisodeStats:
        """The statistics of some of the students, bool [S]; 0 elsewhere."""
        return EpisodeStats(*(getattr(self, field.name) * students.unsqueeze(1) for field in fields(self)))

    def __add__(self, other: EpisodeStats) -> EpisodeStats:
        return EpisodeStats(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


def new_episodes(control: Control, store: Trajectories, rule: StartRule, key: Tensor, number: int) -> Episodes:
    """Episodes that start as the rule says: key int64 [S] -> ``number`` episodes a student."""
    clusters = rule.share.shape[1] - 1
    noise = random.uniform(key, number * (2 + control.state_size)).unflatten(1, (number, -1))
    reached = rule.share.cumsum(1)
    origin = (noise[:, :, 0].unsqueeze(2) * reached[:, -1].view(-1, 1, 1) >= reached.unsqueeze(1)).sum(2)
    origin = origin.clamp_max(clusters)
    guided = origin < clusters
    row = store.members(origin.clamp_max(clusters - 1), noise[:, :, 1])
    state = torch.where(guided.unsqueeze(2), store.state[row], control.start(noise[:, :, 2:]))
    limit = torch.where(guided, rule.horizon.clamp_max(control.limit).unsqueeze(1), control.limit)
    return Episodes(state, origin, limit, torch.zeros_like(origin), torch.zeros_like(noise[:, :, 0]))


def practise(
    students: ActorCritics,
    control: Control,
    store: Trajectories,
    weights: Tensor,
    rule: StartRule,
    episodes: Episodes,
    key: Tensor,
    steps: int,
) -> tuple[RolloutBatch, Episodes, EpisodeStats]:
    """Let students act for ``steps`` steps in each of their episodes. The rule starts a new one after each that is done.

    Returns:
        The batch to learn from, the episodes under way afterwards, and statistics of the episodes. Truncated ones bootstrap.
    """
    number = episodes.origin.shape[1]
    noise = random.uniform(random.fold(key, 0), steps * number).unflatten(1, (steps, number)).float()
    ahead = new_episodes(control, store, rule, random.fold(key, 1), steps * number)
    transitions = []
    for step in range(steps):
        observation = control.observe(episodes.state)
        log_p = students.logits(weights, observation).log_softmax(2)
        action = (log_p.exp().cumsum(2) <= noise[:, step].unsqueeze(2)).sum(2).clamp_max(control.actions - 1)
        state, reward, terminated = control.step(episodes.state, action)
        reward = control.training_reward(reward, terminated)
        total = episodes.total + control.discount**episodes.elapsed * reward
        done = terminated | (episodes.elapsed + 1 >= episodes.limit)
        step_taken = observation, action, log_p, state, reward, terminated, done, episodes.origin, total
        transitions.append(step_taken)
        fresh = Episodes(*(column[:, step * number : (step + 1) * number] for column in ahead))
        after = Episodes(state, episodes.origin, episodes.limit, episodes.elapsed + 1, total)
        episodes = after.replaced(done, fresh)
    trajectory = Transition(*(torch.stack(column, dim=1).flatten(1, 2) for column in zip(*transitions, strict=True)))
    value = students.values(weights, trajectory.observation)
    next_value = students.values(weights, control.observe(trajectory.next_state)) * ~trajectory.terminated
    td_error = trajectory.reward.float() + control.discount * next_value - value
    advantage = _gae(td_error, trajectory.done, control.discount * students.config.gae_lambda, number)
    taken = trajectory.log_p.gather(2, trajectory.action.unsqueeze(2)).squeeze(2)
    batch = RolloutBatch(trajectory.observation, trajectory.action, taken, advantage, advantage + value)
    done, total = trajectory.done, trajectory.total
    good = control.succeeded(trajectory.next_state, trajectory.terminated) & done
    columns = (torch.ones_like(total), done, done * total, good, advantage.abs())
    stats = EpisodeStats(*(_by_origin(trajectory.origin, column.double(), rule.share.shape[1]) for column in columns))
    return batch, episodes, stats


def _gae(td_error: Tensor, done: Tensor, decay: float, number: int) -> Tensor:
    """Generalised advantage estimates (Schulman et al., 2016) of T steps of N episodes, in the order of time.

    Args:
        td_error: float32 [S, T * N].
        done: bool [S, T * N].
        decay: discount times lambda.
        number: N.
    """
    parts, goes_on = td_error.split(number, dim=1), (~done).float().split(number, dim=1)
    found = [parts[-1]]
    for step in range(len(parts) - 2, -1, -1):
        found.append(parts[step] + decay * goes_on[step] * found[-1])
    return torch.cat(found[::-1], dim=1)


def _by_origin(origin: Tensor, amount: Tensor, origins: int) -> Tensor:
    return torch.zeros(len(origin), origins, dtype=torch.float64, device=origin.device).scatter_add_(1, origin, amount)


def examine(students: ActorCritics, control: Control, weights: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Let greedy students act from given states until the end: states [S, E, n].

    Returns:
        Undiscounted returns, float64 [S, E]; successes, bool [S, E]; steps taken, int64 [S].
    """
    alive = torch.ones(state.shape[:2], dtype=torch.bool, device=state.device)
    total = torch.zeros(alive.shape, dtype=torch.float64, device=state.device)
    succeeded, steps = torch.zeros_like(alive), torch.zeros(len(state), dtype=torch.int64, device=state.device)
    for step in range(control.limit):
        action = students.logits(weights, control.observe(state)).argmax(2)
        after, reward, terminated = control.step(state, action)
        total += reward * alive
        steps += alive.sum(1)
        state = torch.where(alive.unsqueeze(2), after, state)
        done = alive & (terminated | (step + 1 == control.limit))
        succeeded |= done & control.succeeded(state, terminated)
        alive &= ~done
        if not alive.any():
            break
    return total, succeeded, steps
