"""Datasets of several levels, made from one run: random, medium, medium-replay, medium-expert, expert."""

from mbrl.training.levels.level_datasets import LEVELS, make_levels
from mbrl.training.levels.references import reference_returns

__all__ = ["LEVELS", "make_levels", "reference_returns"]
