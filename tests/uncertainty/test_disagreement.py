"""Disagreement of members, in numbers."""

from __future__ import annotations

import pytest
import torch

from mbrl.data import Prediction
from mbrl.errors import ConfigError
from mbrl.uncertainty import MeanDisagreement

EVERYONE = torch.arange(7)


def seven(dims: int = 4, noise: float = 0.0) -> Prediction:
    """Seven members whose means differ in one dim by 0 … 6, two rows."""
    mean = torch.zeros(7, 2, dims)
    mean[..., 1] = torch.arange(7.0)[:, None]
    reward = torch.arange(7.0)[:, None].expand(7, 2) * 2
    return Prediction(mean, torch.full_like(mean, noise**2), reward, torch.zeros_like(reward))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 2.0 / 4),
        ({"ddof": 1}, 2.160247 / 4),
        ({"reduce": "max"}, 2.0),
        ({"of": "variance"}, 4.0 / 4),
        ({"reward": True}, (2.0 + 4.0) / 5),
        ({"members": "elites"}, 0.5 / 4),
    ],
)
def test_known_spreads(options: dict[str, object], expected: float) -> None:
    measured = MeanDisagreement(**options)(seven(), torch.tensor([3, 4]) if "members" in options else EVERYONE)  # type: ignore[arg-type]
    assert measured.tolist() == pytest.approx([expected, expected])


def test_members_that_agree_are_certain_whatever_noise_they_predict() -> None:
    mean = torch.ones(3, 5, 2)
    assert (MeanDisagreement()(Prediction(mean, torch.full_like(mean, 9.0)), torch.arange(3)) == 0).all()
    assert torch.equal(MeanDisagreement()(seven(noise=1.0), EVERYONE), MeanDisagreement()(seven(), EVERYONE))


def test_wrong_choices_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"MeanDisagreement\(of=…\): expected one of sd, variance, got 'range'"):
        MeanDisagreement(of="range")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"MeanDisagreement\(ddof=…\): expected one of 0, 1, got 2"):
        MeanDisagreement(ddof=2)  # type: ignore[arg-type]
    mean = torch.zeros(2, 1, 1)
    with pytest.raises(ConfigError, match="learn_reward: true"):
        MeanDisagreement(reward=True)(Prediction(mean, mean), torch.arange(2))
