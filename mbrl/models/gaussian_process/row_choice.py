"""`choose_rows`: which of many rows a Gaussian process is given, the newest and those that tell most.

Burt2020: "Convergence of sparse variational inference in Gaussian processes regression" (JMLR 2020): greedy variance.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl.models.gaussian_process.kernels import Hyperparameters, KernelName, covariance

_CANDIDATES = 5000  # more than these are thinned at random first


def different_rows(rows: Tensor) -> Tensor:
    """Places of the rows of `N x columns` that differ, in order; of equal ones the last."""
    _, kind = rows.unique(dim=0, return_inverse=True)  # N
    number = torch.arange(len(rows), device=rows.device)
    last = torch.zeros_like(number).scatter_reduce(0, kind, number, "amax")  # N, of as many as there are kinds
    return (last[kind] == number).nonzero()[:, 0]


def choose_rows(
    kernel: KernelName, of: Hyperparameters, z: Tensor, number: int, newest: int, generator: torch.Generator
) -> Tensor:
    """Places of at most `number` rows, in order: the `newest`, then again and again the one least known from those so far.

    "Least known" is the largest variance given noisy values at the chosen rows [Burt2020], relative to the signal's, mean
    over outputs.

    Args:
        kernel: a name in `KernelName`.
        of: the hyperparameters that say what is known from what.
        z: inputs `N x d`, oldest first.
        number: how many to choose.
        newest: how many of them are simply the last.
        generator: thins more than 5000 older rows.
    """
    rows, device = len(z), z.device
    if rows <= number:
        return torch.arange(rows, device=device)
    candidates = torch.arange(rows, device=device)
    older = rows - newest
    if older > max(_CANDIDATES, number):
        kept = torch.randperm(older, generator=generator, device=generator.device)[: max(_CANDIDATES, number)].to(device)
        candidates = torch.cat((kept.sort().values, candidates[older:]))
    z = z[candidates]
    n, outputs = len(z), len(of.signal)
    var = of.signal.unsqueeze(-1).expand(outputs, n).clone()  # D x n
    columns = z.new_zeros(number, outputs, n)  # of the factor of what is known already
    taken = torch.zeros(n, dtype=torch.bool, device=device)
    chosen = []
    for k in range(number):
        if k < newest:
            pivot = torch.tensor(n - 1 - k, dtype=torch.int64, device=device)
        else:
            pivot = torch.where(taken, -1.0, (var / of.signal.unsqueeze(-1)).mean(0)).argmax()
        here = pivot.view(1)
        taken.index_fill_(0, here, True)
        column = covariance(kernel, of, z[here], z).squeeze(1)  # D x n
        column = column - (columns[:k, :, here] * columns[:k]).sum(0)
        column = column / (var[:, here] + of.noise.unsqueeze(-1)).sqrt()
        columns[k] = column
        var = (var - column.square()).clamp(min=0.0)
        chosen.append(here)
    return candidates[torch.cat(chosen).sort().values]
