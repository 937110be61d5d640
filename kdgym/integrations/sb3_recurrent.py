"""A recurrent Stable-Baselines3 policy that is one small network for every item of an environment, whatever items are there.

Items are data sources, scorers, teachers or clusters. What the policy knows of one item it knows of all of them (Zaheer et al.,
Deep Sets, NeurIPS 2017), so its weights fit any number of items. Its memory is a gated recurrent unit an item (Cho et al.,
EMNLP 2014). An environment without items has one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentMultiInputActorCriticPolicy
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from torch import Tensor, nn
from torch.nn import functional as F

from kdgym.spaces import RATIO, Block, blocks


class ItemLayout:
    """Which parts of observations and actions are of single items, of groups of items, and of the whole.

    Args:
        observation_space: a Dict of boxes.
        action_space: a box.
        items: name of an observation with one number an item, and perhaps of one with one number a group; see
            `kdgym.core.PopulationEnv.items`. Whatever has as many numbers is of items, or of groups.

    Raises:
        ValueError: there is no such observation, or groups are not equally large.
    """

    def __init__(self, observation_space: spaces.Dict, action_space: spaces.Space[Any], items: Sequence[str]) -> None:
        sizes = {name: get_flattened_obs_dim(space) for name, space in observation_space.spaces.items()}
        if unknown := set(items) - sizes.keys():
            raise ValueError(f"There is no observation {', '.join(sorted(unknown))}; there are {', '.join(sizes)}.")
        self.sizes = list(sizes.values())
        self.items, self.groups = ([sizes[name] for name in items] + [1, 1][len(items) :])[:2]
        if self.items % self.groups:
            raise ValueError(f"{self.items} items do not make {self.groups} groups of one size; name other items.")
        self.blocks: tuple[Block, ...] = blocks(action_space)
        self.by_item = [self.items > 1 and block.size == self.items for block in self.blocks]
        self.features = sum(1 if self._is_spread(size) else size for size in self.sizes)
        self.whole = sum(block.size for block, own in zip(self.blocks, self.by_item, strict=True) if not own)
        self.entries = sum(block.size for block in self.blocks)

    def _is_spread(self, size: int) -> bool:
        return size > 1 and size in (self.items, self.groups)

    def grid(self, flat: Tensor) -> Tensor:
        """What is known of every item, of its group and of the whole: [..., sum of sizes] -> [..., items, features]."""
        columns = []
        for part in flat.split(self.sizes, dim=-1):
            if self._is_spread(part.shape[-1]):
                columns.append(part.repeat_interleave(self.items // part.shape[-1], dim=-1).unsqueeze(-1))
            else:
                columns.append(part.unsqueeze(-2).expand(*part.shape[:-1], self.items, -1))
        return torch.cat(columns, dim=-1)

    def acted(self, action: Tensor) -> Tensor:
        """What an action did to every item and to the whole: [..., entries] -> [..., items, by item + whole]."""
        parts = zip(action.split([block.size for block in self.blocks], dim=-1), self.by_item, strict=True)
        columns = [
            part.unsqueeze(-1) if own else part.unsqueeze(-2).expand(*part.shape[:-1], self.items, -1)
            for part, own in parts
        ]
        return torch.cat(columns, dim=-1)

    def pooled(self, known: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """A linear layer [n, 4 w] over an item's own numbers, their mean and maximum in its group, and the mean of all:
        [..., items, w] -> [..., items, n].

        What items have in common is multiplied once, which saves a third of an update.
        """
        width = known.shape[-1]
        own, group, whole = weight.split([width, 2 * width, width], dim=1)
        grouped = known.unflatten(-2, (self.groups, -1))
        of_group = F.linear(torch.cat([grouped.mean(-2), grouped.amax(-2)], dim=-1), group, bias)
        common = of_group + F.linear(known.mean(-2, keepdim=True), whole)
        return (F.linear(grouped, own) + common.unsqueeze(-2)).flatten(-3, -2)


class ItemMemory(nn.Module):
    """Stands where sb3-contrib has an ``nn.LSTM``: one recurrent unit an item, its hidden states side by side.

    Args:
        layout: of the observations.
        width: of an item's memory.
        decide: hidden states [B, items * width] -> actions [B, n], if the last action is an input; see `ItemPolicy`.

    Raises:
        ValueError: the last action does not fit into the state.
    """

    num_layers = 1

    def __init__(self, layout: ItemLayout, width: int, decide: Callable[[Tensor], Tensor] | None) -> None:
        super().__init__()
        self.layout, self.width, self.decide = layout, width, decide
        self.input_size, self.hidden_size = sum(layout.sizes), layout.items * width
        if decide and layout.entries > self.hidden_size:
            raise ValueError(f"recall needs items * width >= {layout.entries}, it is {self.hidden_size}; raise width.")
        self.register_buffer("mean", torch.zeros(layout.features))
        self.register_buffer("spread", torch.ones(layout.features))
        acted = sum(layout.by_item) + layout.whole if decide else 0
        self.first = nn.Linear(layout.features + acted, width)
        self.unit = nn.GRUCell(4 * width, width)

    def standardise(self, flat: Tensor) -> None:
        """From now on, inputs have the mean 0 and the spread 1 on these observations, [..., sum of sizes]."""
        seen = self.layout.grid(flat).flatten(0, -2)
        self.mean, self.spread = seen.mean(0), seen.std(0).clamp_min(1e-3)

    def forward(
        self, flat: Tensor, state: tuple[Tensor, Tensor], acted: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """[T, B, sum of sizes] and the state before -> hidden states [T, B, items * width], and the last state.

        The second half of the state, an LSTM's cell, begins with the last action. If actions that were ``acted`` are given,
        [T, B, n], each is the last action of the next step.
        """
        seen = ((self.layout.grid(flat) - self.mean) / self.spread).clamp(-5, 5)
        hidden, last, found = state[0].view(-1, self.layout.items, self.width), state[1][0], []
        for step, now in enumerate(seen):
            known = torch.cat([now, self.layout.acted(last[:, : self.layout.entries])], dim=-1) if self.decide else now
            hidden = self._remember(torch.tanh(self.first(known)), hidden)
            found.append(hidden.flatten(1))
            if self.decide:
                action = self.decide(found[-1]).clamp(-1, 1) if acted is None else acted[step]
                last = F.pad(action, (0, self.hidden_size - self.layout.entries))
        return torch.stack(found), (found[-1].unsqueeze(0), last.unsqueeze(0))

    def _remember(self, known: Tensor, hidden: Tensor) -> Tensor:
        """The recurrent unit: what is known of every item now, and of before, [B, items, width] each -> the same of after."""
        new = self.layout.pooled(known, self.unit.weight_ih, self.unit.bias_ih).chunk(3, dim=-1)
        old = F.linear(hidden, self.unit.weight_hh, self.unit.bias_hh).chunk(3, dim=-1)
        reset, keep = torch.sigmoid(new[0] + old[0]), torch.sigmoid(new[1] + old[1])
        proposed = torch.tanh(new[2] + reset * old[2])
        return proposed + keep * (hidden - proposed)


class ItemHeads(nn.Module):
    """Entries of the action, and what the value is computed from, by the items' memories.

    Shares and choices get scores, of which the best becomes the entry 1: they mean the same at any height. An item's score is
    that of its group plus its own.

    Args:
        layout: of the spaces.
        width: of the items' memories.
        sharpness: what scores are multiplied by. Above 1, shares of what is likelier are larger than how likely it is.
    """

    def __init__(self, layout: ItemLayout, width: int, sharpness: float) -> None:
        super().__init__()
        self.layout, self.width, self.sharpness = layout, width, sharpness
        self.second, self.critic = nn.Linear(4 * width, width), nn.Linear(2 * width, width)
        scores = max(1, sum(layout.by_item))  # torch warns of layers without outputs
        self.item, self.group = nn.Linear(width, scores), nn.Linear(width, scores)
        self.whole = nn.Linear(2 * width, max(1, layout.whole))
        self.latent_dim_pi, self.latent_dim_vf = layout.entries, width

    def _all(self, known: Tensor) -> Tensor:
        return torch.cat([known.mean(-2), known.amax(-2)], dim=-1)

    def forward_actor(self, hidden: Tensor) -> Tensor:
        """[..., items * width] -> the action's entries [..., n]."""
        hidden = hidden.unflatten(-1, (-1, self.width))
        known = torch.tanh(self.layout.pooled(hidden, self.second.weight, self.second.bias))
        group = self.group(known.unflatten(-2, (self.layout.groups, -1)).mean(-2))
        own = self.item(known) + group.repeat_interleave(self.layout.items // self.layout.groups, dim=-2)
        whole, of_items, of_whole, entries = self.whole(self._all(known)), 0, 0, []
        for block, by_item in zip(self.layout.blocks, self.layout.by_item, strict=True):
            if by_item:
                score, of_items = own[..., of_items], of_items + 1
            else:
                score, of_whole = whole[..., of_whole : of_whole + block.size], of_whole + block.size
            if block.kind == "numbers":
                entries.append(torch.tanh(score))
            else:
                entries.append(1 + self.sharpness * (score - score.amax(-1, keepdim=True)) / RATIO)
        return torch.cat(entries, dim=-1)

    def forward_critic(self, hidden: Tensor) -> Tensor:
        """[..., items * width] -> [..., width]."""
        return torch.tanh(self.critic(self._all(hidden.unflatten(-1, (-1, self.width)))))


class ItemPolicy(RecurrentMultiInputActorCriticPolicy):
    """For sb3-contrib's RecurrentPPO; the critic reads the actor's memory.

    Args:
        observation_space, action_space, lr_schedule: see SB3.
        items: see `ItemLayout`.
        width: of every layer, and of an item's memory.
        sharpness: see `ItemHeads`.
        recall: whether the last action is an input. It is wanted where no observation tells what was tried.
        options: see sb3-contrib's policy.
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Space[Any],
        lr_schedule: Any,
        items: Sequence[str] = (),
        width: int = 32,
        sharpness: float = 1.0,
        recall: bool = False,
        log_std_init: float = -2.0,
        **options: Any,
    ) -> None:
        self.layout = ItemLayout(observation_space, action_space, items)
        self.width, self.sharpness = width, sharpness
        unused = {"lstm_hidden_size": 1, "shared_lstm": True, "enable_critic_lstm": False}
        super().__init__(observation_space, action_space, lr_schedule, **{**options, **unused})
        self.lstm_actor: Any = ItemMemory(self.layout, width, self.mlp_extractor.forward_actor if recall else None)
        self.lstm_hidden_state_shape = (1, 1, self.lstm_actor.hidden_size)
        self.action_net: Any = nn.Identity()
        self.log_std = nn.Parameter(torch.full((1,), log_std_init))  # one for all entries, however many there are
        make: Any = self.optimizer_class
        self.optimizer = make(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor: Any = ItemHeads(self.layout, self.width, self.sharpness).to(self.device)

    def entries(self, flat: Tensor, acted: Tensor | None = None) -> Tensor:
        """The mean actions of whole episodes: observations side by side [T, B, sum of sizes] -> [T, B, n]. If given, ``acted``
        is what was done after each.
        """
        start = flat.new_zeros(1, flat.shape[1], self.lstm_actor.hidden_size)
        hidden, _ = self.lstm_actor(flat, (start, start), acted)
        entries: Tensor = self.mlp_extractor.forward_actor(hidden)
        return entries
