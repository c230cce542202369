"""Coloured noise against the numbers of the routine that iCEM uses, 30 steps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mbrl.planners.plans.coloured_noise import coloured_noise


def drawn(exponent: float, edges: str) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return coloured_noise(torch.randn(40_000, 30, generator=generator, dtype=torch.float64), exponent, edges)


def figures(noise: Tensor) -> tuple[float, float, float]:
    """Lag-1 correlation about zero, overall sd, and the mean of each sequence's own sd."""
    lag = (noise[:, 1:] * noise[:, :-1]).mean() / noise.square().mean()
    return float(lag), float(noise.std()), float(noise.std(1, correction=0).mean())


@pytest.mark.check("coplanner-23")
@pytest.mark.parametrize(
    ("edges", "lags", "overall", "own"),
    [
        ("unscaled", (0.00, 0.13, 0.54, 0.87, 0.93, 0.97), (1.01, 1.11), (0.99, 0.91)),
        ("scaled", (0.00, 0.14, 0.57, 0.88, 0.94, 0.97), (1.03, 1.20), (1.00, 0.91)),
    ],
)
def test_published_figures(
    edges: str, lags: tuple[float, ...], overall: tuple[float, float], own: tuple[float, float]
) -> None:
    found = [figures(drawn(exponent, edges)) for exponent in (0.0, 0.25, 1.0, 2.0, 2.5, 3.5)]
    assert [lag for lag, _, _ in found] == pytest.approx(lags, abs=0.008)
    sds = [sd for _, sd, _ in found]
    assert (min(sds), max(sds)) == pytest.approx(overall, abs=0.012)
    assert (found[0][2], found[-1][2]) == pytest.approx(own, abs=0.012)


@pytest.mark.parametrize("edges", ["unscaled", "scaled"])
@pytest.mark.parametrize("steps", [1, 2, 3, 8, 9])
def test_white_noise_keeps_its_variance_at_any_length(steps: int, edges: str) -> None:
    mixing = coloured_noise(torch.eye(steps, dtype=torch.float64), 0.0, edges)
    waves, middle = 4.0 * ((steps - 1) // 2), float(steps % 2 == 0)  # each wave has two coefficients of weight 2
    power = waves + (2.0 if edges == "scaled" else 1.0) * (1.0 + middle)
    expected = 1.0 if steps == 1 else power / (waves + middle)
    torch.testing.assert_close(mixing.square().sum(0), torch.full((steps,), expected, dtype=torch.float64))


def test_slow_noise_is_a_transform_of_scaled_coefficients() -> None:
    """The matrix is the inverse Fourier transform, built here from torch's own."""
    steps, exponent = 12, 1.7
    amplitude = torch.tensor([1 / steps, *(k / steps for k in range(1, 7))], dtype=torch.float64) ** (-exponent / 2)
    sigma = 2 * math.sqrt(float(amplitude[1:6].square().sum() + (amplitude[6] / 2) ** 2)) / steps
    spectra = torch.zeros(steps, 7, dtype=torch.complex128)
    spectra[0, 0] = amplitude[0]
    for k in range(1, 6):
        spectra[2 * k - 1, k] = amplitude[k]
        spectra[2 * k, k] = -1j * amplitude[k]
    spectra[11, 6] = amplitude[6]
    expected = torch.fft.irfft(spectra, n=steps) / sigma
    torch.testing.assert_close(coloured_noise(torch.eye(steps, dtype=torch.float64), exponent), expected)
