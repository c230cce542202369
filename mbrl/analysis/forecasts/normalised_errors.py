"""Errors of observations in units of a scale, so that their dims can be compared and added up."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mbrl.data.task import checked_names

ALL = "all (normalised)"  # in place of a dimension's name


def dimension_names(who: str, names: Sequence[str] | None, size: int) -> list[str]:
    """`names`, or `obs[0]`, `obs[1]` and so on.

    Raises:
        ConfigError: if there are more or fewer than `size`, or two are the same.
    """
    if names is None:
        return [f"obs[{number}]" for number in range(size)]
    return list(checked_names(f"{who}(names=…)", names, size))


def scale_of(values: Tensor, obs: Tensor) -> Tensor:
    """The standard deviation of each column, `S` float64 on the CPU; 0 where it is no more than rounding of `obs`.

    Args:
        values: `B x S`, observations or their changes.
        obs: `B x S`, the observations, whose size says what rounding is.
    """
    sd = values.double().std(0, correction=0).cpu()
    return torch.where(sd > 4 * torch.finfo(obs.dtype).eps * obs.abs().amax(0).double().cpu(), sd, 0.0)


def left_out(scale: Tensor, names: Sequence[str], what: str) -> list[str]:
    """A note on the dimensions without a scale, if there are any: they can't count in a normalised total."""
    still = [name for name, size in zip(names, scale.tolist(), strict=True) if size == 0]
    if not still:
        return []
    return [f"Left out of normalised numbers, since {what} doesn't vary in these rows: {', '.join(still)}."]


def total_of(errors: Tensor, scale: Tensor) -> Tensor:
    """The root mean square over dims of errors in units of `scale`, `…`; NaN where a dim is, or where none has a scale.

    Args:
        errors: `… x S`, environment units.
        scale: `S`, 0 for a dim that doesn't count.
    """
    counted = scale > 0
    return (errors[..., counted] / scale[counted]).square().mean(-1).sqrt()


def within_rounding(error: Tensor, obs: Tensor) -> bool:
    """Says whether one-step errors (`… x S`, environment units) are no more than rounding of the real `obs` (`… x S`).

    Each dim by its own size, since a millimetre beside a kilometre is no rounding where it is a dim of its own.
    """
    known = error.isfinite()
    if not known.any():
        return False
    size = obs.abs().flatten(0, -2).amax(0).double().cpu().clamp(min=1e-30)  # S
    return bool((error <= 256 * torch.finfo(obs.dtype).eps * size)[known].all())
