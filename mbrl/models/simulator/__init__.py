"""The true simulator as a dynamics model."""

from mbrl.models.simulator.model import SimulatorModel
from mbrl.models.simulator.state import SimState

__all__ = ["SimState", "SimulatorModel"]
