"""Sentences about a fit that may not be what was meant."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch
from torch import Tensor

from mbrl.networks.sparse import Terms
from mbrl.networks.sparse.regression import Fit

_SHOWN = 8  # names in a sentence
_CONDITION = 1e6  # of the library, above which coefficients are uncertain


def complaints(
    which: str, terms: Terms, fit: Fit, coefficients: Tensor, threshold: float, circles: Collection[int] = ()
) -> Iterator[tuple[str, str]]:
    """Sentences about a fit, each with a key that says of what kind it is.

    Args:
        which: the argument that names the library.
        terms: the library's.
        fit: what was found.
        coefficients: what is kept of it, `E x p x D`.
        threshold: of the fit.
        circles: places of observations that are known to lie on circles, where redundant terms are no news.
    """
    who = f"SINDy({which}=…)"
    if any(not set(terms.factors[place]) & set(circles) for place in fit.redundant):
        names = terms.names()
        shown = ", ".join(names[place] for place in fit.redundant[:_SHOWN]) + (", …" if len(fit.redundant) > _SHOWN else "")
        yield (
            f"{which} redundant",
            f"{who}: expected terms none of which is a sum of others, got {len(fit.redundant)} that are: {shown}; they are "
            "left out. The squares of a cosine and a sine add up to 1: set bias=False, lower the degree, or say so by a "
            "UnitCircle; constant inputs add nothing: name the others.",
        )
    elif fit.condition > _CONDITION:
        yield (
            f"{which} condition",
            f"{who}: expected terms of a condition number up to {_CONDITION:g}, got {fit.condition:.1e}, at which their "
            "coefficients are uncertain; lower the degree, or collect rows that differ more.",
        )
    lost = fit.moves & ~(coefficients != 0).any(1).any(0)  # D
    if bool(lost.any()):
        places = lost.nonzero()[:, 0].tolist()
        sizes = ", ".join(f"{fit.largest[place]:.3g}" for place in places)
        what = "the reward" if which == "reward_library" else f"observations {places}"
        yield (
            f"{which} lost",
            f"{who}: expected a threshold below the largest coefficients, got {threshold:g}, which leaves {what} without a "
            f"term (largest: {sizes}); lower it.",
        )


def stuck(terms: Terms, moves: Tensor, coefficients: Tensor, threshold: float) -> Iterator[tuple[str, str]]:
    """A sentence where a threshold left next observations nothing but the observation, for which the time step is to blame.

    Args:
        terms: `p`.
        moves: `S` bool, the observations that change.
        coefficients: `E x p x S` of the next observations.
        threshold: of the fit.
    """
    own = torch.tensor(
        [[factors == (place,) for place in range(len(moves))] for factors in terms.factors], dtype=torch.bool
    )  # p x S
    others = torch.where(own, 0.0, coefficients).abs().amax((0, 1))  # S
    off = torch.where(own, coefficients - 1, 0.0).abs().amax((0, 1))  # S, of its own coefficient from 1
    places = (moves & own.any(0) & (others == 0) & (off <= threshold)).nonzero()[:, 0].tolist()
    if places:
        yield (
            "stuck",
            "SINDy(target='next_obs'): expected a threshold below the time step times the coefficients of the change, got "
            f"{threshold:g}, which leaves observations {places} as they were; lower it, or set target='change', whose "
            "threshold knows no time step.",
        )
