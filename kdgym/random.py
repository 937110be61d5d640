"""Counter-based random numbers, one independent stream per student.

A number is a pure function of a key and a counter, so what student ``i`` draws depends on its own (seed, episode, step)
and never on its slot, on the population's size or on what was drawn before. The generator is SplitMix64 (Steele, Lea and
Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, figure 16) in torch ``int64`` arithmetic, which
wraps alike on every device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def _shift(z: Tensor, bits: int) -> Tensor:
    """Logical (unsigned) right shift of a signed integer."""
    return (z >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def _mix(z: Tensor) -> Tensor:
    z = z.bitwise_xor(_shift(z, 30)).mul_(_MIX_1)
    z.bitwise_xor_(_shift(z, 27)).mul_(_MIX_2)
    return z.bitwise_xor_(_shift(z, 31))


def fold(key: Tensor, *parts: Tensor | int) -> Tensor:
    """Derive a new key from ``key`` and integers; every argument broadcasts. Order matters."""
    for part in parts:
        key = _mix(key * _GOLDEN + part + 1)
    return key


def stream(state: Mapping[str, Tensor], purpose: int, step: Tensor | int = 0) -> Tensor:
    """Keys [S] of each student's random stream for a purpose at a step of its current episode.

    Args:
        state: with each student's ``seed`` and number of ``episode``, int64 [S].
        purpose: a constant of the module that draws.
        step: one, or one a student, int64 [S].
    """
    return fold(state["seed"], state["episode"], purpose, step)


def bits(key: Tensor, n: int) -> Tensor:
    """``n`` 64-bit integers per key, shape ``[*key.shape, n]``."""
    counter = torch.arange(1, n + 1, dtype=torch.int64, device=key.device)
    return _mix(key.unsqueeze(-1) + counter * _GOLDEN)


def uniform(key: Tensor, n: int) -> Tensor:
    """``n`` float64 numbers in [0, 1) per key (53 random bits each)."""
    return to_uniform(bits(key, n))


def normal(key: Tensor, n: int) -> Tensor:
    """``n`` float64 numbers of the standard normal distribution per key (Box and Muller, 1958)."""
    u = uniform(key, 2 * n)
    return torch.sqrt(-2 * torch.log1p(-u[..., :n])) * torch.cos(2 * math.pi * u[..., n:])


def integers(key: Tensor, n: int, high: Tensor | int) -> Tensor:
    """``n`` integers in [0, high) per key; ``high`` < 2**31 broadcasts against ``[*key.shape, n]``."""
    return to_integers(bits(key, n), high)


def to_uniform(bits: Tensor) -> Tensor:
    """Random 64-bit integers -> float64 numbers in [0, 1)."""
    return _shift(bits, 11).double().mul_(2.0**-53)


def to_integers(bits: Tensor, high: Tensor | int) -> Tensor:
    """Random 64-bit integers -> integers in [0, high); ``high`` < 2**31 broadcasts."""
    return (_shift(bits, 32) * high) >> 32
