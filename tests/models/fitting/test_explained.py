"""Shares of the change that are explained, of each observation and of all."""

from __future__ import annotations

import pytest
import torch

from mbrl.models.fitting.explained import explained_share, explained_shares


def test_each_observation_has_a_share_and_what_only_rounding_moves_has_none() -> None:
    obs = torch.zeros(4, 3, dtype=torch.float64)
    obs[:, 2] = 1e3
    change = torch.tensor([[1.0, -2.0, 0.0], [1.0, 2.0, 1e-6], [-1.0, 2.0, 0.0], [1.0, -2.0, 0.0]], dtype=torch.float64)
    said = obs + change * torch.tensor([1.0, 0.5, 7.0], dtype=torch.float64)
    shares = explained_shares(said, obs, obs + change)
    assert shares[:2].tolist() == pytest.approx([1.0, 0.75]) and bool(shares[2].isnan())
    assert float(explained_share(said, obs, obs + change)) == pytest.approx(0.875)
    assert float(explained_share(obs, obs, obs)) == 0.0
