"""UP-MPC: choose among the policy's own actions by short model rollouts that count reward and uncertainty (COPlanner).

    R_j = Σ_{h<H} γ_r^h r_h,   U_j = Σ_{h<H} γ_u^h u_h,   j* = argmax_j R_j + c U_j

over K candidate first actions of the policy, each followed by the policy in the model. With c > 0 the choice is drawn to
what the model doesn't know (exploration in the real environment), with c < 0 it avoids it (rollouts in the model).

Wang2024: "COPlanner: plan to roll out conservatively but to explore optimistically for model-based RL" (ICLR 2024; the
released code).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mbrl.arguments import Count, Share, check_whole
from mbrl.data import Generator, ModelState, ModelStep, RowGenerator, draw_balanced
from mbrl.errors import UnsupportedError
from mbrl.models import DynamicsModel
from mbrl.models.obs_state import ObsState
from mbrl.models.predict_members import predict_members
from mbrl.planners.rollouts.check_measure import check_measure
from mbrl.planners.rollouts.selectors import ActionSelector, Situation
from mbrl.uncertainty import Sample, SampleSpread, UncertaintyMeasure


@dataclass
class Scores:
    """Scores of UP-MPC's candidates.

    Attributes:
        actions: `K x B x A`, the candidates.
        reward: R, `K x B`.
        uncertainty: U, `K x B`.
    """

    actions: Tensor
    reward: Tensor
    uncertainty: Tensor


def best_candidate(reward: Tensor, uncertainty: Tensor, rate: float, normalize: bool = False) -> Tensor:
    """j* = argmax_j R_j + c U_j over the first dim; candidates whose score isn't finite come last.

    Args:
        reward: R, `K x B`.
        uncertainty: U, `K x B`.
        rate: c, in reward units per unit of uncertainty; with `normalize` in standard deviations per standard deviation.
        normalize: whether both sums are first divided by their standard deviation over a row's candidates of finite score.

    Returns:
        `B` int64.
    """
    usable = _usable(reward, uncertainty, rate)
    if normalize:
        reward, uncertainty = _standardized(reward, usable), _standardized(uncertainty, usable)
    score = torch.add(reward, uncertainty, alpha=rate) if rate != 0 else reward  # K x B
    return torch.where(usable, score, -torch.inf).argmax(0)


def _usable(reward: Tensor, uncertainty: Tensor, rate: float) -> Tensor:
    """Candidates whose score is finite, `K x B` bool."""
    return (torch.add(reward, uncertainty, alpha=rate) if rate != 0 else reward).isfinite()


def _standardized(values: Tensor, usable: Tensor) -> Tensor:
    filled, spread = _filled_and_spread(values, usable)
    return (values - filled.mean(0, keepdim=True)) / torch.where(spread > 0, spread, torch.ones_like(spread))


def _filled_and_spread(values: Tensor, usable: Tensor) -> tuple[Tensor, Tensor]:
    """`values` (`K x B`) with the mean of a row's usable candidates for its others, and the usable ones' sd (`B`)."""
    count = usable.sum(0).clamp(min=1)  # B
    mean = torch.where(usable, values, 0).sum(0) / count  # B
    filled = torch.where(usable, values, mean)
    unfilled = (len(values) / count.to(values.dtype)).sqrt()  # the fillers add nothing to the squares
    return filled, filled.std(0, correction=0) * unfilled


def _mean_spread(values: Tensor, usable: Tensor, counted: Tensor) -> Tensor:
    """Mean of the usable candidates' sd over the counted rows (`B` bool); 0 where there is none."""
    spread = _filled_and_spread(values, usable)[1]  # B
    return torch.where(counted, spread, 0).mean() * (len(counted) / counted.sum(dtype=spread.dtype).clamp(min=1))


class UPMPC(ActionSelector):
    """Takes the best of several of the policy's actions, by return and uncertainty of short model rollouts [Wang2024].

    Candidates are drawn from the policy's stream, everything that follows from the planning stream, so that one candidate
    gives what `PolicySample` gives, bit for bit. Planned rollouts draw a member at each step (TS1). By default they go on
    after a predicted termination and end without a value, as the released code does.

    Args:
        rate: c. Above 0 seeks uncertainty, below 0 avoids it, 0 maximises the predicted return alone. It weighs the
            uncertainty in the model's units against the reward's, so that it needs setting for each task: compare the
            metrics `…/reward_spread` and `…/uncertainty_spread`.
        candidates: `K`. More finds more extreme actions, at a proportional cost; 1 doesn't plan.
        horizon: `H`, model steps of a candidate. More sees further, at a proportional cost, and compounds the error.
        reward_discount: γ_r; less counts later rewards less.
        uncertainty_discount: γ_u, likewise.
        uncertainty: the measure u of a step; by default the sd over all members of their noisy samples, mean over
            observation dims and the reward where the model learns it (`SampleSpread`), as in the released code.
        uncertainty_steps: steps whose uncertainty counts, the first ones; None all. Fewer saves the other steps all members
            but one.
        uncertainty_members: members that measured steps ask, the first of those that rollouts draw (an ensemble's most
            accurate); None all. Fewer cost as much less, and make both u and the drawn reward depend on these few alone.
        mask_terminations: whether rewards and uncertainty stop after a predicted termination. After a halt of the model's
            own (`DynamicsModel.halted`) they always do.
        terminal_value: adds γ_r^H times the value of where a candidate ends, the `"mean"` or `"min"` over critics.
        normalize: whether R and U are divided by their spread over the candidates, which frees the rate from units.
        common_noise: whether all candidates of a state meet the same draws, of members, of the model's noise and of the
            policy's later actions (common random numbers), so that they differ by their first actions alone. With draws of
            its own for each candidate, as in the released code, the luckiest wins where these matter more than the action.

    Raises:
        ConfigError: for a number out of range, or a choice that there isn't.
        UnsupportedError: from `check`, for a model that the measure can't be asked of.
    """

    def __init__(
        self,
        rate: float,
        candidates: Count = 5,
        horizon: Count = 5,
        reward_discount: Share = 0.97,
        uncertainty_discount: Share = 0.97,
        uncertainty: UncertaintyMeasure | None = None,
        uncertainty_steps: Count | None = None,
        uncertainty_members: Count | None = None,
        mask_terminations: bool = False,
        terminal_value: Literal["mean", "min"] | None = None,
        normalize: bool = False,
        common_noise: bool = False,
    ) -> None:
        if uncertainty_steps is not None:
            check_whole("UPMPC(uncertainty_steps=…)", uncertainty_steps, 1, horizon)
        self.rate = rate
        self.candidates = candidates
        self.horizon = horizon
        self.reward_discount = reward_discount
        self.uncertainty_discount = uncertainty_discount
        self.uncertainty = uncertainty
        self.uncertainty_steps = horizon if uncertainty_steps is None else uncertainty_steps
        self.uncertainty_members = uncertainty_members
        self.mask_terminations = mask_terminations
        self.terminal_value = terminal_value
        self.normalize = normalize
        self.common_noise = common_noise

    def check(self, dynamics: DynamicsModel) -> None:
        if self.candidates > 1 and self.rate != 0:
            measure = self.uncertainty or SampleSpread()
            check_measure("UPMPC", "uncertainty", measure, dynamics)
            self._check_few(measure, dynamics)

    def _check_few(self, measure: UncertaintyMeasure, dynamics: DynamicsModel) -> None:
        few = self.uncertainty_members
        if few is None:
            return
        if type(dynamics).step is not DynamicsModel.step:
            raise UnsupportedError(
                f"UPMPC(uncertainty_members={few}) can't use {type(dynamics).__name__}: it steps in its own way, by all of "
                "its members; leave uncertainty_members out."
            )
        least, most = measure.least_members, len(dynamics.drawn_members)
        if not least <= few <= most:
            raise UnsupportedError(
                f"UPMPC(uncertainty_members=…): expected {least} to {most} of the members that rollouts draw, got {few}."
            )

    def select(self, situation: Situation) -> Tensor:
        if self.candidates == 1:
            return self._drawn(situation)
        scores = self.scores(situation)
        chosen = best_candidate(scores.reward, scores.uncertainty, self.rate, self.normalize)  # B
        usable = _usable(scores.reward, scores.uncertainty, self.rate)  # K x B
        counted = usable.any(0) if situation.alive is None else usable.any(0) & situation.alive  # B
        reward_spread = _mean_spread(scores.reward, usable, counted)
        # normalised, U counts as if it were spread as widely as R
        spread = reward_spread if self.normalize else _mean_spread(scores.uncertainty, usable, counted)
        situation.report({"reward_spread": reward_spread, "uncertainty_spread": abs(self.rate) * spread})
        return scores.actions[chosen, torch.arange(len(chosen), device=chosen.device)]

    def scores(self, situation: Situation) -> Scores:
        """Follows each candidate through the model."""
        policy, dynamics, start = situation.policy, situation.dynamics, situation.start
        assert dynamics is not None and start is not None  # it needs them
        action = self._drawn(situation)  # K·B x A
        first = action.unflatten(0, (self.candidates, -1))  # K x B x A
        noise = _tiled(situation.planning_generator, self.candidates)
        state = dynamics.particles(start(situation.planning_generator), self.candidates, 1)
        if self.common_noise:
            noise = _repeated(situation.planning_generator, self.candidates, situation.obs)
            state = state.fork(noise)
        reward = action.new_zeros(action.shape[0])  # K·B
        uncertainty = torch.zeros_like(reward)
        alive = torch.ones_like(reward, dtype=torch.bool)
        measured = self.uncertainty_steps if self.rate != 0 else 0
        drawn = dynamics.drawn_members  # e
        few = None if self.uncertainty_members is None else drawn[: self.uncertainty_members]  # n
        if few is not None:
            drawn = torch.arange(len(few), device=few.device)  # in their prediction they are the members there are
        for depth in range(self.horizon):
            if depth >= measured:
                step = dynamics.step(state, action)
            elif few is None:
                step = dynamics.step(state, action, ("prediction",))
            else:
                step = _step_by(few, dynamics, state, action)
            gained = step.reward
            reward = torch.where(alive, torch.add(reward, gained, alpha=self.reward_discount**depth), reward)
            if step.prediction is not None and depth < measured:
                measure = self.uncertainty or SampleSpread(reward=step.prediction.reward_mean is not None)
                sample = Sample.of(step, situation.value, dynamics.built_task)
                unsure = measure(step.prediction, drawn, sample, noise)
                added = torch.add(uncertainty, unsure, alpha=self.uncertainty_discount**depth)
                uncertainty = torch.where(alive, added, uncertainty)
            if self.mask_terminations:
                alive = alive & ~step.terminated
            if step.halt is not None:
                alive = alive & ~step.halt
            state = step.state
            if depth + 1 < self.horizon:
                action = policy.sample(state.obs, noise, action)[0]
        if self.terminal_value is not None:
            reward = torch.where(
                alive, reward + self.reward_discount**self.horizon * self._value(situation, state.obs), reward
            )
        shape = (self.candidates, -1)
        return Scores(first, reward.view(shape), uncertainty.view(shape))

    def _drawn(self, situation: Situation) -> Tensor:
        """`K` blocks of candidate actions, `K·B x A`, from the policy's stream."""
        generator = _tiled(situation.policy_generator, self.candidates)
        obs = situation.obs.expand(self.candidates, *situation.obs.shape)  # K x B x S, of which a network may see B
        before = situation.prev_action
        before = None if before is None else before.expand(self.candidates, *before.shape)  # K x B x A
        return situation.policy.sample(obs, generator, before)[0].flatten(0, 1)

    def _value(self, situation: Situation, obs: Tensor) -> Tensor:
        if situation.value is None:
            raise UnsupportedError("UPMPC(terminal_value=…): expected a planner with critics, got one without; set None.")
        values = situation.value.value(obs)  # J x K·B
        return values.mean(0) if self.terminal_value == "mean" else values.amin(0)


def _step_by(members: Tensor, dynamics: DynamicsModel, state: ModelState, action: Tensor) -> ModelStep:
    """A step drawn from a few members, `n` int64, whose predictions come with it and whose places it names."""
    assert isinstance(state, ObsState)  # `check` has refused models that step in their own way
    said = predict_members(dynamics, state, action, members)
    places = torch.arange(len(members), device=members.device)  # n
    place = draw_balanced(state.generator, state.obs.shape[0], places, state.particles)  # B
    step = dynamics.sample(state, action, said.of_member(place))
    step.prediction, step.member = said, place
    return step


def _tiled(generator: Generator, n: int) -> Generator:
    return generator.tile(n) if isinstance(generator, RowGenerator) else generator


def _repeated(generator: Generator, n: int, obs: Tensor) -> Generator:
    """A generator for `n` blocks of the rows of `obs` (`B x S`), the same numbers in each."""
    rows = generator if isinstance(generator, RowGenerator) else RowGenerator(generator, len(obs))
    return rows.repeat(n, obs.device)


__all__: Sequence[str] = ["UPMPC", "Scores", "best_candidate"]
