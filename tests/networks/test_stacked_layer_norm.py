"""Layer normalisation and dropout of stacked networks: equal to a loop of torch's own layers, drawn from their generator."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mbrl.data import make_generator
from mbrl.errors import ConfigError
from mbrl.networks import ReluStack
from mbrl.networks.dropout_mask import dropout_mask


def stack(**options: object) -> ReluStack:
    made = ReluStack(3, (4, 32, 16), make_generator("cpu", "stack"), norm="layer", **options)  # type: ignore[arg-type]
    assert made.norm is not None
    with torch.no_grad():
        for place, each in enumerate([*made.biases, *made.norm.gains, *made.norm.shifts]):
            each.uniform_(0.5, 2, generator=make_generator("cpu", "affine", place))
    return made


def rows() -> Tensor:
    return torch.randn(7, 4, generator=make_generator("cpu", "x"))


def alone(made: ReluStack, j: int, x: Tensor) -> Tensor:
    """What network j says, by torch's own layers."""
    assert made.norm is not None
    for weight, bias, gain, shift in zip(made.weights, made.biases, made.norm.gains, made.norm.shifts, strict=True):
        norm = nn.LayerNorm(weight.shape[-1])
        norm.load_state_dict({"weight": gain[j, 0], "bias": shift[j, 0]})
        x = torch.relu(norm(x @ weight[j] + bias[j]))
    return x


def test_each_network_is_normalised_as_torch_does() -> None:
    made = stack()
    together = made(rows())
    for j in range(3):
        torch.testing.assert_close(together[j], alone(made, j, rows()))
    torch.testing.assert_close(made(rows(), members=torch.tensor([2, 0])), together[[2, 0]])


def test_it_begins_at_gain_one_and_shift_zero_and_draws_nothing() -> None:
    plain = ReluStack(2, (4, 8), make_generator("cpu", "stack"))
    made = ReluStack(2, (4, 8), make_generator("cpu", "stack"), norm="layer")
    assert made.norm is not None
    assert torch.equal(plain.weights[0], made.weights[0])
    assert bool((made.norm.gains[0] == 1).all()) and not bool(made.norm.shifts[0].any())
    assert sorted(plain.state_dict()) == ["biases.0", "weights.0"], "keys of networks without a norm stay"


def test_every_parameter_learns_and_a_frozen_pass_reaches_inputs_alone() -> None:
    made, x = stack(), rows().requires_grad_()
    made(x, frozen=True).square().sum().backward()
    assert x.grad is not None and bool(x.grad.any())
    assert all(parameter.grad is None for parameter in made.parameters())
    made(x).square().sum().backward()
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in made.parameters())
    assert torch.autograd.gradcheck(stack().double(), (rows().double().requires_grad_(),))


def test_bf16_stays_near() -> None:
    exact, quick = stack(), stack(precision="bf16")
    assert 0 < (exact(rows()) - quick(rows())).abs().max() < 0.1
    assert quick(rows()).dtype is torch.float32


@pytest.mark.parametrize("probability", [1e-3, 0.25, 0.9])
def test_masks_are_independent_and_of_mean_one(probability: float) -> None:
    mask = dropout_mask(torch.zeros(3, 333, 333), probability, make_generator("cpu", "masks"))
    share = (mask == 0).float().mean().item()
    assert share == pytest.approx(probability, abs=4 * (probability * (1 - probability) / mask.numel()) ** 0.5)
    assert mask.max().item() == pytest.approx(1 / (1 - probability))
    pairs = mask.flatten()[:-1].view(-1, 2)  # halves of one draw each
    both = (pairs == 0).all(-1).float().mean().item()
    assert both == pytest.approx(probability**2, abs=4 * (probability**2 / len(pairs)) ** 0.5)


def test_dropout_keeps_the_mean_of_each_unit_and_its_share_of_zeros() -> None:
    made = ReluStack(2, (4, 64), make_generator("cpu", "stack"), dropout=0.25)
    with torch.no_grad():
        made.biases[0].fill_(10.0)  # no unit is 0 by itself
    x = rows()[:1].expand(4000, 4)
    whole, dropped = made(x), made(x, masks=make_generator("cpu", "masks"))
    zero = dropped == 0
    assert zero.float().mean().item() == pytest.approx(0.25, abs=0.005)
    torch.testing.assert_close(dropped[~zero], whole[~zero] / 0.75)
    assert not torch.equal(zero[0], zero[1]), "networks have masks of their own"
    assert torch.equal(dropped, made(x, masks=make_generator("cpu", "masks")))


def test_dropout_comes_before_the_norm() -> None:
    made = stack(dropout=0.5)
    said = made(rows(), masks=make_generator("cpu", "masks"))
    masks, x = make_generator("cpu", "masks"), rows().expand(3, 7, 4)
    assert made.norm is not None
    for weight, bias, gain, shift in zip(made.weights, made.biases, made.norm.gains, made.norm.shifts, strict=True):
        x = torch.baddbmm(bias, x, weight)
        x = x * dropout_mask(x, 0.5, masks)
        centred = x - x.mean(-1, keepdim=True)
        x = torch.relu(centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * gain + shift)
    torch.testing.assert_close(said, x)


def test_a_chance_of_one_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"ReluStack\(dropout=…\): expected a number of at least 0 and below 1, got 1.0"):
        ReluStack(1, (4, 8), make_generator("cpu"), dropout=1.0)
