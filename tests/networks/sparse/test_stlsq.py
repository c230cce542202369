"""The sparse regression against its definition, and against pysindy's."""

from __future__ import annotations

import warnings
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from mbrl.data import make_generator
from mbrl.networks import Library
from mbrl.networks.sparse import terms_of
from mbrl.networks.sparse.regression import Fit, Settings, regress
from mbrl.networks.sparse.stlsq import Factored, NormalEquations, stlsq

PLAIN: dict[str, Any] = {"threshold": 0.05, "alpha": 0.1, "unbias": True, "normalize": False, "members": 1}


def problem(rows: int = 600, columns: int = 14, targets: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    noise = make_generator("cpu", 0, "stlsq")
    theta = torch.randn(rows, columns, generator=noise, dtype=torch.float64)
    truth = torch.randn(columns, targets, generator=noise, dtype=torch.float64)
    truth *= torch.rand(columns, targets, generator=noise, dtype=torch.float64) > 0.5
    return theta, theta @ truth * 0.1 + 0.05 * torch.randn(rows, targets, generator=noise, dtype=torch.float64)


def normal(theta: torch.Tensor, y: torch.Tensor) -> NormalEquations:
    return NormalEquations((theta.T @ theta)[None], (theta.T @ y)[None])


def by_hand(theta: np.ndarray, y: np.ndarray, threshold: float, alpha: float, unbias: bool) -> np.ndarray:
    """The definition, column by column."""
    found = np.zeros((theta.shape[1], y.shape[1]))
    for column in range(y.shape[1]):
        there = np.ones(theta.shape[1], dtype=bool)
        for _ in range(20):
            left = np.vstack((theta[:, there], np.sqrt(alpha) * np.eye(there.sum())))
            solved = np.linalg.lstsq(left, np.append(y[:, column], np.zeros(there.sum())), rcond=None)[0]
            found[:, column] = 0
            found[there, column] = np.where(np.abs(solved) >= threshold, solved, 0)
            if (found[:, column] != 0).sum() == there.sum():
                break
            there = found[:, column] != 0
        if unbias:
            found[there, column] = np.linalg.lstsq(theta[:, there], y[:, column], rcond=None)[0]
    return found


@pytest.mark.check("sindy-3")
@pytest.mark.parametrize(("threshold", "alpha", "unbias"), [(0.02, 1.0, True), (0.02, 1.0, False), (0.05, 0.1, False)])
def test_it_is_its_definition_and_pysindys(threshold: float, alpha: float, unbias: bool) -> None:
    from pysindy import STLSQ

    theta, y = problem()
    every = torch.ones(1, 14, dtype=torch.bool)
    theirs = STLSQ(threshold=threshold, alpha=alpha, unbias=unbias).fit(theta.numpy(), y.numpy()).coef_.T
    expected = by_hand(theta.numpy(), y.numpy(), threshold, alpha, unbias)
    factor = torch.linalg.qr(torch.cat((theta, y), 1), mode="r").R
    assert (theirs == 0).any()
    for system in (normal(theta, y), Factored(factor[None], 14)):
        found = stlsq(system, every, threshold, alpha, unbias)[0].numpy()
        np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(found == 0, theirs == 0)


@pytest.mark.check("sindy-3")
@pytest.mark.parametrize(("unbias", "expected"), [(False, 28 / 15), (True, 2.0)])
def test_a_ridge_of_one_column(unbias: bool, expected: float) -> None:
    x = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
    found = stlsq(normal(x, 2 * x), torch.ones(1, 1, dtype=torch.bool), 0.0, 1.0, unbias)
    assert found.item() == pytest.approx(expected, abs=1e-14)


@pytest.mark.check("sindy-4")
def test_a_coefficient_at_the_threshold_stays_and_all_below_are_zeros() -> None:
    x = torch.eye(2, dtype=torch.float64)
    y = torch.tensor([[0.5], [0.25]], dtype=torch.float64)
    every = torch.ones(1, 2, dtype=torch.bool)
    assert stlsq(normal(x, y), every, 0.5, 0.0)[0, :, 0].tolist() == [0.5, 0.0]
    assert stlsq(normal(x, y), every, 0.25, 0.0)[0, :, 0].tolist() == [0.5, 0.25]
    assert stlsq(normal(x, y), every, 0.6, 0.0)[0, :, 0].tolist() == [0.0, 0.0]


def test_members_and_targets_are_solved_as_if_each_were_alone() -> None:
    theta, y = problem(200, 9, 4)
    weights = torch.rand(5, 200, generator=make_generator("cpu", 1), dtype=torch.float64)
    allowed = torch.rand(5, 9, generator=make_generator("cpu", 2)) > 0.2
    grams = torch.stack([(theta.T * w) @ theta for w in weights])
    moments = torch.stack([(theta.T * w) @ y for w in weights])
    found = stlsq(NormalEquations(grams, moments), allowed, 0.05, 0.1)
    for member, target in product(range(5), range(4)):
        alone = NormalEquations(grams[member : member + 1], moments[member : member + 1, :, target : target + 1])
        one = stlsq(alone, allowed[member : member + 1], 0.05, 0.1)[0, :, 0]
        torch.testing.assert_close(found[member, :, target], one, rtol=1e-10, atol=1e-12)
    assert (found[~allowed] == 0).all()


def fit(z: torch.Tensor, y: torch.Tensor, library: Library | None = None, **settings: Any) -> Fit:
    terms = terms_of(library or Library(), z.shape[1], 0)
    moves = torch.ones(y.shape[1], dtype=torch.bool)
    return regress("test", terms, z, y, moves, Settings(**{**PLAIN, **settings}), make_generator("cpu", 0))


def test_a_nearly_collinear_library_goes_another_way_and_finds_the_same_as_pysindy() -> None:
    from pysindy import STLSQ

    x = torch.randn(400, 2, generator=make_generator("cpu", 3), dtype=torch.float64)
    x[:, 1] = x[:, 0] + 2e-6 * x[:, 1]
    y = x[:, :1] + 0.3 * x[:, 1:]
    found = fit(x, y, Library(degree=1, bias=False), threshold=1e-3, alpha=1e-13)
    theirs = STLSQ(threshold=1e-3, alpha=1e-13, unbias=True).fit(x.numpy(), y.numpy()).coef_.T
    assert 5e5 < found.condition < 2e6 and not found.redundant
    found = fit(x, y, Library(degree=1, bias=False), threshold=1e-3, alpha=0.0)
    torch.testing.assert_close(found.coefficients[0], torch.from_numpy(theirs).double(), atol=1e-4, rtol=0)


def test_redundant_terms_are_left_out_by_their_place() -> None:
    angle = torch.linspace(0, 6, 300, dtype=torch.float64)
    z = torch.stack((angle.cos(), angle.sin()), 1).float().double()
    found = fit(z, 2 + z[:, :1])
    assert found.redundant == [5] and (found.coefficients[0, :, 0].abs() > 0.05).tolist() == [True, True] + [False] * 4
    assert not found.present[0, 5]
    without = fit(z, 2 + z[:, :1], Library(bias=False))
    assert without.redundant == [] and without.condition < 10
    still = torch.cat((z, torch.full_like(z[:, :1], 7.0)), 1)  # 1, x0, x1, x2, x0², x0 x1, x0 x2, x1², x1 x2, x2²
    assert fit(still, z).redundant == [3, 6, 7, 8, 9]
    assert fit(torch.zeros(50, 1, dtype=torch.float64), torch.ones(50, 1, dtype=torch.float64)).redundant == [1, 2]


def test_units_count_for_nothing_when_normalised() -> None:
    z = torch.randn(500, 2, generator=make_generator("cpu", 4), dtype=torch.float64)
    y = 0.3 * z[:, :1] - 0.2 * z[:, :1] * z[:, 1:] + 0.001 * z[:, 1:]
    scale = torch.tensor([1e7, 1e-9], dtype=torch.float64)
    one, other = (fit(z * s, y * t, normalize=True, threshold=0.01, alpha=0.0) for s, t in ((1.0, 1.0), (scale, 1e4)))
    assert ((one.coefficients != 0) == (other.coefficients != 0)).all() and (one.coefficients != 0).sum() == 2
    torch.testing.assert_close(one.coefficients, other.coefficients, rtol=1e-9, atol=1e-12)


def test_few_rows_are_refused() -> None:
    from mbrl.errors import DataError

    z = torch.randn(5, 2, generator=make_generator("cpu", 5), dtype=torch.float64)
    with pytest.raises(DataError, match="test: expected at least as many rows as the library has terms, 6, got 5; collect"):
        fit(z, z)


@pytest.mark.check("sindy-8")
def test_a_second_fit_knows_nothing_of_the_first() -> None:
    """pysindy's ensemble keeps the first fit's number of rows, and adds to its members."""
    from pysindy import STLSQ
    from pysindy.optimizers import EnsembleOptimizer

    z = torch.randn(5000, 2, generator=make_generator("cpu", 6), dtype=torch.float64)
    y = z[:, :1] + 0.5 * torch.randn(5000, 1, generator=make_generator("cpu", 7), dtype=torch.float64)
    few, many = (fit(z[:n], y[:n], Library(degree=1), threshold=0.0, members=20) for n in (10, 5000))
    spread = [float(each.coefficients[:, 1, 0].std()) for each in (few, many)]
    assert len(many.coefficients) == 20 and spread[0] > 0.05 and spread[1] == pytest.approx(0.5 / 5000**0.5, rel=0.5)
    theirs = EnsembleOptimizer(STLSQ(threshold=0.0), bagging=True, n_models=20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for n in (10, 5000):
            theirs.fit(z[:n].numpy(), y[:n].numpy())
    assert len(theirs.coef_list) == 40 and theirs.n_subset == 10
