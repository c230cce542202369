"""Random transitions of a cart-pole, 0.05 s each: six inputs and the changes of four states."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mbrl.data import make_generator

NOISE = 1e-3


def cart_pole(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Inputs [x, ẋ, sin θ, cos θ, θ̇, u] `n x 6` and changes of (x, ẋ, θ, θ̇) with noise `n x 4`, float64."""
    generator = make_generator("cpu", seed, "cart-pole")
    most = torch.tensor([2.0, 3.0, math.pi, 6.0, 10.0], dtype=torch.float64)
    *state, force = (most * (2 * torch.rand(n, 5, generator=generator, dtype=torch.float64) - 1)).unbind(-1)
    start = torch.stack(state)  # 4 x n

    def slope(now: Tensor) -> Tensor:
        _, speed, angle, turn = now
        sin, cos = angle.sin(), angle.cos()
        push = force - 0.1 * speed
        speeding = (0.6 * turn**2 * sin + 14.73 * sin * cos + 4 * push) / (4 - 1.5 * cos**2)
        turning = (-0.9 * turn**2 * sin * cos - 58.92 * sin - 6 * push * cos) / (2.4 - 0.9 * cos**2)
        return torch.stack((speed, speeding, turn, turning))

    now, dt = start, 0.01
    for _ in range(5):  # midpoint rule
        now = now + dt * slope(now + dt / 2 * slope(now))
    x, speed, angle, turn = start
    z = torch.stack((x, speed, angle.sin(), angle.cos(), turn, force), -1)
    change = (now - start).mT
    return z, change + NOISE * torch.randn(change.shape, generator=generator, dtype=torch.float64)
