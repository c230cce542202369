"""Whether these parts keep their contracts, as tests: `pytest mine/contracts.py`."""

from mbrl.models import GaussianEnsemble
from mbrl.testing import (
    check_dynamics_model,
    check_planner,
    check_rollout_hook,
    check_selector,
    check_uncertainty_measure,
    linear_task,
)
from mine.delayed import Delayed
from mine.parts import Fence, LastingNoise, Leash, NoisyMode
from mine.residual import Residual
from mine.ridge import Ridge
from mine.shooting import Shooting
from mine.tolerant import Tolerant
from mine.unsure import Range

TASK = linear_task()  # make_task("mine.lift:Lift-v0", …) of mbrl.envs gives that of an environment


def test_models() -> None:
    check_dynamics_model(Ridge, TASK)
    check_dynamics_model(Delayed, TASK)
    check_dynamics_model(lambda: Residual(hidden=8, max_epochs=2), TASK)
    check_dynamics_model(lambda: GaussianEnsemble(2, 2, [8], max_epochs=2, loss=Tolerant()), TASK)


def test_planner() -> None:
    check_planner(lambda: Shooting(Ridge(), warmup_steps=4, refit_every=2), TASK)


def test_parts_of_dyna() -> None:
    for selector in (NoisyMode, LastingNoise):
        check_selector(selector, TASK)
    for hook in (lambda: Fence(0.5), lambda: Leash(0.3)):
        check_rollout_hook(hook, TASK)


def test_measure() -> None:
    check_uncertainty_measure(Range, TASK)
