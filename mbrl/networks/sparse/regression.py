"""`regress`: the sparse coefficients of members fitted to rows, and what there is to tell of the fit.

    symbol  shape  meaning
    z       N x d  inputs
    y       N x D  targets
    Θ       N x p  terms
    w       E x N  how often a member has drawn each row

Units count for nothing, unless they are asked to: inputs and targets are divided by their root mean squares, not centred,
which would mix terms, and a threshold is compared with c·rms(term) / rms(target): the share of a target's size that a term
brings.

Zolman2024: "SINDy-RL: interpretable and efficient model-based reinforcement learning" (arXiv 2403.09110).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl.errors import DataError
from mbrl.networks.sparse.library import Terms
from mbrl.networks.sparse.products import Products
from mbrl.networks.sparse.pysindy_optimizer import PySINDyOptimizer
from mbrl.networks.sparse.stlsq import Factored, LeastSquares, NormalEquations, stlsq

_CHUNK = 4096  # rows whose terms are computed at once
_REDUNDANT = 1e-12  # squared share of a term that the others before it leave, below which it is one of their sums
_CONDITION = 1e6  # of the terms, above which their Gram matrix has too few digits


@dataclass(frozen=True)
class Settings:
    """Settings of a fit.

    Attributes:
        threshold: smallest coefficient that stays; larger makes fewer terms.
        alpha: ridge while terms are chosen, beside sums over rows.
        unbias: whether the coefficients of the chosen terms are those of least squares, without the ridge.
        normalize: whether threshold and alpha are of shares, as above; else of the numbers as they come, as in pysindy.
        members: `E`; each of several draws its own rows with replacement.
        row_share: rows that each of several draws, relative to all.
        drop_terms: terms that each of several is denied, drawn at random (library bagging).
        optimizer: finds the coefficients in place of thresholded least squares, without the first three.
    """

    threshold: float
    alpha: float
    unbias: bool
    normalize: bool
    members: int
    row_share: float = 1.0
    drop_terms: int = 0
    optimizer: PySINDyOptimizer | None = None


@dataclass(frozen=True)
class Fit:
    """Result of a fit, on the CPU.

    Attributes:
        coefficients: `E x p x D` float64, of scaled inputs and targets.
        present: `E x p` bool, the terms that a member wasn't denied.
        input_scale: `d` float64.
        target_scale: `D` float64.
        moves: `D` bool, the targets that aren't constantly 0.
        condition: number of the terms that aren't redundant.
        redundant: places of those that others add up to.
        largest: `D`, the largest coefficient that each target would have without a threshold, in the threshold's unit.
    """

    coefficients: Tensor
    present: Tensor
    input_scale: Tensor
    target_scale: Tensor
    moves: Tensor
    condition: float
    redundant: list[int]
    largest: Tensor


def regress(
    who: str, terms: Terms, z: Tensor, y: Tensor, moves: Tensor, settings: Settings, generator: torch.Generator
) -> Fit:
    """Fits sparse sums of `terms` to rows.

    Args:
        who: such as `SINDy(library=…)`, which begins a refusal.
        terms: `p` of `d` inputs.
        z: `N x d` float64 on the CPU, finite.
        y: `N x D` likewise.
        moves: `D` bool, targets that are more than rounding; others get no term.
        settings: as above.
        generator: draws the members' rows, and the terms that they are denied.

    Raises:
        DataError: for fewer rows than terms.
    """
    rows, count = len(z), len(terms)
    if rows < count:
        raise DataError(
            f"{who}: expected at least as many rows as the library has terms, {count}, got {rows}; collect more before the "
            "first fit, or lower the library's degree."
        )
    one = z.new_ones(())
    input_scale, target_scale = z.new_ones(z.shape[1]), y.new_ones(y.shape[1])
    if settings.normalize:
        input_scale, target_scale = (_or_one(each.square().mean(0).sqrt()) for each in (z, y))
    products = Products(terms, range(count), z)

    def parts() -> Iterator[tuple[slice, Tensor]]:
        for start in range(0, rows, _CHUNK):
            part = slice(start, min(start + _CHUNK, rows))
            theta = products(z[part].T, input_scale.unsqueeze(-1))[products.columns]  # p x n
            yield part, torch.cat((theta, (y[part] / target_scale).T))  # (p+D) x n

    drawn = None if settings.members == 1 else _drawn(rows, settings, generator)  # E x N
    whole = torch.zeros(count + y.shape[1], count + y.shape[1], dtype=torch.float64)
    bagged = whole.new_zeros(settings.members, *whole.shape)
    for part, both in parts():
        whole += both @ both.T
        if drawn is not None:
            for member, weights in enumerate(drawn):
                bagged[member] += (both * weights[part]) @ both.T
    bagged = whole[None] if drawn is None else bagged
    size = (whole.diagonal()[:count] / rows).sqrt()  # p, root mean squares
    scale = _or_one(size) if settings.normalize else torch.ones_like(size)
    kept, redundant = _independent(whole[:count, :count] / (_or_one(size) * _or_one(size).unsqueeze(-1) * rows))
    columns = torch.cat((kept, torch.arange(count, count + y.shape[1])))
    unit = torch.cat((scale[kept], torch.ones_like(target_scale)))  # of what is solved for
    condition = _condition(whole[kept][:, kept] / (size[kept] * size[kept].unsqueeze(-1)))
    allowed = _allowed(len(kept), settings, generator)  # E x k
    system: LeastSquares
    if condition > _CONDITION:
        factor = _factor(parts, drawn, columns, rows) / unit
        system = Factored(factor, len(kept))
    else:
        gram = bagged[:, columns][:, :, columns] / (unit * unit.unsqueeze(-1))  # E x (k+D) x (k+D)
        system = NormalEquations(gram[:, : len(kept), : len(kept)], gram[:, : len(kept), len(kept) :])
    if settings.optimizer is None:
        found = stlsq(system, allowed, settings.threshold, settings.alpha, settings.unbias)  # E x k x D
    else:
        table = torch.cat([both for _, both in parts()], 1)[columns].T / unit  # N x (k+D)
        found = _found_by(settings.optimizer, table, drawn, allowed)
    free = stlsq(system, allowed, 0.0, settings.alpha, unbias=False, iterations=1).abs()
    coefficients = torch.zeros(settings.members, count, y.shape[1], dtype=torch.float64)
    coefficients[:, kept] = torch.where(moves, found / scale[kept].unsqueeze(-1), 0.0)
    present = torch.zeros(settings.members, count, dtype=torch.bool)
    present[:, kept] = allowed
    return Fit(
        coefficients,
        present,
        input_scale,
        target_scale,
        moves,
        condition,
        redundant,
        free.amax((0, 1)) if len(kept) else one.expand(y.shape[1]),
    )


def _found_by(optimizer: PySINDyOptimizer, table: Tensor, drawn: Tensor | None, allowed: Tensor) -> Tensor:
    """Coefficients `E x k x D` by an optimiser of terms and targets `N x (k+D)`, each member by its rows and terms."""
    terms = allowed.shape[1]
    found = torch.zeros(*allowed.shape, table.shape[1] - terms, dtype=torch.float64)
    for member, has in enumerate(allowed):
        rows = table if drawn is None else table.repeat_interleave(drawn[member].long(), 0)
        found[member, has] = optimizer.fitted(rows[:, :terms][:, has], rows[:, terms:])
    return found


def _or_one(scale: Tensor) -> Tensor:
    return torch.where(scale > 0, scale, torch.ones_like(scale))


def _drawn(rows: int, settings: Settings, generator: torch.Generator) -> Tensor:
    """How often each member has each row, `E x N` float64."""
    number = max(int(settings.row_share * rows), 1)
    shape = (settings.members, number)
    picked = torch.randint(rows, shape, generator=generator, device=generator.device).cpu()
    return torch.stack([torch.bincount(each, minlength=rows) for each in picked]).double()


def _allowed(terms: int, settings: Settings, generator: torch.Generator) -> Tensor:
    """The terms that each member has, `E x k` bool."""
    allowed = torch.ones(settings.members, terms, dtype=torch.bool)
    denied = min(settings.drop_terms, terms - 1)
    if denied > 0:
        keys = torch.rand(allowed.shape, generator=generator, device=generator.device, dtype=torch.float64).cpu()
        allowed.scatter_(1, keys.topk(denied).indices, torch.zeros((), dtype=torch.bool).expand(len(allowed), denied))
    return allowed


def _independent(gram: Tensor) -> tuple[Tensor, list[int]]:
    """Places of the terms that no earlier ones add up to, and of the others, by a Cholesky factorisation in their order.

    Args:
        gram: `p x p`, with ones on its diagonal (zeros for terms that are 0).
    """
    left, kept, redundant = gram.clone(), [], []
    for place in range(len(gram)):
        if left[place, place] <= _REDUNDANT:
            redundant.append(place)
            continue
        kept.append(place)
        column = left[place + 1 :, place] / left[place, place]
        left[place + 1 :, place + 1 :].addr_(column, left[place, place + 1 :], alpha=-1.0)
    return torch.tensor(kept, dtype=torch.int64), redundant


def _condition(gram: Tensor) -> float:
    if len(gram) == 0:
        return 1.0
    eigenvalues = torch.linalg.eigvalsh(gram)
    return float((eigenvalues[-1] / eigenvalues[0].clamp(min=torch.finfo(torch.float64).tiny)).sqrt())


def _factor(parts: object, drawn: Tensor | None, columns: Tensor, rows: int) -> Tensor:
    """R of [Θ, Y] of each member, `E x (k+D) x (k+D)`."""
    found = []
    for weights in [torch.ones(rows, dtype=torch.float64)] if drawn is None else drawn:
        factor = torch.zeros(0, len(columns), dtype=torch.float64)
        for part, both in parts():  # type: ignore[operator]
            weighted = both[columns].T * weights[part].sqrt().unsqueeze(-1)
            factor = torch.linalg.qr(torch.cat((factor, weighted)), mode="r").R
        found.append(factor)
    return torch.stack(found)
