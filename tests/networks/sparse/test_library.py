"""Which terms a library has, what they are called, and what they are worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mbrl.data import make_generator
from mbrl.errors import ConfigError
from mbrl.networks import Library, SparseMap
from mbrl.networks.sparse import terms_of
from mbrl.networks.sparse.products import Products
from mbrl.networks.sparse.regression import Fit

AFFINE = {"bias": False, "control_affine": True}


@pytest.mark.check("sindy-6")
@pytest.mark.parametrize(
    ("library", "sizes", "count"),
    [
        (Library(), (3, 2), 21),
        (Library(3), (17, 6), 2600),
        (Library(**AFFINE), (5, 1), 41),
        (Library(interactions=False, **AFFINE), (8, 2), 50),
        ([Library(3, bias=False, inputs=[0, 1]), Library(1, bias=False, inputs=[2])], (2, 1), 10),
        ([Library(bias=False, inputs=list(range(10))), Library(1, bias=False, inputs=[10, 11, 12])], (10, 3), 68),
    ],
)
def test_counts(library: Any, sizes: tuple[int, int], count: int) -> None:
    assert len(terms_of(library, *sizes)) == count


def test_names_and_order() -> None:
    assert terms_of(Library(), 1, 1).names() == ["1", "x0", "u0", "x0^2", "x0 u0", "u0^2"]
    assert terms_of(Library(1, frequencies=1, **AFFINE), 1, 1).names() == [
        "x0", "sin(x0)", "cos(x0)", "u0", "x0 u0", "u0 sin(x0)", "u0 cos(x0)"
    ]  # fmt: skip
    assert terms_of(Library(0, bias=False, frequencies=2, inputs=[0]), 1, 1).names(["θ", "F"]) == [
        "sin(θ)", "cos(θ)", "sin(2 θ)", "cos(2 θ)"
    ]  # fmt: skip
    twice = [Library(1), Library(2, interactions=False)]
    assert terms_of(twice, 1, 1).names() == ["1", "x0", "u0", "x0^2", "u0^2"]


def pysindys(kind: str) -> Any:
    from pysindy.feature_library import FourierLibrary, GeneralizedLibrary, PolynomialLibrary

    if kind == "polynomial":
        return PolynomialLibrary(3)
    if kind == "waves":
        return PolynomialLibrary(2, include_bias=False) + FourierLibrary(2)
    parts = [PolynomialLibrary(2, include_bias=False), PolynomialLibrary(1, include_bias=False)]
    return GeneralizedLibrary(parts, tensor_array=[[1, 1]], inputs_per_library=[[0, 1, 2], [3, 4]])


OURS = {
    "polynomial": Library(3),
    "waves": Library(2, bias=False, frequencies=2),
    "affine": Library(2, **AFFINE),
}


@pytest.mark.check("sindy-5")
@pytest.mark.parametrize("kind", list(OURS))
def test_values_and_order_are_pysindys(kind: str) -> None:
    z = torch.randn(50, 5, generator=make_generator("cpu", 0), dtype=torch.float64)
    terms = terms_of(OURS[kind], 3, 2)
    products = Products(terms, range(len(terms)), z)
    ours = products(z.T, torch.ones(5, 1, dtype=torch.float64))[products.columns].T.numpy()
    theirs = np.asarray(pysindys(kind).fit(z.numpy()).transform(z.numpy()))
    np.testing.assert_allclose(ours, theirs, rtol=1e-14, atol=0 if kind == "polynomial" else 1e-14)


def some_map(members: int = 4) -> SparseMap:
    terms = terms_of([Library(2, bias=True), Library(0, bias=False, frequencies=1, inputs=[0])], 2, 1)
    found = SparseMap(terms, members, 2)
    noise = make_generator("cpu", 1)
    coefficients = torch.randn(members, len(terms), 2, generator=noise, dtype=torch.float64)
    coefficients *= torch.rand(members, len(terms), 2, generator=noise) > 0.4
    ones = torch.ones(3, dtype=torch.float64)
    present = torch.ones(members, len(terms), dtype=torch.bool)
    found.put(Fit(coefficients, present, 2 * ones, 3 * ones[:2], ones[:2] > 0, 1.0, [], ones[:2]))
    return found


def test_all_members_lines_and_units_say_the_same() -> None:
    made, z = some_map(), torch.randn(70, 3, generator=make_generator("cpu", 2), dtype=torch.float64)
    theta = torch.ones(70, 0, dtype=torch.float64)
    for factors in made.terms.factors:
        column = torch.ones(70, dtype=torch.float64)
        for factor in factors:
            column = column * (z[:, factor] if factor < 3 else (z[:, 0].sin() if factor == 3 else z[:, 0].cos()))
        theta = torch.cat((theta, column.unsqueeze(1)), 1)
    expected = theta @ made.in_units()  # E x B x D
    torch.testing.assert_close(made(z), expected)
    members = torch.tensor([2, 0, 2])
    table = torch.stack((z[:20], z[20:40], z[40:60]))
    lines = torch.stack([expected[m, i * 20 : i * 20 + 20] for i, m in enumerate(members)])
    torch.testing.assert_close(made.of_lines(table, members), lines)
    torch.testing.assert_close(made.of_lines(z.expand(4, 70, 3), None), expected)
    assert made(z.float()).dtype is torch.float32
    many = z.repeat(2000, 1)
    with torch.no_grad():  # in parts
        torch.testing.assert_close(made(many), made(z).repeat(1, 2000, 1))
        torch.testing.assert_close(made.of_lines(many.expand(4, *many.shape), None), made(many))


def test_it_is_differentiable_and_loads() -> None:
    made, z = some_map(), torch.randn(6, 3, generator=make_generator("cpu", 3), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(made, z)
    other = SparseMap(made.terms, 4, 2)
    assert (other(z) == 0).all()
    other.load_state_dict(made.state_dict())
    assert torch.equal(other(z), made(z))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Library(0, bias=False), "Library: expected a term, got degree 0 without bias or frequencies; raise one"),
        (lambda: Library(inputs=[0, 0]), r"Library\(inputs=…\): expected one or more places, each once, got \[0, 0\]; name"),
        (lambda: Library(inputs=[]), r"Library\(inputs=…\): expected one or more places, each once, got \[\]; name others"),
        (
            lambda: terms_of(Library(inputs=[5]), 3, 2),
            r"expected places from 0 to 4, of 3 states and 2 controls, got 5; count",
        ),
        (lambda: terms_of(Library(control_affine=True, inputs=[0]), 3, 2), "expected a control among its inputs, got"),
        (lambda: Library(degree=-1), r"Library\(degree=…\): expected a whole number of at least 0, got -1"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make()
