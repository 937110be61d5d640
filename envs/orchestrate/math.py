"""Orchestrate over arithmetic with a scratchpad: small students with habitual errors, which hints prevent."""

import torch

from kdgym.core import SingleEnv
from kdgym.envs.orchestrate.frozen_students import World
from kdgym.envs.orchestrate.math_students import MathWorld
from kdgym.envs.orchestrate.orchestrate import Orchestrate
from kdgym.envs.orchestrate.settings import MathSettings


class OrchestrateMath(Orchestrate):
    __doc__ = Orchestrate.__doc__
    config: MathSettings
    settings_type = MathSettings

    def _world(self, device: torch.device) -> World:
        config = self.config
        return MathWorld(config.pool, config.tasks, config.radix, config.steps, config.version, device)


class OrchestrateMathEnv(SingleEnv):
    __doc__ = Orchestrate.__doc__
    population = OrchestrateMath
