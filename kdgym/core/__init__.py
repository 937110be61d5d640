"""What every environment shares: the population, its single view, its ledger and its snapshots."""

from kdgym.core.population import PopulationEnv, common_arguments
from kdgym.core.single import SingleEnv
from kdgym.core.snapshot import StudentSnapshot

__all__ = ["PopulationEnv", "SingleEnv", "StudentSnapshot", "common_arguments"]
