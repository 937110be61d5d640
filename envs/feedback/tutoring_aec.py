"""PettingZoo's AEC interface of a pupil and its tutor, who take turns."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from pettingzoo import AECEnv

from kdgym.core.population import PopulationEnv
from kdgym.core.single import first_student
from kdgym.core.validation import as_array, as_options, checked_actions
from kdgym.envs.feedback.tutoring_moves import TutoringMoves

Floats = npt.NDArray[np.float32]
PUPIL, TUTOR = "pupil_0", "tutor_0"
_NOT_FOR_PUPILS = ("loss", "errors", "target")


class TutoringAECEnv(AECEnv[str, Floats, Floats]):
    """One pupil and one tutor. ``pupil_0`` asks, ``tutor_0`` answers and the pupil practises, and so on.

    Observations are ``Box`` (D,) float32; ``fields[agent]`` says which entries are what. Page:
    `kdgym.envs.feedback.tutoring.Tutoring`.

    Args:
        pupils: a population of one that does not reset itself.

    Attributes:
        fields: agent -> name -> entries of its observation.
    """

    metadata: dict[str, Any] = {
        "name": "kdgym_tutoring_v0",
        "render_modes": ["rgb_array", "human"],
        "render_fps": 2,
        "is_parallelizable": False,  # the tutor hears what it is asked before it answers
    }

    def __init__(self, pupils: PopulationEnv) -> None:
        super().__init__()
        moves, seen = pupils.single_action_space, pupils.single_observation_space
        assert isinstance(moves, TutoringMoves) and isinstance(seen, spaces.Dict)
        self.pupils, self.moves, self.render_mode = pupils, moves, pupils.render_mode
        self._costs = {  # of the pupil's questions and the tutor's words, at the price of a whole budget
            "questions": float(pupils.settings["question_cost"]),
            "feedback": float(pupils.settings["feedback_cost"] * pupils.settings["price"]),
        }
        self.possible_agents = [PUPIL, TUTOR]
        self.agents: list[str] = []
        names = {PUPIL: [name for name in seen.spaces if name not in _NOT_FOR_PUPILS], TUTOR: list(seen.spaces)}
        self.fields = {agent: _places(seen, names[agent]) for agent in self.possible_agents}
        self.observation_spaces = {agent: _beside(seen, names[agent]) for agent in self.possible_agents}
        sizes = {PUPIL: moves.skills, TUTOR: moves.answers.shape[0]}
        self.action_spaces = {agent: spaces.Box(-1.0, 1.0, (n,), np.float32) for agent, n in sizes.items()}

    def observation_space(self, agent: str) -> spaces.Box:
        """What an agent sees."""
        space = self.observation_spaces[agent]
        assert isinstance(space, spaces.Box)
        return space

    def action_space(self, agent: str) -> spaces.Box:
        """What an agent does."""
        space = self.action_spaces[agent]
        assert isinstance(space, spaces.Box)
        return space

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Start an episode. Of ``options``, ``restart`` means what it means everywhere; others are for other environments."""
        known = {name: value for name, value in as_options(options).items() if name == "restart"}
        self._seen, info = self.pupils.reset(seed=seed, options=known)
        self._asked = np.zeros(self.moves.skills, dtype=np.float32)
        self.agents, self.agent_selection = list(self.possible_agents), PUPIL
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos = {agent: first_student(info) for agent in self.agents}

    def observe(self, agent: str) -> Floats:
        """What an agent sees now."""
        told = {name: value[0] for name, value in self._seen.items()}
        if agent == TUTOR and self.agent_selection == TUTOR:
            told["ask"] = (self._asked + 1) / 2
        return np.concatenate([told[name] for name in self.fields[agent]])

    def step(self, action: Floats | None) -> None:
        """Ask, if it is the pupil's turn; answer, and have the pupil practise, if it is the tutor's.

        Raises:
            RuntimeError: before the first reset, or after the end of an episode.
            ValueError: the action has the wrong shape, is not finite, or leaves the agent's space.
        """
        if not self.agents:
            raise RuntimeError("There is no lesson to go on with; call reset first.")
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        given = checked_actions(as_array(action)[None], 1, self.action_space(agent))[0]
        self._cumulative_rewards[agent] = 0.0
        self._clear_rewards()
        if agent == PUPIL:
            self._asked, self.agent_selection = given, TUTOR
        else:
            self._practise(given)
            self.agent_selection = PUPIL
        self._accumulate_rewards()

    def _practise(self, answer: Floats) -> None:
        before = self._seen
        self._seen, reward, done, cut, info = self.pupils.step(np.concatenate([self._asked, answer])[None])
        cost = {name: price * float(self._seen[name][0, 0] - before[name][0, 0]) for name, price in self._costs.items()}
        self.rewards[PUPIL] = float(reward[0]) + cost["feedback"]  # the common reward has paid for both
        self.rewards[TUTOR] = float(reward[0]) + cost["questions"]
        self.terminations = dict.fromkeys(self.agents, bool(done[0]))
        self.truncations = dict.fromkeys(self.agents, bool(cut[0]))
        self.infos = {agent: first_student(info) for agent in self.agents}

    def close(self) -> None:
        """Release what the population holds."""
        self.pupils.close()

    def render(self) -> npt.NDArray[np.uint8] | None:
        """The pupil's skills over the episode, with ``render_mode="rgb_array"``."""
        return self.pupils.frame(0) if self.render_mode == "rgb_array" else None


def _places(seen: spaces.Dict, names: list[str]) -> dict[str, slice]:
    ends = np.cumsum([spaces.flatdim(seen[name]) for name in names]).tolist()
    return {name: slice(end - spaces.flatdim(seen[name]), end) for name, end in zip(names, ends, strict=True)}


def _beside(seen: spaces.Dict, names: list[str]) -> spaces.Box:
    """One box of several, side by side."""
    boxes: Any = [seen[name] for name in names]
    return spaces.Box(np.concatenate([box.low for box in boxes]), np.concatenate([box.high for box in boxes]))
