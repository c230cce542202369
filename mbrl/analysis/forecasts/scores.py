"""Scores of a forecast: how probable what happened was, and how far it was from what was said.

One step ahead a forecast is the equal mixture of the drawn members' Gaussians (`m_e`, `v_e`), and everything is exact:

    CRPS = mean_e A(y − m_e, v_e) − ½ mean_e mean_f A(m_e − m_f, v_e + v_f),   A(μ, σ²) = 2 σ φ(μ/σ) + μ (2 Φ(μ/σ) − 1)

More steps ahead it is known by particles alone, from which the fair estimate of the CRPS, mean_p |x_p − y| −
½ mean_{p≠q} |x_p − x_q|, has the same mean whatever `P` is.

Ferro2014: "Fair scores for ensemble forecasts". Gneiting2007: "Strictly proper scoring rules, prediction, and estimation".
Grimit2006: "The continuous ranked probability score for circular variables and its application to mesoscale forecasts".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def nll_of_mixture(mean: Tensor, var: Tensor, real: Tensor) -> Tensor:
    """Negative log-density of an equal mixture of Gaussians, `…`.

    Args:
        mean: `e x …`.
        var: `e x …`.
        real: `…`.
    """
    log = -0.5 * ((real - mean).square() / var + var.log() + math.log(2 * math.pi))  # e x …
    return math.log(len(mean)) - log.logsumexp(0)


def crps_of_mixture(mean: Tensor, var: Tensor, real: Tensor) -> Tensor:
    """Continuous ranked probability score of an equal mixture of Gaussians in closed form (Grimit2006), `…`.

    Args:
        mean: `e x …`.
        var: `e x …`; a variance of 0 is a point.
        real: `…`.
    """
    members = len(mean)
    apart = torch.zeros_like(real)
    for first in range(members):
        apart += _expected_distance(torch.zeros_like(real), 2 * var[first])
        for second in range(first):
            apart += 2 * _expected_distance(mean[first] - mean[second], var[first] + var[second])
    return _expected_distance(real - mean, var).mean(0) - apart / (2 * members**2)


def _expected_distance(mean: Tensor, var: Tensor) -> Tensor:
    """E|X| of a Gaussian."""
    sd = var.sqrt()
    z = mean / torch.where(sd > 0, sd, 1.0)
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
    return torch.where(sd == 0, mean.abs(), 2 * sd * density + mean * (2 * torch.special.ndtr(z) - 1))


def crps_of_particles(particles: Tensor, real: Tensor) -> Tensor:
    """The fair estimate of the continuous ranked probability score from `P` draws (Ferro2014), `…`.

    Args:
        particles: `P x …`; of one, or of equal ones, the score is the distance.
        real: `…`.
    """
    size = len(particles)
    distance = (particles - real).abs().mean(0)
    if size == 1:
        return distance
    rank = 2 * torch.arange(1, size + 1, dtype=particles.dtype) - size - 1  # P; Σ_{p<q} (x_q − x_p) = Σ rank · sorted
    between = (rank.view(-1, *[1] * real.ndim) * particles.sort(0).values).sum(0)
    return distance - between / (size * (size - 1))


def rank_between(particles: Tensor, real: Tensor, generator: torch.Generator) -> Tensor:
    """The value u of `P` draws, `…`: uniform in [0, 1] if `real` is one more draw, whatever `P` and however many are equal.

    Args:
        particles: `P x …`.
        real: `…`.
        generator: on the CPU; draws the place between the ranks.
    """
    below, equal = (particles < real).sum(0), (particles == real).sum(0)
    place = torch.rand(real.shape, generator=generator, dtype=real.dtype)
    return (below + place * (equal + 1)) / (len(particles) + 1)
