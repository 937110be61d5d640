"""Orchestrate over arithmetic with a scratchpad: small students who were schooled to take hints, and do not know every rule."""

import torch

from kdgym.core import SingleEnv
from kdgym.core.orchestrate_settings import MathSettings
from kdgym.envs.orchestrate import Orchestrate
from kdgym.students.forgetful import Forgetful
from kdgym.students.world import World


class OrchestrateMath(Orchestrate):
    __doc__ = Orchestrate.__doc__
    config: MathSettings
    settings_type = MathSettings

    def _world(self, device: torch.device) -> World:
        config = self.config
        return Forgetful(config.pool, config.tasks, config.radix, config.steps, device)


class OrchestrateMathEnv(SingleEnv):
    __doc__ = Orchestrate.__doc__
    population = OrchestrateMath
