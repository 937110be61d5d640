"""A family for tests whose students have an accident in the middle of a lesson.

What happens is told by a JSON file named by the setting ``accident``: ``{"seed": 3, "step": 1, "what": "kill", "once": true}``.
What: ``"kill"`` ends the worker, ``"raise"`` raises an exception, ``"interrupt"`` sends ctrl-C to the process ``"driver"``.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
from torch import Tensor

from kdgym.envs.datagen.skill_list import SkillList

gym.register(id="Fragile-v0", vector_entry_point=f"{__name__}:Fragile", kwargs={"task": "Math"})


class Fragile(SkillList):
    """DataGen, except for the accident."""

    def __init__(self, num_envs: int = 1, *, accident: str, **settings: Any) -> None:
        self._accident = Path(accident)
        super().__init__(num_envs, **settings)

    def _teach(self, action: Tensor) -> tuple[Tensor, Tensor]:
        result = super()._teach(action)  # the student has learned already, but the step is not over
        if self._accident.is_file():
            plan = json.loads(self._accident.read_text())
            hit = (self.state["seed"] == plan["seed"]) & (self.state["step"] == plan["step"])
            if hit.any():
                self._happen(plan)
        return result

    def _happen(self, plan: dict[str, Any]) -> None:
        if plan["once"]:
            self._accident.unlink()
        if plan["what"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if plan["what"] == "raise":
            raise FloatingPointError("an accident in the middle of a lesson")
        os.kill(plan["driver"], signal.SIGINT)
        time.sleep(0.5)  # the driver notices while it waits for this lesson
