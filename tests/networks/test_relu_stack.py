"""Stacked hidden layers: equal to a loop over the networks, Xavier weights, bfloat16 products."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mbrl.data import make_generator
from mbrl.errors import ConfigError
from mbrl.networks.relu_stack import ReluStack


def stack(precision: str = "fp32", copies: int = 3) -> ReluStack:
    return ReluStack(copies, (4, 32, 16), make_generator("cpu", "stack"), precision)


def test_stacked_networks_equal_a_loop_over_them() -> None:
    made = stack()
    x = torch.randn(7, 4, generator=make_generator("cpu", "x"))
    with torch.no_grad():
        for bias in made.biases:
            bias.uniform_(-1, 1, generator=make_generator("cpu", "bias"))
    together = made(x)
    for j in range(3):
        hidden = x
        for weight, bias in zip(made.weights, made.biases, strict=True):
            hidden = torch.relu(hidden @ weight[j] + bias[j])
        torch.testing.assert_close(together[j], hidden)


def test_weights_are_xavier_uniform_and_biases_zero() -> None:
    made = ReluStack(2, (40, 60), make_generator("cpu", "stack"))
    weight, bound = made.weights[0], math.sqrt(6 / 100)
    assert weight.abs().max() <= bound
    assert weight.abs().max() > 0.99 * bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
    assert not torch.equal(weight[0], weight[1])
    assert all(not bias.any() for bias in made.biases)
    reference = nn.init.xavier_uniform_(torch.empty(60, 40), generator=make_generator("cpu", "reference"))
    assert reference.abs().max().item() == pytest.approx(weight.abs().max().item(), rel=0.01)


def test_bf16_is_close_keeps_float32_parameters_and_trains() -> None:
    exact, quick = stack(), stack("bf16")
    x = torch.randn(64, 4, generator=make_generator("cpu", "x"))
    difference = (exact(x) - quick(x)).abs().max().item()
    assert 0 < difference < 0.05
    assert quick(x).dtype is torch.float32
    quick(x).sum().backward()
    for parameter, other in zip(quick.parameters(), exact.parameters(), strict=True):
        assert parameter.dtype is torch.float32
        assert torch.equal(parameter, other)
        assert parameter.grad is not None
        assert parameter.grad.dtype is torch.float32


def test_frozen_gives_parameters_no_gradient() -> None:
    made = stack()
    x = torch.randn(5, 4, generator=make_generator("cpu", "x"), requires_grad=True)
    made(x, frozen=True).sum().backward()
    frozen = x.grad
    assert frozen is not None
    assert all(parameter.grad is None for parameter in made.parameters())
    x.grad = None
    made(x).sum().backward()
    torch.testing.assert_close(x.grad, frozen)


def test_refusals() -> None:
    with pytest.raises(ConfigError, match=r"ReluStack\(sizes=…\): expected a list of at least 2, .* got \(4, 0\)"):
        ReluStack(1, (4, 0), make_generator("cpu"))
    with pytest.raises(ConfigError, match=r"ReluStack\(precision=…\): expected one of fp32, bf16, got 'fp16'"):
        ReluStack(1, (4, 8), make_generator("cpu"), "fp16")
