from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from mbrl.data import Task
from mbrl.models import GaussianEnsemble
from mbrl.networks import JacobianPenalty, LipMLP, Orthogonal, ReluStack, SpectralClip, SpectralNorm
from mbrl.planners import Dyna
from mbrl.policies import SAC, SequenceSAC
from mbrl.spec import from_spec
from mbrl.training.precision import Bf16Check, bf16_checks, bf16_in_short, use_bf16

TASK = Task(env_id="", obs_size=3, action_size=2, action_low=[-1.0] * 2, action_high=[1.0] * 2)


def small() -> Dyna:
    return Dyna(GaussianEnsemble(members=3, elites=2, hidden=[16, 16]), SAC(hidden=[16, 16]))


def test_bf16_reaches_the_parts_and_their_specs() -> None:
    planner = Dyna(GaussianEnsemble(), SAC())
    use_bf16(planner)
    again = from_spec(planner.spec)
    for made in (planner, again):
        assert made.dynamics.precision == "bf16"
        assert made.learner.precision == "bf16"


def test_the_check_compares_gradients_and_changes_nothing() -> None:
    planner = small()
    assert bf16_checks(planner) == []
    use_bf16(planner)
    planner.build(TASK, 0)
    before = {name: tensor.clone() for name, tensor in planner.state_dict().items() if isinstance(tensor, torch.Tensor)}
    stream = torch.get_rng_state()
    checks = bf16_checks(planner, rows=32)
    assert [check.part for check in checks] == ["GaussianEnsemble", "SAC"]
    assert all(check.faster > 0 and 1e-4 < check.error < 0.05 for check in checks)  # 8 bits: rounding is there, and small
    after = planner.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert torch.equal(stream, torch.get_rng_state())
    assert all(each.precision == "bf16" for each in planner.modules() if isinstance(each, ReluStack))
    assert all(parameter.grad is None for parameter in planner.parameters())


def test_its_error_is_that_of_the_worst_network() -> None:
    planner = small()
    use_bf16(planner)
    planner.build(TASK, 0)
    network = planner.dynamics.network  # type: ignore[union-attr]
    x = torch.randn(3, 32, 5, generator=torch.Generator().manual_seed(0))
    grads = {}
    for kind in ("fp32", "bf16"):
        network.precision = kind
        found = torch.autograd.grad(network(x).square().mean(), list(network.parameters()))
        grads[kind] = torch.cat([grad.flatten() for grad in found])
    expected = (grads["bf16"] - grads["fp32"]).norm() / grads["fp32"].norm()
    assert bf16_checks(planner, rows=32)[0].error == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    "part",
    [
        lambda: GaussianEnsemble(hidden=[16, 16], constraint=SpectralClip(), precision="bf16"),
        lambda: GaussianEnsemble(hidden=[16, 16], constraint=SpectralNorm(), precision="bf16"),
        lambda: GaussianEnsemble(hidden=[16, 16], constraint=LipMLP(), precision="bf16"),
        lambda: GaussianEnsemble(hidden=[16, 16], constraint=JacobianPenalty(), precision="bf16"),
        lambda: GaussianEnsemble(hidden=[16, 16], constraint=Orthogonal(), activation="groupsort", precision="bf16"),
        lambda: SAC(hidden=[16, 16], critic_norm="layer", critic_dropout=0.1, target_subset=1, precision="bf16"),
        lambda: SequenceSAC(hidden=[16, 16], precision="bf16"),
    ],
    ids=["clip", "norm", "lip", "penalty", "orthogonal", "layer norm", "sequences"],
)
def test_every_network_that_takes_bf16_can_be_checked(part: Callable[[], Any]) -> None:
    made = part()
    made.build(TASK, 0)
    (check,) = bf16_checks(made, rows=32)
    assert check.part == type(made).__name__ and 1e-4 < check.error < 0.1


@pytest.mark.parametrize(
    ("faster", "error", "said"),
    [
        ((2.0, 1.5), 0.004, None),
        ((2.0, 0.8), 0.004, "bf16 doesn't serve SAC here; set precision: bf16 on the other parts alone"),
        ((0.3, 0.8), 0.004, "bf16 doesn't serve such networks on this machine; leave precision out"),
        ((2.0, 1.5), 0.3, "bf16 doesn't serve such networks on this machine; leave precision out"),
    ],
)
def test_what_to_do_is_said(faster: tuple[float, float], error: float, said: str | None) -> None:
    checks = [Bf16Check("GaussianEnsemble", faster[0], error), Bf16Check("SAC", faster[1], error)]
    first, *rest = bf16_in_short(checks)
    told = f"GaussianEnsemble {faster[0]}, SAC {faster[1]}; gradients differ by up to {error:.1%}"
    assert first == f"bf16: times as fast as float32, by its products: {told}"
    assert rest == ([] if said is None else [said])
