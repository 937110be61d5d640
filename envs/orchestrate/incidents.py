"""Orchestrate over security incidents: small investigators query a real database, and find only some answers by themselves."""

import torch

from kdgym.core import SingleEnv
from kdgym.envs.orchestrate.frozen_students import World
from kdgym.envs.orchestrate.investigator import IncidentWorld
from kdgym.envs.orchestrate.orchestrate import Orchestrate
from kdgym.envs.orchestrate.settings import IncidentsSettings


class OrchestrateIncidents(Orchestrate):
    __doc__ = Orchestrate.__doc__
    config: IncidentsSettings
    settings_type = IncidentsSettings

    def _world(self, device: torch.device) -> World:
        if device.type != "cpu":
            raise ValueError(f"device is {device}; investigators work on the cpu, where their databases are.")
        config = self.config
        if config.student == "investigator":
            return IncidentWorld(config.pool, config.incidents, config.tasks)
        from kdgym.envs.orchestrate.llm_investigator import LLMIncidentWorld  # language models are heavy

        return LLMIncidentWorld(config.student, config.pool, config.incidents, config.tasks)


class OrchestrateIncidentsEnv(SingleEnv):
    __doc__ = Orchestrate.__doc__
    population = OrchestrateIncidents
