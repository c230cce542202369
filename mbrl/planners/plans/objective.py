"""`PlanObjective`: the returns of many plans in a model, which every MPC optimiser maximises.

    symbol  meaning
    J       mean over P particles of Σ_{t<H} γ^t alive_t (r_t + c u_t − κ d_t) + γ^H alive_H V(s_H)
    alive   1 until the step after a predicted termination or a halt of the model's, whose own reward still counts
    κ d_t   the cost of ending, paid by the step that terminates (d_t = 1), once; a halt is free
    c u_t   uncertainty of the prediction at step t and its rate: below 0 a penalty, above 0 a bonus
    V       the terminal value, if there is a critic

Chua2018: PETS (undiscounted, no terminal value). Hansen2024: "TD-MPC2" (discounted, with a terminal value).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl.data import Generator, ModelState, ValueFunction
from mbrl.models import DynamicsModel
from mbrl.models.capabilities import require_prediction
from mbrl.planners.plans.propagation import Propagation, follow_plans
from mbrl.uncertainty import Sample, UncertaintyMeasure


@dataclass
class PlanObjective:
    """Returns of `K` plans for each of `N` states.

    Attributes:
        dynamics: the model.
        particles: `P`, rollouts of a plan, over which its return is averaged.
        propagation: how a plan is followed; see `mbrl.planners.plans.propagation`.
        discount: γ.
        terminal_value: of observations `B x S`, `B`; None for no terminal value.
        uncertainty: a measure of what the model doesn't know; None for none.
        uncertainty_rate: its weight c, reward units per unit of it.
        termination_cost: κ, reward units, 0 or more; where rewards are negative, plans that end early look best without one.
        value: critics, for a measure that asks them.
    """

    dynamics: DynamicsModel
    particles: int = 1
    propagation: Propagation = "ts_inf"
    discount: float = 1.0
    terminal_value: Callable[[Tensor], Tensor] | None = None
    uncertainty: UncertaintyMeasure | None = None
    uncertainty_rate: float = 0.0
    value: ValueFunction | None = None
    termination_cost: float = 0.0

    def returns(
        self, state: ModelState, actions: Tensor, noise: Generator | None = None, halts: list[Tensor] | None = None
    ) -> Tensor:
        """The return of each plan; −inf where a particle's states or rewards stop being finite before it ends.

        Such a plan left what the model can predict; counted as zero it would beat every plan with a negative return.

        Args:
            state: where the plans begin, `N` rows; its generator draws the model's noise.
            actions: `N x K x H x A` in [−1, 1].
            noise: what the uncertainty measure draws from, for measures that draw.
            halts: takes the share of particles that the model halted, a scalar, if it halts any.

        Returns:
            `N x K`, differentiable in `actions` if the model is and gradients are enabled.

        Raises:
            UnsupportedError: if there is an uncertainty, and the model gives no all-member prediction for it.
        """
        environments, plans = actions.shape[:2]
        want = ("prediction",) if self.uncertainty is not None else ()
        total: Tensor | None = None
        weight = 1.0
        for step in follow_plans(self.dynamics, state, actions, self.particles, self.propagation, want):
            reward = step.reward  # P·K·N
            if self.uncertainty is not None:
                who = f"PlanObjective(uncertainty={type(self.uncertainty).__name__})"
                prediction = require_prediction(step, self.dynamics, who)
                sample = Sample.of(step, self.value, self.dynamics.built_task)
                unsure = self.uncertainty(prediction, self.dynamics.drawn_members, sample, noise)
                reward = reward + self.uncertainty_rate * unsure
            if self.termination_cost != 0:
                reward = torch.where(step.terminated, reward - self.termination_cost, reward)
            if total is None:
                total = weight * reward
                alive = ~step.ended
                fine = step.finite
                halted = step.halt
            else:
                total = torch.where(alive, torch.add(total, reward, alpha=weight), total)
                fine = fine & (step.finite | ~alive)
                halted = None if halted is None or step.halt is None else halted | (step.halt & alive)
                alive = alive & ~step.ended
            weight *= self.discount
            last = step.next_obs
        assert total is not None  # a horizon is at least 1
        if halts is not None and halted is not None:
            halts.append(halted.double().mean())
        if self.terminal_value is not None:
            total = torch.where(alive, torch.add(total, self.terminal_value(last), alpha=weight), total)
        fine = fine & torch.isfinite(total)
        shape = (self.particles, plans, environments)
        mean = total.view(shape).mean(0)  # K x N
        return torch.where(fine.view(shape).all(0), mean, -torch.inf).T  # N x K
