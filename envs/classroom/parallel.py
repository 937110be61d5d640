"""PettingZoo's parallel interface of a classroom: every teacher is an agent."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.spaces import Box
from pettingzoo import ParallelEnv

from kdgym.core.population import PopulationEnv
from kdgym.core.single import first_student
from kdgym.core.snapshot import StudentSnapshot
from kdgym.core.validation import as_array, as_options, checked_actions
from kdgym.envs.classroom.bids import Bids, Floats, mixed


class ClassroomParallelEnv(ParallelEnv[str, Floats, Floats]):
    """One classroom; agents are ``teacher_0``, ``teacher_1``, ...

    An agent sees a ``Box`` (D,) float32: its own skills in full, the others in summary; ``fields`` says which entries are what.
    It does a ``Box(-1, 1, (1 + W * M,))``: its bid and its plan. Page: `kdgym.envs.classroom.classroom.Classroom`.

    Args:
        classrooms: a population of one that does not reset itself.

    Attributes:
        fields: name -> entries of an observation; see `kdgym.envs.classroom.bids.Bids.seen`.
    """

    metadata: dict[str, Any] = {
        "name": "kdgym_classroom_v0",
        "render_modes": ["rgb_array", "human"],
        "render_fps": 2,
        "is_parallelizable": True,
    }

    def __init__(self, classrooms: PopulationEnv) -> None:
        assert isinstance(classrooms.single_action_space, Bids)
        self.classrooms, self.bids = classrooms, classrooms.single_action_space
        self.render_mode, self.fields = classrooms.render_mode, self.bids.fields
        self.mixing = float(classrooms.settings["mixing"])
        self.metadata = {**self.metadata, "subjects": classrooms.metadata["subjects"]}
        self.possible_agents = [f"teacher_{i}" for i in range(self.bids.teachers)]
        self.agents: list[str] = []
        self.observation_spaces = {agent: self.bids.flat_space() for agent in self.possible_agents}
        self.action_spaces = {agent: self.bids.acted_space() for agent in self.possible_agents}

    def observation_space(self, agent: str) -> Box:
        """What an agent sees."""
        space = self.observation_spaces[agent]
        assert isinstance(space, Box)
        return space

    def action_space(self, agent: str) -> Box:
        """What an agent does."""
        space = self.action_spaces[agent]
        assert isinstance(space, Box)
        return space

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Floats], dict[str, dict[str, Any]]]:
        """Start an episode. Of ``options``, ``restart`` means what it means everywhere; others are for other environments."""
        known = {name: value for name, value in as_options(options).items() if name == "restart"}
        observation, info = self.classrooms.reset(seed=seed, options=known)
        self.agents = list(self.possible_agents)
        return self._each(self.bids.flat(observation)[0]), self._each([first_student(info)] * len(self.agents))

    def step(
        self, actions: dict[str, Floats]
    ) -> tuple[dict[str, Floats], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Teach for one step.

        Raises:
            RuntimeError: before the first reset, or after the end of an episode.
            ValueError: an agent's action is missing, has the wrong shape, is not finite, or leaves its space.
        """
        if not self.agents:
            raise RuntimeError("There is no lesson to go on with; call reset first.")
        if not isinstance(actions, dict) or actions.keys() != set(self.agents):
            given = ", ".join(map(repr, actions)) if isinstance(actions, dict) else type(actions).__name__
            raise ValueError(f"Actions were given for {given[:200]}; every teacher acts: {self.agents}.")
        each = [self._checked(agent, actions[agent]) for agent in self.agents]
        observation, _, done, cut, info = self.classrooms.step(np.concatenate(each)[None])
        told = first_student(info)
        gains = np.array([told[f"gain/{agent}"] for agent in self.agents])
        result = (
            self._each(self.bids.flat(observation)[0]),
            self._each(mixed(gains, self.mixing).tolist()),
            self._each([bool(done[0])] * len(self.agents)),
            self._each([bool(cut[0])] * len(self.agents)),
            self._each([told] * len(self.agents)),
        )
        if done[0] or cut[0]:
            self.agents = []
        return result

    def _checked(self, agent: str, action: Floats) -> Floats:
        try:
            checked: Floats = checked_actions(as_array(action)[None], 1, self.action_space(agent))[0]
            return checked
        except ValueError as error:
            raise ValueError(f"{agent}: {error}") from None

    def _each(self, values: Any) -> dict[str, Any]:
        return dict(zip(self.agents, values, strict=True))

    def state(self) -> Floats:
        """What all teachers together see, the planner's observation side by side: float32 [n]."""
        observation: dict[str, Floats] = self.classrooms.observe()
        return np.concatenate([part[0] for part in observation.values()])

    def close(self) -> None:
        """Release what the population holds."""
        self.classrooms.close()

    def render(self) -> npt.NDArray[np.uint8] | None:
        """Who got the student's time and what came of it, with ``render_mode="rgb_array"``."""
        return self.classrooms.frame(0) if self.render_mode == "rgb_array" else None

    def snapshot(self) -> StudentSnapshot:
        """See `PopulationEnv.snapshot`."""
        return self.classrooms.snapshot()

    def restore(self, snapshot: StudentSnapshot) -> None:
        """See `PopulationEnv.restore`."""
        self.classrooms.restore(snapshot)
        over = bool(self.classrooms.state["done"][0])
        self.agents = [] if over else list(self.possible_agents)
