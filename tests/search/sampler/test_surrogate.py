"""The surrogate's kernels."""

from __future__ import annotations

import pytest
import torch
from botorch.models.kernels import CategoricalKernel
from optuna.distributions import CategoricalDistribution

from mbrl.search.sampler.codec import Codec
from mbrl.search.sampler.surrogate import _model


@pytest.mark.check("offline-9.4")
def test_two_categories_are_as_like_as_they_are_equal() -> None:
    """The categories' kernel at a lengthscale of 1. The other method's own kernel, copula and trust region aren't built."""
    codec = Codec({name: CategoricalDistribution(("a", "b", "c")) for name in ("first", "second")})
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [2.0, 1.0]], dtype=torch.float64)
    y = torch.tensor([[1.0], [2.0], [4.0]], dtype=torch.float64)
    kernels = [part for part in _model(codec, x, y, None).covar_module.modules() if isinstance(part, CategoricalKernel)]
    assert kernels
    expected = torch.tensor([[1, 0.606531, 0.367879], [0.606531, 1, 0.606531], [0.367879, 0.606531, 1]], dtype=torch.float64)
    for kernel in kernels:
        kernel.lengthscale = torch.ones_like(kernel.lengthscale)
        torch.testing.assert_close(kernel(x).to_dense().detach(), expected, rtol=0, atol=1e-6)
