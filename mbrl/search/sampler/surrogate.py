"""The Gaussian process over mixed and conditional configurations."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.exceptions.warnings import BotorchWarning
from botorch.fit import fit_gpytorch_mll
from botorch.models import MixedSingleTaskGP, ModelListGP, SingleTaskGP
from botorch.models.kernels import CategoricalKernel
from botorch.models.model import Model
from botorch.models.transforms.input import InputTransform
from gpytorch import ExactMarginalLogLikelihood
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel, RBFKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.priors import LogNormalPrior
from linear_operator.utils.warnings import NumericalWarning
from optuna.distributions import CategoricalDistribution
from torch import Tensor

from mbrl.data import default_draws
from mbrl.search.sampler.codec import Codec
from mbrl.search.sampler.rows import Rows

# Wider than botorch's: runs of reinforcement learning may be exact (a closed form) or almost all noise.
NOISE_LOCATION, NOISE_SCALE, LEAST_NOISE = -4.0, 2.5, 1e-6
LEAST_LENGTHSCALE = 0.025
_STUDY = "of which study"  # the further column
MOST_ITERATIONS = 20  # of L-BFGS; three times more fit the rows better and other configurations no better


class ImputeInactive(InputTransform):
    """Puts the fill into inactive columns before any kernel sees them.

    Inside the model, so that the acquisition is flat along a parameter that means nothing, whatever is asked.
    """

    is_one_to_many = False

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec
        self.transform_on_train = self.transform_on_eval = self.transform_on_fantasize = True

    def transform(self, X: Tensor) -> Tensor:
        """Rows with their fills, `B… x columns`."""
        return self.codec.impute(X)


@contextmanager
def as_if_alone(*seed: object) -> Iterator[None]:
    """Has botorch draw from a stream of its own, and keeps its advice on scaling, jitter and iterations to itself."""
    with default_draws(*seed), warnings.catch_warnings(record=True) as caught:
        for category in (BotorchWarning, NumericalWarning):
            warnings.simplefilter("ignore", category)
        yield
    for warning in caught:  # recorded too, since botorch puts filters of its own before these for some
        if not issubclass(warning.category, BotorchWarning | NumericalWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


@dataclass(frozen=True)
class Surrogate:
    """A fitted model of a study.

    Attributes:
        model: botorch's, of one objective or several, larger is better.
        maximised: whether the likelihood was; else the hyperparameters are where their search began.
        extra: columns that the model has after the space's, 0 in this study.
    """

    model: Model
    maximised: bool
    extra: int

    def inputs(self, x: Tensor) -> Tensor:
        """Rows of the space, `B… x columns`, as the model wants them."""
        return torch.cat([x, x.new_zeros(*x.shape[:-1], self.extra)], -1) if self.extra else x

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the noise-free values at rows of the space, `B x objectives` each."""
        with torch.no_grad():
            posterior: Any = self.model.posterior(self.inputs(x))
        return posterior.mean, posterior.variance.clamp(min=0).sqrt()

    def lengthscales(self, numbers: Sequence[int]) -> Tensor:
        """How far one must go along each numeric column until values change, the geometric mean over the model's kernels."""
        found = [kernel.lengthscale.detach().flatten() for kernel in self.model.modules() if isinstance(kernel, RBFKernel)]
        if not found:
            return torch.ones(len(numbers), dtype=torch.float64)
        return torch.stack(found).log().mean(0).exp()


def fit(codec: Codec, rows: Rows, previous: Rows | None = None) -> Surrogate:
    """The model of a study's rows.

    Args:
        codec: the search space; categories get a Hamming kernel, added to and multiplied with that of the numbers.
        rows: at least one.
        previous: rows of an earlier study. Brought to this study's mean and spread and told apart by a further column, whose
            lengthscale says how far they are to be trusted.
    """
    x, y, noise = rows.x, rows.y, rows.noise
    extra = int(previous is not None and len(previous) > 0)
    if previous is not None and extra:
        codec = Codec({**codec.distributions, _STUDY: CategoricalDistribution(("this", "previous"))}, codec.conditions)
        mean, spread = _scale(y)
        their_mean, their_spread = _scale(previous.y)
        which = torch.cat([torch.zeros(len(x), 1), torch.ones(len(previous), 1)])
        x = torch.cat([torch.cat([x, previous.x]), which], -1)
        y = torch.cat([y, (previous.y - their_mean) / their_spread * spread + mean])
        noise = None  # that of one study is not known to be that of the other
    models, maximised = [], True
    for objective in range(y.shape[1]):
        column = slice(objective, objective + 1)
        model = _model(codec, x, y[:, column], None if noise is None else noise[:, column])
        likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
        try:
            fit_gpytorch_mll(likelihood, optimizer_kwargs={"options": {"maxiter": MOST_ITERATIONS}}, max_attempts=2)
        except ModelFittingError:
            maximised = False
            model = _model(codec, x, y[:, column], None if noise is None else noise[:, column])
        models.append(model.eval())
    return Surrogate(models[0] if len(models) == 1 else ModelListGP(*models), maximised, extra)


def _scale(y: Tensor) -> tuple[Tensor, Tensor]:
    spread = y.std(0) if len(y) > 1 else torch.zeros_like(y[0])
    return y.mean(0), torch.where(spread > 0, spread, torch.ones_like(spread))


def _model(codec: Codec, x: Tensor, y: Tensor, noise: Tensor | None) -> SingleTaskGP:
    likelihood = None
    if noise is None:
        likelihood = GaussianLikelihood(
            noise_prior=LogNormalPrior(NOISE_LOCATION, NOISE_SCALE),
            noise_constraint=LogGreaterThan(LEAST_NOISE, math.exp(NOISE_LOCATION)),
        )
    transform = ImputeInactive(codec) if any(column.parents for column in codec.columns) else None
    if codec.categories:
        model: SingleTaskGP = MixedSingleTaskGP(
            x,
            y,
            codec.categories,
            train_Yvar=noise,
            cont_kernel_factory=_number_kernel,
            likelihood=likelihood,
            input_transform=transform,
        )
        for kernel in model.covar_module.modules():
            if isinstance(kernel, ScaleKernel):
                _give_prior(kernel, "outputscale", 0.5)
            elif isinstance(kernel, CategoricalKernel):
                _give_prior(kernel, "lengthscale", 1.0)
    else:
        kernel = _number_kernel(torch.Size(), x.shape[1])
        model = SingleTaskGP(x, y, train_Yvar=noise, covar_module=kernel, likelihood=likelihood, input_transform=transform)
    return model.double()


def _number_kernel(batch_shape: torch.Size, ard_num_dims: int, active_dims: Sequence[int] | None = None) -> RBFKernel:
    """The kernel of the numbers with botorch's prior, whose lengthscales grow with their number (Hvarfner et al. 2024)."""
    prior = LogNormalPrior(math.sqrt(2) + 0.5 * math.log(ard_num_dims), math.sqrt(3))
    return RBFKernel(
        ard_num_dims=ard_num_dims,
        batch_shape=batch_shape,
        active_dims=active_dims,
        lengthscale_prior=prior,
        lengthscale_constraint=LogGreaterThan(LEAST_LENGTHSCALE, float(prior.mode)),
    )


class LogGreaterThan(GreaterThan):
    """A lower bound on a hyperparameter that is searched in logarithms, in which a third of the steps suffice.

    Args:
        least: the bound.
        start: where the search begins.
    """

    def __init__(self, least: float, start: float) -> None:
        super().__init__(least, transform=torch.exp, inv_transform=torch.log, initial_value=start)


def _give_prior(kernel: Kernel, name: str, start: float) -> None:
    """Holds a hyperparameter that botorch leaves free near its start, so that tens of rows don't drive it off."""
    kernel.register_constraint(f"raw_{name}", LogGreaterThan(1e-6, start))
    kernel.initialize(**{name: torch.full_like(getattr(kernel, name), start)})
    kernel.register_prior(
        f"{name}_prior",
        LogNormalPrior(math.log(start), 1.0),
        lambda module: getattr(module, name),
        lambda module, value: module.initialize(**{name: value}),  # botorch starts a failed fit anew from the prior
    )
