"""Losses by which models are fitted in place of their own: what an error of the mean costs."""

from mbrl.models.losses.base import ModelLoss
from mbrl.models.losses.iter_vaml import IterVAML
from mbrl.models.losses.squared_error import SquaredError
from mbrl.models.losses.vagram import VaGraM

__all__ = ["IterVAML", "ModelLoss", "SquaredError", "VaGraM"]
