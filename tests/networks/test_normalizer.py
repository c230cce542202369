from __future__ import annotations

import pytest
import torch

from mbrl.data import make_generator
from mbrl.networks.normalizer import Normalizer


def columns() -> torch.Tensor:
    generator = make_generator("cpu", 0)
    x = torch.randn(1000, 3, generator=generator) * torch.tensor([1.0, 5.0, 1.0]) + torch.tensor([0.0, 3.0, 0.0])
    x[:, 2] = 1234.567  # constant
    return x


@pytest.mark.check("coplanner-12")
def test_a_constant_column_gives_zero() -> None:
    normalizer = Normalizer(3)
    normalizer.fit(columns())
    z = normalizer(columns())
    assert torch.isfinite(z).all()
    assert not z[:, 2].any()
    assert normalizer.sd[2] == columns()[0, 2]  # a departure counts relative to the column's own number


@pytest.mark.check("coplanner-12")
def test_inverse() -> None:
    normalizer = Normalizer(3)
    x = columns()
    normalizer.fit(x)
    torch.testing.assert_close(normalizer.inverse(normalizer(x)), x, rtol=1e-6, atol=1e-6)


def test_statistics_and_their_ddof() -> None:
    x = torch.tensor([[0.0], [2.0]])
    for ddof, sd in ((0, 1.0), (1, 2**0.5)):
        normalizer = Normalizer(1, ddof)  # type: ignore[arg-type]
        normalizer.fit(x)
        assert normalizer.sd.item() == pytest.approx(sd)
        torch.testing.assert_close(normalizer(x), torch.tensor([[-1.0], [1.0]]) / sd)


def test_a_nearly_constant_column_is_centred() -> None:
    # float32 near 100 has steps of 7.6e-6: a float32 mean alone would be off by a fifth of this column's sd, and sums of
    # float32 squares would lose the variance altogether
    x = (100 + 1e-5 * torch.randn(5000, 1, generator=make_generator("cpu", 1), dtype=torch.float64)).float()
    normalizer = Normalizer(1)
    normalizer.fit(x)
    z = normalizer(x)
    assert z.double().mean().abs() < 1e-4
    assert z.double().std().item() == pytest.approx(1, abs=1e-3)


def test_statistics_survive_a_state_dict() -> None:
    normalizer, other = Normalizer(3), Normalizer(3)
    normalizer.fit(columns())
    other.load_state_dict(normalizer.state_dict())
    assert torch.equal(other(columns()), normalizer(columns()))


def test_a_column_that_only_rounding_moves_is_constant() -> None:
    x = 100 + 7.63e-6 * (torch.arange(1000) % 2).float()[:, None]  # one unit in float32's last place
    zero = torch.zeros(1000, 1)
    normalizer = Normalizer(2)
    normalizer.fit(torch.cat((x, zero), 1))
    assert normalizer.sd.tolist() == pytest.approx([100.0, 1.0])
    assert normalizer(torch.tensor([[101.0, 0.5]])).tolist()[0] == pytest.approx([0.01, 0.5], rel=1e-3)


def test_units_change_no_normalised_number() -> None:
    x = columns()
    for factor in (2.0**10, 2.0**-20):
        one, other = Normalizer(3), Normalizer(3)
        one.fit(x)
        other.fit(x * factor)
        assert torch.equal(one(x), other(x * factor))


def test_differences_move_by_no_less_than_the_rounding_of_what_they_are_of() -> None:
    change = torch.cat((torch.zeros(50, 1), 1e-9 * torch.randn(50, 1, generator=make_generator("cpu", 2))), 1)
    normalizer = Normalizer(2)
    normalizer.fit(change, torch.tensor([100.0, 0.0]))
    assert normalizer.sd.tolist() == pytest.approx([100 * 2.0**-24, 2.0**-24])
