"""Activations by name, and how steep each can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mbrl.errors import ConfigError

Activation = Literal["silu", "relu", "elu", "tanh", "gelu", "softplus", "groupsort"]


def group_sort(x: Tensor) -> Tensor:
    """Sorts neighbouring pairs of the last dim, the larger first (Anil2019, MaxMin): a permutation, so norms stay."""
    pairs = x.unflatten(-1, (-1, 2))
    return torch.stack((pairs.amax(-1), pairs.amin(-1)), -1).flatten(-2)


# Each takes (x, inplace); GELU, softplus and sorting have no in-place form.
ACTIVATIONS: dict[Activation, Callable[[Tensor, bool], Tensor]] = {
    "silu": lambda x, inplace: F.silu(x, inplace=inplace),
    "relu": lambda x, inplace: F.relu(x, inplace=inplace),
    "elu": lambda x, inplace: F.elu(x, inplace=inplace),
    "tanh": lambda x, inplace: x.tanh_() if inplace else x.tanh(),
    "gelu": lambda x, inplace: F.gelu(x),
    "softplus": lambda x, inplace: F.softplus(x),
    "groupsort": lambda x, inplace: group_sort(x),
}

# The largest absolute slope of each: its Lipschitz constant.
ACTIVATION_SLOPES: dict[Activation, float] = {
    "silu": 1.0998394,  # at x = 2.3994
    "relu": 1.0,
    "elu": 1.0,
    "tanh": 1.0,
    "gelu": 1.1289042,  # at x = √2
    "softplus": 1.0,
    "groupsort": 1.0,
}


def check_pairs(where: str, activation: Activation, hidden: Sequence[int]) -> None:
    """Refuses hidden layers of odd widths where units are sorted in pairs (`ConfigError`); `where` begins the message."""
    odd = [size for size in hidden if size % 2]
    if activation == "groupsort" and odd:
        raise ConfigError(
            f"{where}: expected even widths beside groupsort, which sorts units in pairs, got {odd[0]}; take {odd[0] + 1}."
        )
