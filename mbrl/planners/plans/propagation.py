"""Propagation of plans through a model that has members and noise.

    name         one particle's next state
    ts1          drawn from a member that is drawn anew at every step
    ts_inf       drawn from the member that the particle keeps
    expectation  the mean of the members' means; one particle, no noise
    ds           drawn from one Gaussian with the members' mixture mean and variance ("distribution sampling")
    mm           as ds; then all particles of a plan are drawn again from the Gaussian that fits them ("moment matching");
                 also those that have terminated enter the fit, and one particle alone has nothing to fit

Chua2018: "Deep reinforcement learning in a handful of trials using probabilistic dynamics models" (PETS, NeurIPS 2018):
TS1, TS∞, E, DS and MM.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Literal

import torch
from torch import Tensor

from mbrl.data import ModelState, ModelStep, Prediction, draw_normal
from mbrl.errors import UnsupportedError
from mbrl.models import DynamicsModel, ObsState

Propagation = Literal["ts1", "ts_inf", "expectation", "ds", "mm"]
PROPAGATIONS: tuple[Propagation, ...] = ("ts1", "ts_inf", "expectation", "ds", "mm")


def follow_plans(
    dynamics: DynamicsModel,
    state: ModelState,
    actions: Tensor,
    particles: int,
    propagation: Propagation,
    want: Collection[str] = (),
) -> Iterator[ModelStep]:
    """The steps of `K` open-loop plans for each of `N` rollouts, with `P` particles each.

    Args:
        dynamics: the model.
        state: where the plans begin, `N` rows.
        actions: `N x K x H x A` in [−1, 1].
        particles: `P`; 1 under `expectation`.
        propagation: see the module.
        want: as in `DynamicsModel.step`.

    Yields:
        `H` steps of `P` blocks of `K` blocks of `N` rows.

    Raises:
        UnsupportedError: if the moments are asked of a model whose state is more than an observation.
    """
    plans, horizon = actions.shape[1], actions.shape[2]
    rows = dynamics.particles(state, plans, particles, follow=propagation == "ts_inf")
    flat = actions.transpose(0, 1).flatten(0, 1)  # K·N x H x A
    flat = flat.expand(particles, *flat.shape).flatten(0, 1)  # P·K·N x H x A
    if propagation in ("ts1", "ts_inf"):
        yield from dynamics.rollout(rows, flat, want)
        return
    if not isinstance(rows, ObsState):
        raise UnsupportedError(
            f"propagation {propagation!r} can't use {type(dynamics).__name__}: it steps its own state; use ts1 or ts_inf."
        )
    for depth in range(horizon):
        step = _moment_step(dynamics, rows, flat[:, depth], propagation, want)
        assert isinstance(step.state, ObsState)  # `sample` steps from one to the next
        rows = step.state
        yield step


def _moment_step(
    dynamics: DynamicsModel, state: ObsState, action: Tensor, propagation: Propagation, want: Collection[str]
) -> ModelStep:
    everyone = dynamics.predict_from(state, action)  # E x P·K·N x …
    if propagation == "expectation":
        drawn = _expected(everyone, dynamics.drawn_members)
    else:
        drawn = mixture(everyone, dynamics.drawn_members)
        if propagation == "mm":
            drawn = _matched(drawn, state)
    step = dynamics.sample(state, action, drawn)
    if "prediction" in want:
        step.prediction = everyone
    return step


def mixture(everyone: Prediction, members: Tensor) -> Prediction:
    """Mean and variance of the equal mixture of some members' Gaussians, and the logit of their mean probability of an end.

    Args:
        everyone: the prediction of all members, `E x B x …`.
        members: `e` int64, which of them.

    Returns:
        A prediction with dims `B x …`, whose variance is the mean of variances plus the (population) variance of means.
    """

    def total_variance(mean: Tensor, var: Tensor | None) -> Tensor:
        spread = _moments(mean[members])[1][0]
        return _flat_at_zero(spread if var is None else var[members].mean(0) + spread)

    def mean_end(next_obs: Tensor) -> Tensor:
        logit = everyone.end_logit(next_obs, members)
        assert logit is not None
        return _mean_logit(logit, 0)

    reward, logit = everyone.reward_mean, everyone.terminated_logit
    return Prediction(
        mean=everyone.mean[members].mean(0),
        var=total_variance(everyone.mean, everyone.var),
        reward_mean=None if reward is None else reward[members].mean(0),
        reward_var=None if reward is None else total_variance(reward, everyone.reward_var),
        terminated_logit=None if logit is None else _mean_logit(logit[members], 0),
        terminated_at=None if everyone.terminated_at is None else mean_end,
    )


def _mean_logit(logit: Tensor, dim: int) -> Tensor:
    """The logit of the mean probability over a dim, which is far from the mean logit where members disagree."""
    return torch.logit(torch.sigmoid(logit.double()).mean(dim)).to(logit.dtype)


def _flat_at_zero(var: Tensor) -> Tensor:
    """The same variances, without a gradient where they are 0: that of their root is infinite there."""
    return torch.where(var == 0, 0.0, var)  # and NaN stays NaN


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population variance over the first dim, which is kept; many times faster than torch's `var` over it."""
    mean = values.mean(0, keepdim=True)
    return mean, (values - mean).square().mean(0, keepdim=True)


def _expected(everyone: Prediction, members: Tensor) -> Prediction:
    """The mean of some members' means, without any variance: an end comes where it is likelier than not, and isn't drawn."""
    mean, reward = everyone.mean[members].mean(0), everyone.reward_mean
    expected = None if reward is None else reward[members].mean(0)

    def decided(logit: Tensor | None) -> Tensor:
        assert logit is not None
        return torch.where(_mean_logit(logit, 0) > 0, torch.inf, -torch.inf)

    logit = everyone.terminated_logit
    return Prediction(
        mean,
        torch.zeros_like(mean),
        expected,
        None if expected is None else torch.zeros_like(expected),
        None if logit is None else decided(logit[members]),
        # of where the step led, which a model may have projected
        None if everyone.terminated_at is None else lambda next_obs: decided(everyone.end_logit(next_obs, members)),
    )


def _matched(drawn: Prediction, state: ObsState) -> Prediction:
    """The Gaussian, without covariances, that fits all particles of a plan after a step of each: one for all of them."""
    particles, size = state.particles, drawn.mean.shape[-1]
    noise = draw_normal(state.generator, drawn.mean.shape[0], size + 1, drawn.mean)  # P·K·N x (S+1)

    def fitted(values: Tensor) -> tuple[Tensor, Tensor]:
        blocks = values.unflatten(0, (particles, -1))  # P x K·N …
        mean, var = _moments(blocks)  # 1 x K·N …
        return mean.expand_as(blocks).flatten(0, 1), _flat_at_zero(var).expand_as(blocks).flatten(0, 1)

    mean, var = fitted(torch.addcmul(drawn.mean, drawn.var.sqrt(), noise[:, :size]))
    reward_mean = reward_var = None
    if drawn.reward_mean is not None:
        sampled = drawn.reward_mean
        if drawn.reward_var is not None:
            sampled = torch.addcmul(sampled, drawn.reward_var.sqrt(), noise[:, size])
        reward_mean, reward_var = fitted(sampled)

    def shared(logit: Tensor) -> Tensor:
        blocks = logit.unflatten(0, (particles, -1))  # P x K·N
        return _mean_logit(blocks, 0).expand_as(blocks).flatten(0, 1)

    logit, at = drawn.terminated_logit, drawn.terminated_at
    return Prediction(
        mean,
        var,
        reward_mean,
        reward_var,
        None if logit is None else shared(logit),
        None if at is None else lambda next_obs: shared(at(next_obs)),
    )
