from __future__ import annotations

from mbrl.models import GaussianEnsemble
from mbrl.planners import Dyna
from mbrl.policies import SAC
from mbrl.spec import from_spec
from mbrl.training.precision import use_bf16


def test_bf16_reaches_the_parts_and_their_specs() -> None:
    planner = Dyna(GaussianEnsemble(), SAC())
    use_bf16(planner)
    again = from_spec(planner.spec)
    for made in (planner, again):
        assert made.dynamics.precision == "bf16"
        assert made.learner.precision == "bf16"
