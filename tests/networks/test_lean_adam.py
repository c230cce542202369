"""LeanAdam is Adam: the same numbers, whatever happens to its state between two steps."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Adam

from mbrl.networks.lean_adam import LeanAdam


def groups(seed: int = 0) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [[(3, 4), (4,)], [()]]
    rates = (1e-2, 3e-2)
    return [
        {"params": [nn.Parameter(torch.randn(shape, generator=generator)) for shape in group], "lr": rate}
        for group, rate in zip(shapes, rates, strict=True)
    ]


def parameters(optimizer: Adam) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def give_gradients(optimizer: Adam, step: int) -> None:
    generator = torch.Generator().manual_seed(100 + step)
    for parameter in parameters(optimizer):
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def both(steps: int, lean: LeanAdam, plain: Adam, start: int = 0) -> None:
    for step in range(start, start + steps):
        give_gradients(lean, step)
        give_gradients(plain, step)
        lean.advance()
        plain.step()


def same(lean: LeanAdam, plain: Adam) -> None:
    for ours, theirs in zip(parameters(lean), parameters(plain), strict=True):
        assert torch.equal(ours, theirs)
        for name in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(lean.state[ours][name], plain.state[theirs][name])


def test_steps_are_adams_bit_for_bit() -> None:
    lean, plain = LeanAdam(groups()), Adam(groups(), fused=True)
    before = [parameter.clone() for parameter in parameters(lean)]
    both(5, lean, plain)
    same(lean, plain)
    assert all(not torch.equal(now, then) for now, then in zip(parameters(lean), before, strict=True))


def test_a_state_that_is_loaded_is_the_one_that_steps() -> None:
    lean, plain = LeanAdam(groups()), Adam(groups(), fused=True)
    both(3, lean, plain)
    state = copy.deepcopy(plain.state_dict())
    both(2, lean, plain, 3)  # the lists of `lean` now hold tensors that loading replaces
    lean.load_state_dict(copy.deepcopy(state))  # loading keeps the tensors that it is given
    plain.load_state_dict(copy.deepcopy(state))
    both(2, lean, plain, 5)
    same(lean, plain)


def test_a_state_that_moved_is_found_again() -> None:
    lean, plain = LeanAdam(groups()), Adam(groups(), fused=True)
    both(2, lean, plain)
    for state in lean.state.values():  # as Lightning moves an optimiser to a device
        for name, value in state.items():
            state[name] = value.clone()
    both(2, lean, plain, 2)
    same(lean, plain)


def test_a_learning_rate_that_a_schedule_changes_is_read() -> None:
    lean, plain = LeanAdam(groups()), Adam(groups(), fused=True)
    both(2, lean, plain)
    for optimizer in (lean, plain):
        optimizer.param_groups[0]["lr"] = 0.5
    both(1, lean, plain, 2)
    same(lean, plain)


def test_a_step_of_adam_in_between_is_seen() -> None:
    lean, plain = LeanAdam(groups()), Adam(groups(), fused=True)
    both(1, lean, plain)
    give_gradients(lean, 1)
    give_gradients(plain, 1)
    lean.step()
    plain.step()
    both(1, lean, plain, 2)
    same(lean, plain)


def test_a_copy_steps_by_itself() -> None:
    lean, plain = LeanAdam(groups()), Adam(groups(), fused=True)
    both(2, lean, plain)
    copied = copy.deepcopy(lean)
    both(1, copied, plain, 2)
    same(copied, plain)
    assert not torch.equal(parameters(copied)[0], parameters(lean)[0])


def test_gradients_are_dropped() -> None:
    lean = LeanAdam(groups())
    give_gradients(lean, 0)
    lean.drop_gradients()
    assert all(parameter.grad is None for parameter in parameters(lean))


@pytest.mark.parametrize("missing", [0, 2])
@pytest.mark.parametrize("steps", [0, 1])
def test_a_missing_gradient_is_an_error(missing: int, steps: int) -> None:
    lean = LeanAdam(groups())
    give_gradients(lean, 0)
    for _ in range(steps):
        lean.advance()
    parameters(lean)[missing].grad = None
    with pytest.raises((RuntimeError, TypeError)):
        lean.advance()
