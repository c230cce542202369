"""Sparse identification of nonlinear dynamics: models of which a person can read the equations."""

from mbrl.models.sindy.model import SINDy

__all__ = ["SINDy"]
