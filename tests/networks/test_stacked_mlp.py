from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mbrl.data import make_generator
from mbrl.errors import ConfigError
from mbrl.networks.stacked_mlp import ACTIVATIONS, StackedMLP, truncated_normal

SIZES = (5, 16, 12, 4)


def network(members: int = 3, activation: str = "silu") -> StackedMLP:
    net = StackedMLP(members, SIZES, activation, make_generator("cpu", 0))
    generator = make_generator("cpu", 1)
    with torch.no_grad():
        for bias in net.biases:  # zero biases would hide a wrong one
            bias.copy_(torch.randn(bias.shape, generator=generator))
    return net


def loop(net: StackedMLP, x: torch.Tensor) -> torch.Tensor:
    """Each member alone, as a plain network."""
    outputs = []
    for member in range(net.members):
        h = x[member]
        for layer in range(len(net.weights)):
            h = F.linear(h, net.weights[layer][member].T, net.biases[layer][member, 0])
            if layer < len(net.weights) - 1:
                h = F.silu(h)
        outputs.append(h)
    return torch.stack(outputs)


@pytest.mark.check("coplanner-9")
def test_stacked_forward_equals_a_loop_over_members() -> None:
    net = network()
    x = torch.randn(3, 10, 5, generator=make_generator("cpu", 2))
    torch.testing.assert_close(net(x), loop(net, x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("chunk", [1, 4, 400])
def test_chunked_inference_equals_the_differentiable_path(activation: str, chunk: int) -> None:
    net = network(activation=activation)
    x = torch.randn(3, 10, 5, generator=make_generator("cpu", 2))
    before = x.clone()
    torch.testing.assert_close(net.infer(x, chunk_rows=chunk), net(x).detach(), rtol=0, atol=1e-6)
    assert torch.equal(x, before)
    members = torch.tensor([2, 0])
    torch.testing.assert_close(net.infer(x[:2], members, chunk), net(x[:2], members).detach(), rtol=0, atol=1e-6)
    torch.testing.assert_close(net(x[:2], members)[1], net(x[[1, 1, 1]])[0], rtol=0, atol=1e-6)


def test_a_batch_that_all_members_share_may_be_expanded() -> None:
    net = network()
    x = torch.randn(10, 5, generator=make_generator("cpu", 2)).expand(3, 10, 5)
    torch.testing.assert_close(net.infer(x, chunk_rows=4), loop(net, x).detach(), rtol=0, atol=1e-6)


@pytest.mark.check("coplanner-11")
def test_initial_weights_are_truncated_normal() -> None:
    net = StackedMLP(7, (200, 200, 200), "silu", make_generator("cpu", 3))
    sd = 1 / (2 * 200**0.5)
    for weight, bias in zip(net.weights, net.biases, strict=True):
        assert weight.abs().max() <= 2 * sd
        assert weight.abs().max() > 1.99 * sd
        assert weight.std().item() == pytest.approx(0.87963 * sd, rel=5e-3)
        assert not bias.any()


def test_truncated_normal_redraws_instead_of_clipping() -> None:
    values = truncated_normal((100_000,), 1.0, make_generator("cpu", 4))
    assert (values.abs() > 1.999).float().mean() < 1e-3  # clipping would put 4.6 % there


def test_bf16_rounds_hidden_products_and_keeps_the_output_float32() -> None:
    net = network()
    x = torch.randn(3, 10, 5, generator=make_generator("cpu", 2))
    exact = net(x)
    net.precision = "bf16"
    rough = net(x)
    assert rough.dtype is torch.float32
    assert torch.equal(net.infer(x), rough.detach())
    error = (rough - exact).abs().max()
    assert 1e-6 < error < 0.1
    rough.sum().backward()
    assert all(p.grad is not None and p.grad.dtype is torch.float32 for p in net.parameters())


def test_autocast_means_the_same_recipe() -> None:
    net = network()
    x = torch.randn(3, 10, 5, generator=make_generator("cpu", 2))
    with torch.autocast("cpu", torch.bfloat16):
        cast = net(x)
    net.precision = "bf16"
    assert torch.equal(cast, net(x))


def test_shapes_need_no_values() -> None:
    net = network().to("meta")
    assert net.infer(torch.empty(3, 10, 5, device="meta")).shape == (3, 10, 4)


def test_unknown_activation_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"StackedMLP\(activation=…\): expected one of silu, .* got 'swish'"):
        StackedMLP(1, SIZES, "swish", make_generator("cpu", 0))
