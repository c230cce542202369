"""The loss of a Gaussian, its own or one that it was given for its mean."""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl.data import Transitions, ValueFunction
from mbrl.models.losses.base import ModelLoss


def gaussian_loss(square: Tensor, log_var: Tensor | None) -> Tensor:
    """Twice the negative log-likelihood without its constant, or the squared error; mean over rows and dims, sum of members.

    Args:
        square: squared errors of the mean, `E x B x D`.
        log_var: `E x B x D`; None of a model without variances.
    """
    if log_var is None:
        return square.mean((1, 2)).sum()
    return (square * torch.exp(-log_var) + log_var).mean((1, 2)).sum()


def given_loss(
    given: ModelLoss,
    mean: Tensor,
    log_var: Tensor | None,
    target: Tensor,
    rows: Transitions,
    scale: Tensor,
    value: ValueFunction | None,
) -> Tensor:
    """A given loss of the mean, and the likelihood of the variances that it leaves, with the mean held constant.

    Samples of a Gaussian in a squared error would drive its variance to 0, and a weighted likelihood would weigh the
    variance too: neither is a loss of the mean.

    Args:
        given: the loss.
        mean: `E x B x D` normalised.
        log_var: `E x B x D`, or None.
        target: `(E x) B x D` normalised.
        rows: `(E x) B`.
        scale: `D`, see `ModelLoss.extras`.
        value: see there.
    """
    loss = given_errors(given, mean, log_var, target, rows, scale, value).mean(1).sum()
    left = rows.obs.shape[-1] if given.fits_variance else 0  # of the reward at least
    if log_var is None or left == mean.shape[-1]:
        return loss
    return loss + gaussian_loss((mean.detach() - target).square()[..., left:], log_var[..., left:])


def given_errors(
    given: ModelLoss,
    mean: Tensor,
    log_var: Tensor | None,
    target: Tensor,
    rows: Transitions,
    scale: Tensor,
    value: ValueFunction | None,
) -> Tensor:
    """The cost of each row by a given loss, `E x B`; arguments as of `given_loss`."""
    sd = None if log_var is None else torch.exp(0.5 * log_var)  # E x B x D
    return given.errors(mean, target, rows, scale, value, sd)
