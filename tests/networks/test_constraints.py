"""Lipschitz constraints of stacked weights: exact small cases, and the bounds that they promise."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch

from mbrl.data import make_generator
from mbrl.errors import ConfigError
from mbrl.networks import (
    ACTIVATION_SLOPES,
    ACTIVATIONS,
    JacobianPenalty,
    LipMLP,
    LipschitzConstraint,
    Orthogonal,
    SpectralClip,
    SpectralNorm,
    StackedMLP,
    group_sort,
    neighbour_slope,
    orthonormal,
)
from mbrl.networks.constraints.jacobian_penalty import steepness

SIZES = (6, 32, 32, 4)
HARD = [SpectralClip(2.0), SpectralNorm(2.0), Orthogonal(2.0)]
ALL = [*HARD, LipMLP(1e-3), JacobianPenalty(budget=2.0)]


def network(
    constraint: LipschitzConstraint | None, sizes: tuple[int, ...] = SIZES, members: int = 3, columns: int | None = None
) -> StackedMLP:
    wanted = None if constraint is None else constraint.activation
    return StackedMLP(members, sizes, wanted or "relu", make_generator("cpu", 0), constraint, columns)


def grown(net: StackedMLP, factor: float = 5.0) -> StackedMLP:
    """The network with large raw weights that nobody has followed yet."""
    generator = make_generator("cpu", 1)
    with torch.no_grad():
        for weight in net.weights:
            weight.copy_(factor * torch.randn(weight.shape, generator=generator))
    return net


def refreshed(net: StackedMLP) -> StackedMLP:
    assert net.constrained is not None
    net.constrained.refresh(list(net.weights))
    return net


def norms(weight: torch.Tensor) -> torch.Tensor:
    return torch.linalg.matrix_norm(weight.detach(), 2)


def diagonal(*entries: float, members: int = 1) -> torch.Tensor:
    return torch.diag(torch.tensor(entries, dtype=torch.float32)).expand(members, -1, -1).clone()


@pytest.mark.check("lipschitz-D10")
def test_a_spectral_norm_is_divided_by_or_clipped() -> None:
    weight = diagonal(3.0, 1.0)
    for budget, made in ((1.0, (1, 1 / 3)), (2.0, (2, 2 / 3))):
        layers = SpectralNorm(budget).constrain([weight], "relu")
        torch.testing.assert_close(layers([weight])[0], diagonal(*made))
    for budget, made in ((4.0, (3, 1)), (2.0, (2, 2 / 3))):
        layers = SpectralClip(budget).constrain([weight], "relu")
        torch.testing.assert_close(layers([weight])[0], diagonal(*made))


@pytest.mark.check("lipschitz-D11")
def test_each_member_has_its_own_norm() -> None:
    weight = diagonal(3.0, 1.0, members=7)
    weight[3] *= 10
    made = SpectralNorm(1.0).constrain([weight], "relu")([weight])[0]
    torch.testing.assert_close(norms(made), torch.ones(7))
    torch.testing.assert_close(norms(SpectralClip(1.0).constrain([weight], "relu")([weight])[0]), torch.ones(7))


@pytest.mark.check("lipschitz-D12")
@pytest.mark.parametrize("constraint", HARD, ids=lambda part: type(part).__name__)
def test_the_product_of_exact_norms_keeps_the_budget_and_no_pair_exceeds_it(
    constraint: LipschitzConstraint,
) -> None:
    net = refreshed(grown(network(constraint)))
    bound = net.constrained.bound(list(net.weights))  # type: ignore[union-attr]
    assert bool((bound <= 2.0 * (1 + 1e-5)).all())
    assert bool((bound >= 2.0 * (1 - 1e-5)).all())  # all of it is there to be used: the raw weights are large
    product = torch.stack([norms(weight) for weight in net.used_weights()]).prod(0)
    torch.testing.assert_close(product.double(), bound, rtol=1e-5, atol=0)
    x, y = torch.randn(2, 3, 10_000, 6, generator=make_generator("cpu", 2))
    with torch.no_grad():
        slope = (net(x) - net(y)).norm(dim=-1) / (x - y).norm(dim=-1)
    assert float(slope.max()) <= 2.0 * (1 + 1e-5)
    assert float(slope.max()) > 0.01


def test_one_step_of_power_iteration_an_update_follows_the_weights() -> None:
    net = refreshed(grown(network(SpectralClip(2.0)), 1.0))
    layers = net.constrained
    assert layers is not None
    generator = make_generator("cpu", 3)
    for _ in range(200):
        with torch.no_grad():
            for weight in net.weights:
                weight.add_(torch.randn(weight.shape, generator=generator), alpha=1e-4)
        layers.advance(list(net.weights))
    near = float(layers.bound(list(net.weights)).max())
    assert near <= 2.0 * 1.01
    with torch.no_grad():
        for weight in net.weights:
            weight.copy_(torch.randn(weight.shape, generator=generator))
    assert float(layers.bound(list(net.weights)).max()) > 2.5  # weights from elsewhere are not followed…
    layers.refresh(list(net.weights))
    assert float(layers.bound(list(net.weights)).max()) <= 2.0 * (1 + 1e-5)  # …until they are looked at


@pytest.mark.parametrize("constraint", ALL, ids=lambda part: type(part).__name__)
def test_only_the_first_columns_of_the_last_layer_are_constrained(constraint: LipschitzConstraint) -> None:
    net = refreshed(grown(network(constraint, columns=2)))
    used = net.used_weights()[-1]
    assert torch.equal(used[..., 2:], net.weights[-1][..., 2:])
    if constraint in HARD:
        assert not torch.equal(used[..., :2], net.weights[-1][..., :2])
        share = math.pow(2.0, 1 / 3)
        torch.testing.assert_close(norms(used[..., :2]), torch.full((3,), share), rtol=1e-5, atol=0)


@pytest.mark.parametrize("constraint", ALL, ids=lambda part: type(part).__name__)
def test_inference_equals_the_differentiable_path_and_all_members_get_gradients(constraint: LipschitzConstraint) -> None:
    net = refreshed(grown(network(constraint)))
    x = torch.randn(3, 10, 6, generator=make_generator("cpu", 2))
    said = net(x)
    torch.testing.assert_close(net.infer(x, chunk_rows=4), said.detach(), rtol=1e-5, atol=1e-6)
    said.square().sum().backward()
    for weight in net.weights:
        assert weight.grad is not None
        assert bool(torch.isfinite(weight.grad).all())
        assert bool((weight.grad.abs().sum((1, 2)) > 0).all())


@pytest.mark.parametrize("largest", [1.0, torch.inf])
def test_the_gradient_passes_through_the_norm_as_through_a_singular_value(largest: float) -> None:
    weight = torch.randn(2, 4, 3, generator=make_generator("cpu", 1), dtype=torch.float64).requires_grad_()
    kind = SpectralClip if largest == 1.0 else SpectralNorm
    layers = kind(1.2).constrain([weight.detach()], "relu").double()
    layers.refresh([weight.detach()])
    goal = torch.randn(2, 4, 3, generator=make_generator("cpu", 2), dtype=torch.float64)
    exact = weight * (1.2 / torch.linalg.matrix_norm(weight, 2)).clamp_max(largest).view(2, 1, 1)
    (wanted,) = torch.autograd.grad((exact * goal).sum(), weight)
    (got,) = torch.autograd.grad((layers([weight])[0] * goal).sum(), weight)
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("kind", [SpectralClip, SpectralNorm, Orthogonal])
def test_an_unknown_budget_constrains_nothing_until_it_is_set(kind: type[LipschitzConstraint]) -> None:
    net = refreshed(grown(network(kind())))
    layers = net.constrained
    assert layers is not None
    if kind is not Orthogonal:
        for used, raw in zip(net.used_weights(), net.weights, strict=True):
            torch.testing.assert_close(used, raw)
    net(torch.randn(3, 4, 6)).sum().backward()
    assert all(bool(torch.isfinite(weight.grad).all()) for weight in net.weights)
    layers.set_budget(3.0)
    assert float(layers.bound(list(net.weights)).max()) == pytest.approx(3.0, rel=1e-5)


@pytest.mark.check("lipschitz-D13")
def test_sorting_pairs_keeps_norms_and_an_orthogonal_net_keeps_all_singular_values_at_one() -> None:
    assert group_sort(torch.tensor([3.0, 1.0, -2.0, 5.0])).tolist() == [3, 1, 5, -2]
    x = torch.randn(10, 8, generator=make_generator("cpu", 1))
    assert torch.equal(group_sort(x).sort(-1)[0], x.sort(-1)[0])
    net = grown(StackedMLP(1, (8, 8, 8, 8), "groupsort", make_generator("cpu", 0), Orthogonal(1.0)), 1.0)
    jacobian = torch.autograd.functional.jacobian(lambda row: net(row.view(1, 1, 8)).view(8), x[0])
    torch.testing.assert_close(torch.linalg.svdvals(jacobian), torch.ones(8), rtol=0, atol=1e-5)


@pytest.mark.check("lipschitz-D14")
def test_sorting_represents_the_absolute_value_exactly() -> None:
    x = torch.linspace(-3, 3, 13).view(1, -1, 1)
    first, second = torch.tensor([[[1.0, -1.0]]]) / 2**0.5, torch.tensor([[[1.0], [-1.0]]]) / 2**0.5
    torch.testing.assert_close(norms(first), torch.ones(1))
    torch.testing.assert_close(ACTIVATIONS["groupsort"](x @ first, False) @ second, x.abs())


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
def test_orthonormal_factors_are_orthonormal_and_of_each_member_alone(shape: tuple[int, int]) -> None:
    weight = torch.randn(2, *shape, generator=make_generator("cpu", 1), dtype=torch.float64)
    factor = orthonormal(weight)
    product = factor.mT @ factor if shape[0] >= shape[1] else factor @ factor.mT
    torch.testing.assert_close(product, torch.eye(min(shape), dtype=torch.float64).expand(2, -1, -1))
    torch.testing.assert_close(orthonormal(weight[1:]), factor[1:])
    torch.testing.assert_close(orthonormal(factor), factor)  # what is orthonormal stays
    assert torch.autograd.gradcheck(orthonormal, (weight.requires_grad_(),))


def test_a_learned_bound_holds_in_the_largest_norm_and_starts_at_the_weights_own() -> None:
    net = network(LipMLP(0.5))
    layers = net.constrained
    assert layers is not None
    for used, raw in zip(net.used_weights(), net.weights, strict=True):
        torch.testing.assert_close(used, raw)  # softplus(c) is the largest sum to begin with
    sums = torch.stack([weight.abs().sum(1).amax(-1) for weight in net.weights]).prod(0)
    torch.testing.assert_close(layers.product(), sums)  # type: ignore[operator]
    penalty = layers.penalty(net, torch.zeros(3, 2, 6))
    torch.testing.assert_close(penalty, 0.5 * sums.sum())
    grown(net)
    used = net.used_weights()
    largest = torch.stack([weight.abs().sum(1).amax(-1) for weight in used]).prod(0)
    torch.testing.assert_close(largest, sums)  # the raw weights grew, their bound didn't
    x, y = torch.randn(2, 3, 1000, 6, generator=make_generator("cpu", 2))
    slope = (net(x) - net(y)).abs().amax(-1) / (x - y).abs().amax(-1)
    assert bool((slope.amax(-1) <= sums * (1 + 1e-5)).all())
    penalty.backward()
    assert all(bool((c.grad > 0).all()) for c in layers.raw_limits)  # type: ignore[union-attr]


@pytest.mark.check("lipschitz-D20")
def test_a_random_direction_sees_the_mean_square_and_power_iteration_the_steepest() -> None:
    generator = make_generator("cpu", 1)
    jacobian = torch.randn(3, 4, generator=generator, dtype=torch.float64)  # D x in
    points = torch.zeros(1, 200_000, 4, dtype=torch.float64, requires_grad=True)
    seen = steepness(points @ jacobian.T, points, 0, generator).square().mean()
    assert float(seen) == pytest.approx(float(jacobian.square().sum()) / 3, rel=0.01)
    points = torch.zeros(1, 5, 4, dtype=torch.float64, requires_grad=True)
    steepest = steepness(points @ jacobian.T, points, 50, generator)
    torch.testing.assert_close(steepest, torch.full((1, 5), float(torch.linalg.matrix_norm(jacobian, 2))).double())


@pytest.mark.check("lipschitz-D20")
def test_the_penalty_is_one_sided_and_exact_for_a_multiple_of_a_rotation() -> None:
    rotation = orthonormal(torch.randn(2, 4, 4, generator=make_generator("cpu", 1)))
    for size, budget, charge in ((3.0, 2.0, 1.0), (3.0, 3.5, 0.0), (3.0, 1.0, 4.0)):
        layers = JacobianPenalty(0.5, budget).constrain([size * rotation], "relu")
        x = torch.randn(2, 7, 4, generator=make_generator("cpu", 2))
        charged = layers.penalty(lambda rows, size=size: rows @ (size * rotation), x)
        assert float(charged) == pytest.approx(0.5 * charge * 2, abs=1e-5)  # two members are summed


@pytest.mark.check("lipschitz-D19")
def test_a_unit_norm_layer_is_as_steep_as_its_input_is_short() -> None:
    for length in (0.1, 1.0, 10.0):
        points = torch.nn.functional.normalize(torch.randn(1, 6, 3, generator=make_generator("cpu", 1)), dim=-1) * length
        points.requires_grad_()
        said = torch.nn.functional.normalize(points, dim=-1)
        slopes = steepness(said, points, 30, make_generator("cpu", 2))
        torch.testing.assert_close(slopes, torch.full((1, 6), 1 / length), rtol=1e-4, atol=0)


def test_the_penalty_reaches_the_weights_draws_anew_and_goes_on_where_it_stopped() -> None:
    net = grown(network(JacobianPenalty(1.0, 0.1)), 1.0)
    x = torch.randn(3, 8, 6, generator=make_generator("cpu", 2))
    layers = net.constrained
    assert layers is not None
    first = layers.penalty(net, x)
    assert first is not None
    first.backward()
    assert all(float(weight.grad.abs().sum()) > 0 for weight in net.weights)
    state = copy.deepcopy(net.state_dict())
    second = layers.penalty(net, x)
    assert second is not None
    assert not torch.equal(second, first)
    net.load_state_dict(state)
    assert torch.equal(layers.penalty(net, x), second)  # type: ignore[arg-type]


@pytest.mark.check("lipschitz-D18")
@pytest.mark.parametrize("name", sorted(ACTIVATION_SLOPES))
def test_activation_slopes_are_the_steepest_places(name: str) -> None:
    if name == "groupsort":  # its Jacobian is a permutation
        return
    x = torch.linspace(-12, 12, 400_001, dtype=torch.float64, requires_grad=True)
    ACTIVATIONS[name](x, False).sum().backward()  # type: ignore[index]
    assert float(x.grad.abs().max()) == pytest.approx(ACTIVATION_SLOPES[name], abs=1e-4)  # type: ignore[index, union-attr]


def test_the_activations_slope_is_part_of_the_bound() -> None:
    net = StackedMLP(2, SIZES, "silu", make_generator("cpu", 0), SpectralClip(2.0))
    refreshed(grown(net))
    assert net.constrained is not None
    torch.testing.assert_close(net.constrained.bound(list(net.weights)), torch.full((2,), 2.0).double(), rtol=1e-5, atol=0)
    hidden = norms(net.used_weights()[0])
    torch.testing.assert_close(hidden, torch.full((2,), 2 ** (1 / 3) / 1.0998394), rtol=1e-5, atol=0)


@pytest.mark.check("lipschitz-D23")
@pytest.mark.parametrize("constraint", ALL, ids=lambda part: type(part).__name__)
def test_a_state_dict_restores_the_outputs_bit_for_bit(constraint: LipschitzConstraint) -> None:
    net = refreshed(grown(network(constraint)))
    x = torch.randn(3, 10, 6, generator=make_generator("cpu", 2))
    with torch.no_grad():
        before = net(x)
        other = network(constraint)
        other.load_state_dict(net.state_dict())
        assert torch.equal(other(x), before)
        for copied in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
            assert torch.equal(copied(x), before)
        if constraint in HARD:  # raw weights from elsewhere: the bound holds again once they have been looked at
            refreshed(grown(other, 9.0))
            assert float(other.constrained.bound(list(other.weights)).max()) <= 2.0 * (1 + 1e-5)  # type: ignore[union-attr]


def test_a_zero_weight_stays_zero_and_finite() -> None:
    for constraint in HARD[:2]:
        net = network(constraint)
        with torch.no_grad():
            net.weights[0].zero_()
        refreshed(net)
        out = net(torch.randn(3, 4, 6))
        out.sum().backward()
        assert bool(torch.isfinite(out).all())
        assert all(bool(torch.isfinite(weight.grad).all()) for weight in net.weights)


def test_what_a_constraint_cannot_work_with_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected the activation groupsort between layers, got silu; set activation to"):
        StackedMLP(2, SIZES, "silu", make_generator("cpu", 0), Orthogonal(1.0))
    with pytest.raises(ConfigError, match="expected even widths beside groupsort, which sorts units in pairs, got 31"):
        StackedMLP(2, (6, 31, 4), "groupsort", make_generator("cpu", 0))
    for budget in (0.0, -1.0, math.inf, math.nan, "much"):
        with pytest.raises(ConfigError, match=r"SpectralClip\(budget"):
            SpectralClip(budget)  # type: ignore[arg-type]


def test_neighbour_slopes_are_those_of_a_linear_map_in_any_rotation() -> None:
    generator = make_generator("cpu", 1)
    x = torch.randn(5000, 2, generator=generator)
    assert neighbour_slope(x, 3 * x, generator) == pytest.approx(3.0, rel=1e-5)
    skewed = x @ torch.diag(torch.tensor([4.0, 0.0]))
    assert 3.8 < neighbour_slope(x, skewed, generator) <= 4.0 + 1e-5  # most neighbours lie along neither axis
    noisy = 3 * x + 1e-3 * torch.randn(5000, 2, generator=generator)
    doubled = torch.cat((x, x)), torch.cat((noisy, 3 * x))  # each row twice, with other noise
    assert neighbour_slope(*doubled, generator) < 3.5
    assert neighbour_slope(x[:1].expand(10, 2), x[:10], generator) == 0.0


@pytest.mark.parametrize(("budget", "norm"), [(0.5, False), (50.0, False), (0.5, True), (50.0, True), (None, False)])
def test_the_gradient_of_a_scaled_weight_is_that_of_its_formula(budget: float | None, norm: bool) -> None:
    generator = make_generator("cpu", 7)
    weights = [torch.randn(2, 4, 3, generator=generator, dtype=torch.float64) for _ in range(2)]
    constraint = SpectralNorm("auto" if budget is None else budget) if norm else SpectralClip(budget or "auto")
    layers = constraint.constrain([weights[0], weights[1].mT], "relu").double()
    limit = torch.tensor(torch.inf if budget is None else budget, dtype=torch.float64).sqrt()

    def plainly(weight: torch.Tensor) -> torch.Tensor:
        left, right = layers.get_buffer("left0"), layers.get_buffer("right0")
        if budget is None:
            return weight
        factor = limit / (left.mT @ weight @ right)
        return weight * (factor if norm else factor.clamp(max=1.0))

    at = weights[0].clone().requires_grad_()
    push = torch.randn(at.shape, generator=generator, dtype=torch.float64)
    found, wanted = layers.layer(0, at, limit), plainly(at)
    torch.testing.assert_close(found, wanted)
    ours, theirs = (torch.autograd.grad((each * push).sum(), at)[0] for each in (found, wanted))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("constraint", [SpectralClip(1.0), SpectralNorm(1.0)], ids=lambda part: type(part).__name__)
def test_a_weight_of_zeros_has_a_finite_gradient(constraint: SpectralClip | SpectralNorm) -> None:
    layers = constraint.constrain([torch.zeros(1, 3, 3), torch.zeros(1, 3, 1)], "relu")
    at = torch.zeros(1, 3, 3, requires_grad=True)
    layers.layer(0, at, torch.tensor(1.0)).sum().backward()
    assert at.grad is not None and not bool(at.grad.isnan().any())
