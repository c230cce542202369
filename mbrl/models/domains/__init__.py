"""Sets of states that a model's rollouts are kept in, or end behind: `UnitCircle`, `Box`."""

from mbrl.models.domains.base import Domain
from mbrl.models.domains.box import Box
from mbrl.models.domains.unit_circle import UnitCircle

__all__ = ["Box", "Domain", "UnitCircle"]
