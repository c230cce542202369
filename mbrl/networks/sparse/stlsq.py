"""Sequentially thresholded least squares, for many members and targets at once.

    symbol  shape        meaning
    G       E x p x p    Θᵀ W Θ of the terms Θ (N x p) and a member's weights W of the rows
    b       E x p x D    Θᵀ W Y of the targets Y (N x D)
    S       E x D x p    which coefficients are there

Repeatedly c = argmin |Y − Θ c|² + α |c|² on S, then S keeps where |c| is at least the threshold, until no S changes; at
last, unless told otherwise, least squares on S without α [Brunton2016]. Equal to `pysindy.STLSQ` (2.1.0), whose α isn't
divided by the number of rows either.

Brunton2016: "Discovering governing equations from data by sparse identification of nonlinear dynamical systems" (PNAS).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

_NOTHING = 1e-14  # a coefficient below is none, as in pysindy


class LeastSquares(ABC):
    """Solves the regularised least squares of members on given terms."""

    members: int
    terms: int
    targets: int

    @abstractmethod
    def solve(self, member: Tensor, target: Tensor, support: Tensor, alpha: float) -> Tensor:
        """Coefficients `n x p`, 0 outside of `support` (`n x p` bool), of `n` pairs of a member and a target (int64)."""


class NormalEquations(LeastSquares):
    """Least squares by Cholesky factors of the Gram matrix, which squares the condition number.

    Args:
        gram: G.
        moment: b.
    """

    def __init__(self, gram: Tensor, moment: Tensor) -> None:
        self.gram, self.moment = gram, moment
        self.members, self.terms, self.targets = moment.shape

    def solve(self, member: Tensor, target: Tensor, support: Tensor, alpha: float) -> Tensor:
        if len(member) == self.members * self.targets:
            each = support.view(self.members, self.targets, -1)  # E x D x p
            if bool((each == each[:, :1]).all()):  # as at first: one factor for all targets of a member
                gram = _only(each[:, 0], self.gram, alpha)
                moment = torch.where(each[:, 0].unsqueeze(-1), self.moment, 0.0)
                return _solved(gram, moment).mT.reshape(-1, self.terms)
        most = int(support.sum(-1).amax())
        order = support.to(torch.int8).argsort(dim=-1, descending=True, stable=True)[:, :most]  # n x k, terms in use first
        used = support.gather(-1, order)  # n x k
        gram = _only(used, self.gram[member.view(-1, 1, 1), order.unsqueeze(-1), order.unsqueeze(-2)], alpha)  # n x k x k
        moment = torch.where(used, self.moment[member.unsqueeze(-1), order, target.unsqueeze(-1)], 0.0)  # n x k
        found = _solved(gram, moment.unsqueeze(-1)).squeeze(-1)
        return torch.zeros(support.shape, dtype=gram.dtype).scatter_(-1, order, torch.where(used, found, 0.0))


def _only(used: Tensor, gram: Tensor, alpha: float) -> Tensor:
    """The Gram matrix of the terms in use (`… x k` bool) with the ridge, and of the others the unit matrix."""
    both = used.unsqueeze(-1) & used.unsqueeze(-2)
    return torch.where(both, gram, 0.0) + torch.diag_embed(torch.where(used, alpha, 1.0).to(gram.dtype))


def _solved(gram: Tensor, moment: Tensor) -> Tensor:
    root, info = torch.linalg.cholesky_ex(gram)
    if not bool(info.any()):
        return torch.cholesky_solve(moment, root)
    return torch.linalg.lstsq(gram, moment, driver="gelsd").solution  # the shortest of many


class Factored(LeastSquares):
    """Least squares by the factor R of Θ = Q R, and singular values of its columns: for terms that are nearly redundant.

    Args:
        factor: R of [Θ, Y] with the rows' weights in both, `E x (p+D) x (p+D)`.
        terms: `p`.
    """

    def __init__(self, factor: Tensor, terms: int) -> None:
        self.factor = factor
        self.members, self.terms, self.targets = len(factor), terms, factor.shape[-1] - terms

    def solve(self, member: Tensor, target: Tensor, support: Tensor, alpha: float) -> Tensor:
        found = torch.zeros(support.shape, dtype=self.factor.dtype)
        for place, (e, d) in enumerate(zip(member.tolist(), target.tolist(), strict=True)):
            used = support[place].nonzero()[:, 0]
            ridge = alpha**0.5 * torch.eye(len(used), dtype=found.dtype)
            left = torch.cat((self.factor[e][:, used], ridge))
            right = torch.cat((self.factor[e][:, self.terms + d], ridge.new_zeros(len(used))))
            found[place, used] = torch.linalg.lstsq(left, right.unsqueeze(-1), driver="gelsd").solution[:, 0]
        return found


def stlsq(
    system: LeastSquares, allowed: Tensor, threshold: float, alpha: float, unbias: bool = True, iterations: int = 20
) -> Tensor:
    """The sparse coefficients of all members and targets, `E x p x D`, float64 on the CPU.

    Args:
        system: what solves for given supports.
        allowed: `E x p` bool, the terms that a member has.
        threshold: smallest |c| that stays.
        alpha: weight of |c|², beside sums over rows.
        unbias: whether the last coefficients are those of least squares.
        iterations: at most.
    """
    member = torch.arange(system.members).repeat_interleave(system.targets)  # E·D
    target = torch.arange(system.targets).repeat(system.members)  # E·D
    support = allowed[member]  # E·D x p
    found = torch.zeros(support.shape, dtype=torch.float64)
    open_ = support.any(-1).nonzero()[:, 0]  # those whose support may still change
    for _ in range(iterations):
        if len(open_) == 0:
            break
        solved = system.solve(member[open_], target[open_], support[open_], alpha)
        kept = support[open_] & (solved.abs() >= threshold)
        found[open_] = torch.where(kept, solved, 0.0)
        changed = (kept != support[open_]).any(-1)
        support[open_] = kept
        open_ = open_[changed & kept.any(-1)]
    support = found.abs() > _NOTHING
    there = support.any(-1).nonzero()[:, 0]
    if unbias and len(there):
        found[there] = system.solve(member[there], target[there], support[there], 0.0)
    return found.view(system.members, system.targets, -1).mT
