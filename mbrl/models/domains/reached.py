"""`reached`: the values that rows have, beside which bounds are seen to be in other units."""

from __future__ import annotations

from torch import Tensor


def reached(obs: Tensor) -> str:
    """The least and the largest of each observation of `N x S`, in words: `-1 to 1, 270 to 290`."""
    both = zip(obs.amin(0).tolist(), obs.amax(0).tolist(), strict=True)
    return ", ".join(f"{least:g} to {most:g}" for least, most in both)
