"""History of a stream of tasks, by kind of task and by lane, and the observations of it."""

from __future__ import annotations

import torch
from torch import Tensor

from kdgym.core.fields import Layout
from kdgym.envs.orchestrate.frozen_students import State
from kdgym.envs.orchestrate.supervision import LANES

HISTORY, LAST, BY_LANE = 5, 2 + len(LANES), 2 * len(LANES)  # widths of the observations
_HIGH, _LOW = 0.8, 0.4  # judged scores that make a streak, as in ATLAS's runtime
_TENTHS = 10.0  # observed counts of tasks are in tenths


def layout(keys: int, tasks: int) -> Layout:
    """State fields of the history of so many kinds of tasks."""
    f32, f64, i64 = torch.float32, torch.float64, torch.int64
    return {
        "by_key": ((5, keys), f64),  # tasks, judged scores, streak of high and of low ones, tasks supervised
        "by_lane": ((3, len(LANES)), f64),  # tasks, judged scores, money
        "last": ((LAST,), f32),
        "right": ((keys,), i64),
        "asked": ((keys,), i64),
        "spent": ((), f64),
        "judged_history": ((tasks + 1, keys), f32),
        "spending_history": ((tasks, keys), f32),
    }


def begin(state: State, rows: Tensor) -> None:
    """Clear the history of the students ``rows``."""
    for name in layout(0, 0):
        state[name][rows] = 0


def record(state: State, lane: Tensor, judged: Tensor, success: Tensor, money: Tensor, worth: float) -> None:
    """Enter one task of every student: its lane int64 [S], judged score and money float64 [S], success bool [S]."""
    key, step = state["key"], state["step"]
    me = torch.arange(len(key), device=key.device)
    state["right"][me, key] += success.long()
    state["asked"][me, key] += 1
    by_key = state["by_key"]
    by_key[me, 0, key] += 1
    by_key[me, 1, key] += judged
    for place, kept in ((2, judged >= _HIGH), (3, judged <= _LOW)):
        by_key[me, place, key] = (by_key[me, place, key] + 1) * kept
    by_key[me, 4, key] += (lane != 0).double()
    for place, amount in enumerate((torch.ones_like(money), judged, money)):
        state["by_lane"][me, place, lane] += amount
    shares = torch.stack([judged, (money / worth).clamp_max(1)], dim=1)
    state["last"][:] = torch.cat([shares, torch.nn.functional.one_hot(lane, len(LANES))], dim=1).float()
    state["spent"][:] += money
    state["judged_history"][me, step + 1] = (by_key[:, 1] / by_key[:, 0].clamp_min(1)).float()
    state["spending_history"][me, step, key] = money.float()


def observe(state: State, worth: float) -> dict[str, Tensor]:
    """Observations: ``history`` of the key at hand, ``lanes``, and ``last``; all within [0, 1], float32 [S, n]."""
    key = state["key"]
    tried, judged, high, low, supervised = state["by_key"][torch.arange(len(key), device=key.device), :, key].unbind(1)
    tenths = [x.div(_TENTHS).clamp_max(1) for x in (tried, high, low)]
    mean, helped = (total / tried.clamp_min(1) for total in (judged, supervised))
    lanes = state["by_lane"]
    per_task = lanes[:, 1:] / lanes[:, :1].clamp_min(1) / torch.tensor([[1.0], [worth]], device=key.device)
    return {
        "history": torch.stack([tenths[0], mean, *tenths[1:], helped], dim=1).float(),
        "lanes": per_task.flatten(1).clamp_max(1).float(),
        "last": state["last"],
    }
