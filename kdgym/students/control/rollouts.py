"""How populations of actor-critics act in a control task: practice from chosen starts, and examinations from ordinary ones."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

from kdgym import random
from kdgym.students.control.actor_critic import ActorCritics, Batch
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


class Moment(NamedTuple):
    """Steps of practice: all [S, B], but ``seen`` [S, B, inputs], ``log_p`` [S, B, actions] and ``after`` [S, B, n]."""

    seen: Tensor
    action: Tensor
    log_p: Tensor
    after: Tensor
    reward: Tensor
    terminated: Tensor
    over: Tensor
    origin: Tensor
    total: Tensor


@dataclass(frozen=True)
class Tally:
    """What happened by origin, float64 [S, C + 1] each; sums, so that tallies add up.

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
    def nothing(cls, like: Tensor) -> Tally:
        """Zeros in the shape of ``like``."""
        return cls(*(torch.zeros_like(like) for _ in fields(cls)))

    def only(self, students: Tensor) -> Tally:
        """What happened to some of the students, bool [S]."""
        return Tally(*(getattr(self, field.name) * students.unsqueeze(1) for field in fields(self)))

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


def new_episodes(control: Control, store: Trajectories, rule: StartRule, key: Tensor, number: int) -> Episodes:
    """Starts drawn by a rule: key int64 [S] -> ``number`` episodes a student."""
    clusters = rule.share.shape[1] - 1
    chance = random.uniform(key, number * (2 + control.state_size)).unflatten(1, (number, -1))
    reached = rule.share.cumsum(1)
    origin = (chance[:, :, 0].unsqueeze(2) * reached[:, -1].view(-1, 1, 1) >= reached.unsqueeze(1)).sum(2)
    origin = origin.clamp_max(clusters)
    guided = origin < clusters
    row = store.members(origin.clamp_max(clusters - 1), chance[:, :, 1])
    state = torch.where(guided.unsqueeze(2), store.state[row], control.start(chance[:, :, 2:]))
    limit = torch.where(guided, rule.horizon.clamp_max(control.limit).unsqueeze(1), control.limit)
    return Episodes(state, origin, limit, torch.zeros_like(origin), torch.zeros_like(chance[:, :, 0]))


def practise(
    students: ActorCritics,
    control: Control,
    store: Trajectories,
    weights: Tensor,
    rule: StartRule,
    episodes: Episodes,
    key: Tensor,
    steps: int,
) -> tuple[Batch, Episodes, Tally]:
    """Let students act for ``steps`` steps in each of their episodes; what is over begins anew by the rule.

    Returns:
        What there is to learn, where the episodes stand, and what happened. Truncated episodes bootstrap.
    """
    number = episodes.origin.shape[1]
    chance = random.uniform(random.fold(key, 0), steps * number).unflatten(1, (steps, number)).float()
    ahead = new_episodes(control, store, rule, random.fold(key, 1), steps * number)
    moments = []
    for step in range(steps):
        seen = control.observe(episodes.state)
        log_p = students.logits(weights, seen).log_softmax(2)
        action = (log_p.exp().cumsum(2) <= chance[:, step].unsqueeze(2)).sum(2).clamp_max(control.actions - 1)
        state, reward, terminated = control.step(episodes.state, action)
        paid = control.payment(reward, terminated)
        total = episodes.total + control.discount**episodes.elapsed * paid
        over = terminated | (episodes.elapsed + 1 >= episodes.limit)
        moments.append(Moment(seen, action, log_p, state, paid, terminated, over, episodes.origin, total))
        fresh = Episodes(*(column[:, step * number : (step + 1) * number] for column in ahead))
        gone = Episodes(state, episodes.origin, episodes.limit, episodes.elapsed + 1, total)
        episodes = gone.replaced(over, fresh)
    path = Moment(*(torch.stack(column, dim=1).flatten(1, 2) for column in zip(*moments, strict=True)))
    value = students.values(weights, path.seen)
    following = students.values(weights, control.observe(path.after)) * ~path.terminated
    surprise = path.reward.float() + control.discount * following - value
    advantage = _traced(surprise, path.over, control.discount * students.config.trace, number)
    taken = path.log_p.gather(2, path.action.unsqueeze(2)).squeeze(2)
    batch = Batch(path.seen, path.action, taken, advantage, advantage + value)
    good = control.succeeded(path.after, path.terminated) & path.over
    columns = (torch.ones_like(path.total), path.over, path.over * path.total, good, advantage.abs())
    tally = Tally(*(_by_origin(path.origin, column.double(), rule.share.shape[1]) for column in columns))
    return batch, episodes, tally


def _traced(surprise: Tensor, over: Tensor, decay: float, number: int) -> Tensor:
    """Generalised advantage estimates (Schulman et al., 2016) of steps in the order of time: [S, T * N] -> [S, T * N]."""
    parts, cut = surprise.split(number, dim=1), (~over).float().split(number, dim=1)
    found = [parts[-1]]
    for step in range(len(parts) - 2, -1, -1):
        found.append(parts[step] + decay * cut[step] * found[-1])
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
        over = alive & (terminated | (step + 1 == control.limit))
        succeeded |= over & control.succeeded(state, terminated)
        alive &= ~over
        if not alive.any():
            break
    return total, succeeded, steps
