"""Sparse sums of library terms: `Library` says which terms there are, `SparseMap` holds and fits the coefficients."""

from mbrl.networks.sparse.library import Library, Terms, terms_of
from mbrl.networks.sparse.pysindy_optimizer import PySINDyOptimizer
from mbrl.networks.sparse.sparse_map import SparseMap

__all__ = ["Library", "PySINDyOptimizer", "SparseMap", "Terms", "terms_of"]
