"""The tanh-Gaussian policy: densities to published numbers, bounds of log σ, sampling."""

from __future__ import annotations

import math

import pytest
import torch

from mbrl.data import RowGenerator, make_generator
from mbrl.errors import ConfigError, ShapeError, UnsupportedError
from mbrl.policies import Policy
from mbrl.policies.tanh_gaussian_policy import CHUNK, TanhGaussianPolicy, tanh_gaussian_log_prob

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def policy(**options: object) -> TanhGaussianPolicy:
    return TanhGaussianPolicy(3, 2, make_generator("cpu", "policy"), hidden=(16,), **options)


def standard(u: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
    """log π of `u` under μ = 0, σ = 1."""
    return tanh_gaussian_log_prob(u, u, torch.zeros_like(u), scale)


def ported(u: torch.Tensor) -> torch.Tensor:
    """The approximate form of several ports, log(1 − tanh²u + 1e-6)."""
    return (-0.5 * u.square() - 0.5 * math.log(2 * math.pi) - torch.log(1 - torch.tanh(u).square() + 1e-6)).sum(-1)


@pytest.mark.check("coplanner-2")
@BOTH
@pytest.mark.parametrize(("u", "expected"), [(0.0, -0.918939), (1.0, -0.551377), (3.0, -0.800282), (10.0, -32.305234)])
def test_log_density_has_the_published_values(u: float, expected: float, dtype: torch.dtype) -> None:
    tolerance = 2e-6 if dtype is torch.float64 else 4e-6  # published to six digits, the last one off by one at u = 10
    assert standard(torch.tensor([u], dtype=dtype)).item() == pytest.approx(expected, abs=tolerance)


@pytest.mark.check("coplanner-2")
@pytest.mark.parametrize(("dtype", "value"), [(torch.float64, -37.1116), (torch.float32, -37.1034)])
def test_density_is_the_exact_one_and_not_the_ports(dtype: torch.dtype, value: float) -> None:
    u = torch.tensor([10.0], dtype=dtype)
    assert ported(u).item() == pytest.approx(value, abs=1e-4)
    assert abs(standard(u).item() - value) > 4.0


def test_the_ports_form_is_off_by_a_nat_from_8_on() -> None:
    gap = [abs((standard(u) - ported(u)).item()) for u in torch.tensor([[7.0], [8.0]], dtype=torch.float64)]
    assert gap[0] < 0.3 and gap[1] > 1


@pytest.mark.check("coplanner-2")
@pytest.mark.parametrize(("mean", "sigma"), [(0.0, 1.0), (0.7, 0.3)])
def test_density_integrates_to_one(mean: float, sigma: float) -> None:
    edges = torch.linspace(-1, 1, 200_001, dtype=torch.float64)
    action = (edges[1:] + edges[:-1]) / 2
    u = torch.atanh(action).unsqueeze(-1)
    density = tanh_gaussian_log_prob(u, (u - mean) / sigma, torch.full_like(u, math.log(sigma))).exp()
    assert (density.sum() * (edges[1] - edges[0])).item() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.check("coplanner-3")
@BOTH
@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
def test_scale_shifts_the_log_density(scale: float, dtype: torch.dtype) -> None:
    u = torch.tensor([[0.3, -1.2], [2.0, 0.0]], dtype=dtype)
    shift = standard(u, scale) - standard(u)
    torch.testing.assert_close(shift, torch.full((2,), -2 * math.log(scale), dtype=dtype))


@pytest.mark.check("coplanner-3")
def test_scale_of_humanoid_shifts_the_entropy_by_15_nats() -> None:
    u = torch.zeros(1, 17, dtype=torch.float64)
    assert (standard(u, 0.4) - standard(u)).item() == pytest.approx(15.58, abs=0.005)


@pytest.mark.check("coplanner-6")
@BOTH
def test_log_sigma_is_clipped_at_its_ends(dtype: torch.dtype) -> None:
    made = policy().to(dtype)
    with torch.no_grad():
        made.head_weight.zero_()
        made.head_bias.copy_(torch.tensor([0.0, 0.0, 100.0, -100.0]))
    sigma = made.distribution(torch.zeros(1, 3, dtype=dtype))[1].exp()[0]
    torch.testing.assert_close(sigma, torch.tensor([math.exp(2), math.exp(-20)], dtype=dtype))


def test_tanh_squashes_log_sigma_and_keeps_its_gradient() -> None:
    for name, some in (("clip", False), ("tanh", True)):
        made = policy(log_sigma=name, log_sigma_range=(-5.0, 2.0))
        with torch.no_grad():
            made.head_bias.fill_(4.0)
        log_sigma = made.distribution(torch.zeros(1, 3))[1]
        (gradient,) = torch.autograd.grad(log_sigma.sum(), made.head_bias)
        assert bool((gradient[2:] != 0).all()) is some
        assert (log_sigma < 2.0).all().item() is some


@BOTH
def test_sample_is_what_its_log_probability_says(dtype: torch.dtype) -> None:
    made = policy().to(dtype)
    obs = torch.randn(5, 3, generator=make_generator("cpu", "obs"), dtype=dtype)
    action, log_prob = made.sample(obs, make_generator("cpu", "noise"))
    mean, log_sigma = made.distribution(obs)
    u = torch.atanh(action)
    normal = torch.distributions.Normal(mean, log_sigma.exp(), validate_args=False)
    expected = (normal.log_prob(u) - torch.log(1 - action.square())).sum(-1)
    tolerance = 1e-9 if dtype is torch.float64 else 1e-4
    torch.testing.assert_close(log_prob, expected, atol=tolerance, rtol=tolerance)
    assert action.dtype is log_prob.dtype is dtype


@BOTH
def test_log_prob_of_a_sample_is_what_sample_says(dtype: torch.dtype) -> None:
    made = policy().to(dtype)
    obs = torch.randn(4, 50, 3, generator=make_generator("cpu", "obs"), dtype=dtype)
    action, said = made.sample(obs, make_generator("cpu", "noise"))
    inside = (action.abs() < 0.99).all(-1)
    assert inside.sum() > 100
    torch.testing.assert_close(made.log_prob(obs, action)[inside], said[inside], atol=1e-5, rtol=1e-5)


@BOTH
def test_log_prob_is_finite_at_the_edge(dtype: torch.dtype) -> None:
    """±1 counts as the next number towards 0."""
    made = policy().to(dtype)
    action = torch.tensor([[1.0, -1.0], [1.0, 1.0]], dtype=dtype, requires_grad=True)
    log_prob = made.log_prob(torch.zeros(2, 3, dtype=dtype), action)
    near = torch.nextafter(action.detach(), torch.zeros(2, 2, dtype=dtype))
    assert torch.equal(log_prob, made.log_prob(torch.zeros(2, 3, dtype=dtype), near))
    (gradient,) = torch.autograd.grad(log_prob.sum(), action)
    assert torch.isfinite(log_prob).all() and torch.equal(gradient, torch.zeros_like(gradient))


def test_a_sequence_holds_its_first_action() -> None:
    made, obs = policy(), torch.randn(2, 4, 3, generator=make_generator("cpu", "obs"))
    first, said = made.sample(obs, make_generator("cpu", "noise"))
    action, log_prob = made.sequence(obs, None, 3, make_generator("cpu", "noise"))
    mode = made.mode_sequence(obs, None, 3)
    assert action.shape == mode.shape == (2, 4, 3, 2)
    for j in range(3):
        assert torch.equal(action[:, :, j], first) and torch.equal(mode[:, :, j], made.mode(obs))
    assert torch.equal(log_prob, torch.stack((said, 0 * said, 0 * said), -1))


def test_a_policy_without_log_prob_says_so() -> None:
    class Silent(TanhGaussianPolicy):
        log_prob = Policy.log_prob

    made = Silent(3, 2, make_generator("cpu", "policy"), hidden=(16,))
    with pytest.raises(UnsupportedError, match="Silent can't say how likely an action is, since it has no method log_prob"):
        made.log_prob(torch.zeros(1, 3), torch.zeros(1, 2))


def test_mode_is_the_tanh_of_the_mean_and_the_median_of_samples() -> None:
    made = policy()
    obs = torch.randn(1, 3, generator=make_generator("cpu", "obs"))
    actions = made.sample(obs.expand(4001, 3), make_generator("cpu", "noise"))[0]
    torch.testing.assert_close(made.mode(obs)[0], actions.median(0).values, atol=0.05, rtol=0)


def test_gradients_of_a_sample_agree_with_differences() -> None:
    made = policy().double()
    obs = torch.randn(2, 3, generator=make_generator("cpu", "obs"), dtype=torch.float64)
    bias = made.head_bias.detach().clone().requires_grad_()

    def sampled(value: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.func.functional_call(_Sampler(made), {"policy.head_bias": value}, (obs, make_generator("cpu", "noise")))

    assert torch.autograd.gradcheck(sampled, (bias,))


class _Sampler(torch.nn.Module):
    def __init__(self, policy: TanhGaussianPolicy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, obs: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        return self.policy.sample(obs, generator)


def test_leading_dims_are_free() -> None:
    made = policy()
    obs = torch.randn(2, 4, 3, generator=make_generator("cpu", "obs"))
    action, log_prob = made.sample(obs, make_generator("cpu", "noise"))
    flat_action, flat_log_prob = made.sample(obs.view(8, 3), make_generator("cpu", "noise"))
    assert action.shape == (2, 4, 2)
    assert log_prob.shape == (2, 4)
    assert made.mode(obs).shape == (2, 4, 2)
    torch.testing.assert_close(action.view(8, 2), flat_action)
    torch.testing.assert_close(log_prob.view(8), flat_log_prob)
    single, _ = made.sample(obs[0, 0], make_generator("cpu", "noise"))
    assert single.shape == (2,)


def test_chunks_without_gradients_change_nothing() -> None:
    made = policy()
    obs = torch.randn(2 * CHUNK + 7, 3, generator=make_generator("cpu", "obs"))
    with torch.no_grad():
        chunked = made.sample(obs, make_generator("cpu", "noise"))
    whole = made.sample(obs, make_generator("cpu", "noise"))
    for one, other in zip(chunked, whole, strict=True):
        torch.testing.assert_close(one, other)


def test_dropped_rows_leave_the_others_their_noise() -> None:
    made = policy()
    obs = torch.randn(6, 3, generator=make_generator("cpu", "obs"))
    keep = torch.tensor([0, 3, 5])
    full, _ = made.sample(obs, RowGenerator(make_generator("cpu", "noise"), 6))
    part, _ = made.sample(obs[keep], RowGenerator(make_generator("cpu", "noise"), 6).select(keep))
    torch.testing.assert_close(part, full[keep])


def test_frozen_passes_gradients_to_observations_only() -> None:
    made = policy()
    obs = torch.randn(4, 3, generator=make_generator("cpu", "obs"), requires_grad=True)
    made.distribution(obs, frozen=True)[0].sum().backward()
    assert obs.grad is not None
    assert all(parameter.grad is None for parameter in made.parameters())


def test_same_generator_same_weights() -> None:
    for one, other in zip(policy().parameters(), policy().parameters(), strict=True):
        assert torch.equal(one, other)


def test_refusals() -> None:
    with pytest.raises(ShapeError, match=r"TanhGaussianPolicy\(obs\): expected shape B x 3, got 5 x 4"):
        policy().mode(torch.zeros(5, 4))
    with pytest.raises(ConfigError, match=r"\(log_sigma=…\): expected one of clip, tanh, got 'soft'"):
        policy(log_sigma="soft")
    with pytest.raises(ConfigError, match=r"\(log_sigma_range=…\): expected a list of 2, rising, .* got \(2, -20\)"):
        policy(log_sigma_range=(2, -20))
    with pytest.raises(ConfigError, match=r"TanhGaussianPolicy\(hidden=…\): expected a list of at least 1, .* got \(\)"):
        TanhGaussianPolicy(3, 2, make_generator("cpu"), hidden=())


def test_several_samples_of_each_state_cost_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Expanded observations give what copies give, and the network sees each state once."""
    made = policy()
    obs = torch.randn(4, 3, generator=make_generator("cpu", "obs"))
    copies, copied = made.sample(obs.repeat(5, 1, 1), make_generator("cpu", 0))
    seen: list[torch.Size] = []
    heads = TanhGaussianPolicy._heads
    monkeypatch.setattr(
        TanhGaussianPolicy, "_heads", lambda self, rows, frozen: (seen.append(rows.shape), heads(self, rows, frozen))[1]
    )
    actions, log_probs = made.sample(obs.expand(5, 4, 3), make_generator("cpu", 0))
    assert seen == [(4, 3)]
    assert actions.shape == (5, 4, 2) and len(actions.unique(dim=0)) == 5
    assert torch.allclose(actions, copies, atol=1e-6) and torch.allclose(log_probs, copied, atol=1e-5)
