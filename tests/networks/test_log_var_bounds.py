from __future__ import annotations

import pytest
import torch

from mbrl.networks.log_var_bounds import LogVarBounds


@pytest.mark.check("coplanner-7")
@pytest.mark.parametrize(
    ("raw", "bounded"), [(0.0, -0.474004), (0.5, -0.193092), (-10.0, -9.306867), (-1e3, -10.0), (50.0, 0.5000275)]
)
def test_bounded_log_variances(raw: float, bounded: float) -> None:
    bounds = LogVarBounds(2)
    assert bounds(torch.tensor([raw, raw]))[1].item() == pytest.approx(bounded, abs=2e-6)
    if raw == -1e3:
        assert bounds(torch.tensor([raw, raw])).tolist() == [-10.0, -10.0]


@pytest.mark.check("coplanner-7")
def test_bounds_are_monotone() -> None:
    raw = torch.linspace(-20, 10, 1000, dtype=torch.float64)
    bounded = LogVarBounds(1).double()(raw[:, None])[:, 0]
    assert (bounded.diff() > 0).all()


def test_learned_bounds_are_parameters_and_frozen_ones_buffers() -> None:
    learned, frozen = LogVarBounds(2), LogVarBounds(2, learned=False)
    assert {name for name, _ in learned.named_parameters()} == {"low", "high"}
    assert not list(frozen.parameters())
    assert learned.state_dict().keys() == frozen.state_dict().keys()
    assert learned.width().item() == frozen.width().item() == 21
