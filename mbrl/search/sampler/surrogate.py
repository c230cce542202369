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
from botorch.models.transforms.outcome import Standardize
from gpytorch import ExactMarginalLogLikelihood
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel, MaternKernel, RBFKernel, ScaleKernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.priors import LogNormalPrior
from linear_operator.utils.warnings import NumericalWarning
from optuna.distributions import CategoricalDistribution, FloatDistribution
from torch import Tensor

from mbrl.data import default_draws
from mbrl.search.sampler.codec import Codec
from mbrl.search.sampler.rows import Rows

# Wider than botorch's: runs of reinforcement learning may be exact (a closed form) or almost all noise.
NOISE_LOCATION, NOISE_SCALE, LEAST_NOISE = -4.0, 2.5, 1e-6
LEAST_LENGTHSCALE = 0.025
_STUDY, _LEFT = "of which study", "share of the run that was left"  # the further columns, 0 in whole runs of this study
# How much a report says of the end. With the prior's median a report after a third of a run and the run's end correlate by
# 0.89, as learning curves cross but mostly keep their order; one standard deviation less makes it 0.7, two 0.3, so that tens
# of curves that cross can say so.
LEFT_LENGTHSCALE, LEFT_SPREAD = 2.0, 0.7
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
    """Lets botorch draw from a stream of its own, and hides its advice on scaling, jitter and iterations."""
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
        extra: number of columns that the model has after the space's; they are 0 in this study.
    """

    model: Model
    maximised: bool
    extra: int

    def inputs(self, x: Tensor) -> Tensor:
        """Adds the extra columns to rows of the space, `B… x columns`."""
        return torch.cat([x, x.new_zeros(*x.shape[:-1], self.extra)], -1) if self.extra else x

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Predicts mean and standard deviation of the noise-free values at rows of the space, `B x objectives` each."""
        with torch.no_grad():
            posterior: Any = self.model.posterior(self.inputs(x))
        return posterior.mean, posterior.variance.clamp(min=0).sqrt()

    def lengthscales(self, numbers: Sequence[int]) -> Tensor:
        """Computes the lengthscale of each numeric column, the geometric mean over the model's kernels."""
        found = [kernel.lengthscale.detach().flatten() for kernel in self.model.modules() if isinstance(kernel, RBFKernel)]
        if not found:
            return torch.ones(len(numbers), dtype=torch.float64)
        return torch.stack(found).log().mean(0).exp()


class OverRuns(Kernel):
    """A kernel of configurations times one of the last column, the share of the run that was still to come.

    The latter is a Matérn 3/2: learning curves are smooth, but what an infinitely smooth kernel reads out of the last three
    reports of a pruned run is their slope, which it would follow far beyond.

    Args:
        configurations: of the columns before.
    """

    def __init__(self, configurations: Kernel) -> None:
        super().__init__()
        self.configurations = configurations
        self.runs = MaternKernel(
            nu=1.5,
            lengthscale_prior=LogNormalPrior(math.log(LEFT_LENGTHSCALE), LEFT_SPREAD),
            lengthscale_constraint=LogGreaterThan(LEAST_LENGTHSCALE, LEFT_LENGTHSCALE),
        )

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Any:
        """Covariances of rows `B… x columns`; only their diagonal with `diag`."""
        parts = [
            kernel(x1[..., part], x2[..., part], diag=diag, **params)
            for kernel, part in ((self.configurations, slice(None, -1)), (self.runs, slice(-1, None)))
        ]
        return parts[0] * parts[1]


def fit(codec: Codec, rows: Rows, previous: Rows | None = None) -> Surrogate:
    """Fits the model of a study's rows.

    Args:
        codec: the search space; categories get a Hamming kernel, added to and multiplied with that of the numbers.
        rows: at least one. Reports are further rows, told apart by a further column; one noise is inferred for all rows,
            though a value that is a mean of evaluations has less of it than a single one.
        previous: rows of an earlier study. Brought to the mean and spread of this study's whole runs by its own, and told
            apart by a further column, whose lengthscale says how far they are to be trusted.
    """
    x, y, noise, left = rows.observed()
    extra = int(previous is not None and len(previous) > 0)
    if previous is not None and extra:
        codec = Codec({**codec.distributions, _STUDY: CategoricalDistribution(("this", "previous"))}, codec.conditions)
        their_x, their_y, _, their_left = previous.observed()
        mean, spread = _scale(rows.known().y)
        their_mean, their_spread = _scale(previous.known().y)
        which = torch.cat([x.new_zeros(len(x), 1), x.new_ones(len(their_x), 1)])
        if left is not None or their_left is not None:
            both = [(left, x), (their_left, their_x)]
            left = torch.cat([part.new_zeros(len(part)) if one is None else one for one, part in both])
        x = torch.cat([torch.cat([x, their_x]), which], -1)
        y = torch.cat([y, (their_y - their_mean) / their_spread * spread + mean])
        noise = None  # that of one study is not known to be that of the other
    if left is not None:
        extra += 1
        codec = Codec({**codec.distributions, _LEFT: FloatDistribution(0.0, 1.0)}, codec.conditions)
        x = torch.cat([x, left[:, None]], -1)
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
    options: dict[str, Any] = {
        "train_Yvar": noise,
        "likelihood": _likelihood(noise),
        "outcome_transform": _units(y),
        "input_transform": ImputeInactive(codec) if any(column.parents for column in codec.columns) else None,
    }
    if codec.columns[-1].name == _LEFT:
        inner = Codec({name: kind for name, kind in codec.distributions.items() if name != _LEFT}, codec.conditions)
        kernel = OverRuns(_model(inner, x[:, :-1], y, noise).covar_module)
        return SingleTaskGP(x, y, covar_module=kernel, **options).double()
    if not codec.categories:
        return SingleTaskGP(x, y, covar_module=_number_kernel(torch.Size(), x.shape[1]), **options).double()
    model = MixedSingleTaskGP(x, y, codec.categories, cont_kernel_factory=_number_kernel, **options)
    for part in model.covar_module.modules():
        if isinstance(part, ScaleKernel):
            _give_prior(part, "outputscale", 0.5)
        elif isinstance(part, CategoricalKernel):
            _give_prior(part, "lengthscale", 1.0)
    return model.double()


def _units(y: Tensor) -> Standardize:
    """Values by their mean and spread; botorch takes one below 1e-8 for none, and squared errors may differ by less."""
    return Standardize(m=1, min_stdv=min(1e-8, max(1e-12 * float(y.abs().max()), 1e-100)))


def _likelihood(noise: Tensor | None) -> GaussianLikelihood | None:
    """That of noise that must be inferred; None, for botorch to make it, where it is known."""
    if noise is not None:
        return None
    return GaussianLikelihood(
        noise_prior=LogNormalPrior(NOISE_LOCATION, NOISE_SCALE),
        noise_constraint=LogGreaterThan(LEAST_NOISE, math.exp(NOISE_LOCATION)),
    )


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
