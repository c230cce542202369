"""`WatchedRun`: a planner at work in its real environments, looked at now and then."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mbrl.analysis.model_error.executed_plans import Copies, Truth, discounted, start_rows
from mbrl.analysis.progress import Progress
from mbrl.data import make_generator
from mbrl.envs.experience import Experience
from mbrl.errors import CheckpointError, UnsupportedError
from mbrl.models import DynamicsModel
from mbrl.planners import MakesPlans, Planner, PlanObjective
from mbrl.policies import Policy


@dataclass
class Settings:
    """The terms of a promise.

    Attributes:
        horizon: `H` steps.
        discount: γ.
        particles: rollouts over which it is averaged.
        policy: that is followed, or None of a planner that makes plans.
    """

    horizon: int
    discount: float
    particles: int
    policy: Policy | None = None


@dataclass
class WatchedRun:
    """A planner in its real environments.

    Attributes:
        planner: built; it makes plans, or follows the settings' policy.
        model: that promises.
        experience: real environments, reset when the run begins.
        seed: of the episodes' starts and the planner's memory.
        settings: of promises.
        generator: draws what the model draws.
    """

    planner: Planner
    model: DynamicsModel
    experience: Experience
    seed: int
    settings: Settings
    generator: torch.Generator

    def looked_at(
        self,
        decisions: int,
        every: int,
        reality: Truth | Copies | None,
        notes: list[str],
        progress: Progress | None,
    ) -> dict[str, Tensor]:
        """Everything that `PlanOutcome` holds of each decision, `B`."""
        planner, experience = self.planner, self.experience
        experience.reset(self.seed)
        number = experience.num_envs
        memory = planner.memory(number, make_generator(planner.device, self.seed, "plan outcome"))
        rewards, ends, cuts = [], [], []  # T of N each
        nothing = torch.full((number,), torch.nan, dtype=torch.float64)
        values, promised, opened = [], [], []  # D of N each
        steps = (decisions - 1) * every + self.settings.horizon
        for step in range(steps):
            looking = step % every == 0 and step // every < decisions
            obs, snapshot = experience.obs, self._snapshot(reality)
            if looking and progress is not None:
                progress(f"plans against outcomes: decision {step // every + 1} of {decisions}")
            if isinstance(planner, MakesPlans):
                plan = planner.plan(obs, memory, explore=False, snapshot=snapshot)
                action = plan.actions[:, 0].clone()
                if looking:
                    values.append(plan.value.double().cpu())
                    promised.append(self._promised_by(planner.objective, obs, snapshot, plan.actions))
                    opened.append(nothing)
                    if reality is not None:
                        try:
                            opened[-1] = reality.earned(obs, snapshot, plan.actions)
                        except CheckpointError as error:
                            notes.append(f"Plans aren't executed open loop: {error}")
                            reality = None
            else:
                action, memory = planner.act(obs, memory, explore=False, snapshot=snapshot)
                if looking:
                    values.append(nothing)
                    promised.append(self._promised_by_policy(obs, snapshot))
                    opened.append(nothing)
            rows = experience.step(action)
            if len(rows) != number:
                raise UnsupportedError(
                    f"plan_outcome: expected {number} steps at once, got {len(rows)}; take another autoreset mode."
                )
            rewards.append(rows.reward.double().cpu())
            ends.append(rows.terminated.cpu())
            cuts.append((experience.ended & ~rows.terminated).cpu())
            memory.reset(experience.ended)
        closed = [
            discounted(
                self.settings.discount, *(part[first : first + self.settings.horizon] for part in (rewards, ends, cuts))
            )
            for first in range(0, decisions * every, every)
        ]
        return {
            "env": torch.arange(number).repeat(decisions),
            "step": (torch.arange(decisions) * every).repeat_interleave(number),
            "plan_value": torch.cat(values),
            "promised": torch.cat(promised),
            "open_loop": torch.cat(opened),
            "closed_loop": torch.cat(closed),
        }

    def _snapshot(self, reality: Truth | Copies | None) -> Tensor | None:
        """The simulator states, where the model or the truth starts from them."""
        models = [self.model, *([reality.model] if isinstance(reality, Truth) else [])]
        needed = any(model.row_extras(self.planner.built_task) for model in models)
        return self.experience.snapshot if needed else None

    def _promised_by(self, objective: PlanObjective, obs: Tensor, snapshot: Tensor | None, plans: Tensor) -> Tensor:
        """The model's return of plans `N x H x A`, with noise that the search hasn't seen: `N`."""
        objective = replace(objective, terminal_value=None, uncertainty=None, uncertainty_rate=0.0, termination_cost=0.0)
        state = self.model.start(start_rows(self.model, obs, snapshot), self.generator)
        promised = objective.returns(state, plans.unsqueeze(1))[:, 0].double().cpu()
        return torch.where(promised.isfinite(), promised, torch.nan)

    def _promised_by_policy(self, obs: Tensor, snapshot: Tensor | None) -> Tensor:
        """The mean return of rollouts that follow the policy's mode, `N`."""
        model, policy, particles = self.model, self.settings.policy, self.settings.particles
        assert policy is not None  # of this kind of planner
        state = model.start(start_rows(model, obs, snapshot), self.generator, follow=True)
        state = model.particles(state, 1, particles, follow=True)  # P·N
        rewards, ends = [], []
        for _ in range(self.settings.horizon):
            step = model.step(state, policy.mode(state.obs))
            rewards.append(step.reward.double().cpu())
            ends.append(step.ended.cpu())
            state = step.state
        total = discounted(self.settings.discount, rewards, ends, [torch.zeros_like(end) for end in ends])
        promised = total.view(particles, -1).mean(0)
        return torch.where(promised.isfinite(), promised, torch.nan)
