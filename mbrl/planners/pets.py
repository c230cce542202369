"""PETS: model-predictive control in a learned model (Chua2018), with any model and any optimiser of plans.

Chua2018: "Deep reinforcement learning in a handful of trials using probabilistic dynamics models" (NeurIPS 2018).
Hansen2024: "TD-MPC2: scalable, robust world models for continuous control" (policy prior and terminal value).
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from mbrl.arguments import Count, Limits, Natural, NonNegative, check_shape, check_whole
from mbrl.data import InterleavedGenerator, ModelState, Task, ValueFunction
from mbrl.errors import ConfigError, DivergedError, UnsupportedError
from mbrl.models import DynamicsModel, Exact
from mbrl.planners.capabilities import LearnsPolicy, MakesPlans
from mbrl.planners.memory import Memory
from mbrl.planners.online_planner import OnlinePlanner
from mbrl.planners.plans.base import Plan, PlanOptimizer, PlanProblem
from mbrl.planners.plans.objective import PlanObjective
from mbrl.planners.plans.propagation import Propagation
from mbrl.planners.rollouts.check_measure import check_measure
from mbrl.planners.rollouts.imagined_learning import ImaginedLearning
from mbrl.policies import Learner
from mbrl.uncertainty import UncertaintyMeasure

_PLAN = "plan/"  # before the names of the optimiser's tensors in a memory


class PETS(OnlinePlanner, LearnsPolicy, MakesPlans):
    """Plans at every step in a model that is refitted as data come in, and executes the plan's first action.

    In training and in evaluation alike. With a fixed model (the simulator, a closed form) nothing is fitted, and this is
    plain model-predictive control.

    Args:
        dynamics: the model; any `DynamicsModel`.
        optimizer: searches the plans; any `PlanOptimizer`.
        horizon: `H`, steps of a plan. Longer plans see later consequences, cost more, and compound the model's error.
        particles: `P`, rollouts over which a plan's return is averaged; None: 20 [Chua2018], and 1 where more would be
            equal (an exact model, `expectation`). More make returns less noisy and cost as much more.
        propagation: how a plan is followed through members and noise: `ts1`, `ts_inf`, `expectation`, `ds` or `mm` (see
            `mbrl.planners.plans.propagation`).
        discount: γ inside a plan; 1 weighs all steps alike [Chua2018], less prefers early rewards.
        warmup_steps: real steps of uniform actions before the first fit. A fixed model needs none: set it to 0.
        refit_every: real steps between fits, counted from the warm-up's end; a fixed model has none.
        learner: learns from the real steps by the side, for `terminal_value`, for an uncertainty that asks critics, for a
            model that is fitted to values, and for an optimiser with policy candidates, whose plans follow the policy by
            members drawn anew at each step.
        terminal_value: adds γ^H times the learner's value of where a plan ends, the `"mean"` or `"min"` over its critics;
            None adds nothing.
        uncertainty: a measure of what the model doesn't know, added to each step's reward times `uncertainty_rate`.
        uncertainty_rate: below 0 it keeps plans where the model is sure, above 0 it draws them to where it isn't.
        termination_cost: taken off the return of a plan's particle, in reward units, by the step that terminates it, once
            and discounted like that step's reward; 0 takes nothing. Where each step costs something, plans that end early
            look best; more than what the steps saved would cost keeps them going.
        updates_per_step: updates of the learner, if there is one, for each real step after the warm-up.
        batch_size: rows in such an update.
        real_capacity: real rows kept at most; a shorter run keeps all of its own.

    Raises:
        ConfigError: for a number out of range, a choice that there isn't, or options that contradict each other.
        UnsupportedError: from `build`, if the model can't do what is asked of it.
    """

    former = {"termination_cost": 0.0}  # noqa: RUF012 - nobody changes it
    dynamics: DynamicsModel  # never None here

    def __init__(
        self,
        dynamics: DynamicsModel,
        optimizer: PlanOptimizer,
        *,
        horizon: Count = 25,
        particles: Count | None = None,
        propagation: Propagation = "ts_inf",
        discount: Annotated[float, Limits(above=0, most=1)] = 1.0,
        warmup_steps: Natural = 200,
        refit_every: Count = 200,
        learner: Learner | None = None,
        terminal_value: Literal["mean", "min"] | None = None,
        uncertainty: UncertaintyMeasure | None = None,
        uncertainty_rate: float = 0.0,
        termination_cost: NonNegative = 0.0,
        updates_per_step: Natural = 1,
        batch_size: Count = 256,
        real_capacity: Count = 1_000_000,
    ) -> None:
        super().__init__(
            dynamics, warmup_steps=warmup_steps, warmup="uniform", refit_every=refit_every, real_capacity=real_capacity
        )
        check_whole("PETS(warmup_steps=…)", warmup_steps, 0 if dynamics.fitting == "fixed" else 1)
        if (uncertainty is None) != (uncertainty_rate == 0.0):
            raise ConfigError(
                f"PETS(uncertainty_rate=…): expected a rate other than 0 with an uncertainty, and 0 without one, got "
                f"{uncertainty_rate}; set both or neither."
            )
        if terminal_value is not None and learner is None:
            raise ConfigError(
                f"PETS(terminal_value={terminal_value!r}): expected a learner to value plans' ends, got none; set learner."
            )
        self.optimizer = optimizer
        self.horizon = horizon
        self.particles = particles
        self.propagation: Propagation = propagation
        self.discount = discount
        self.learner = learner
        self.terminal_value = terminal_value
        self.uncertainty = uncertainty
        self.uncertainty_rate = uncertainty_rate
        self.termination_cost = termination_cost
        self.updates_per_step = updates_per_step
        self.batch_size = batch_size

    # parts -----------------------------------------------------------------------------------------------------------

    def make_parts(self, task: Task, seed: int) -> None:
        self._check_parts()
        self.build_dynamics(seed)
        self.dynamics.check_known()
        if self.uncertainty is not None:
            check_measure("PETS", "uncertainty", self.uncertainty, self.dynamics, valued=self.learner is not None)
        if self.learner is not None:
            self.learner.build(task, seed)
            self.learner.check_batches()
        critics = self._terminal_value if self.terminal_value is not None else None
        self.objective = PlanObjective(
            dynamics=self.dynamics,
            particles=self._particles(),
            propagation=self.propagation,
            discount=self.discount,
            terminal_value=critics,
            uncertainty=self.uncertainty,
            uncertainty_rate=self.uncertainty_rate,
            value=self.learner,
            termination_cost=self.termination_cost,
        )

    def _check_parts(self) -> None:
        model, name = self.dynamics, type(self.dynamics).__name__
        if isinstance(model, Exact):
            if self.propagation not in ("ts1", "ts_inf"):
                raise UnsupportedError(
                    f"PETS(propagation={self.propagation!r}) can't use {name}: it is exact, without moments; leave it out."
                )
            if self.particles is not None and self.particles > 1:
                raise UnsupportedError(
                    f"PETS(particles={self.particles}) can't use {name}: it is exact, so that all are equal; leave it out."
                )
        if self.propagation == "expectation" and self.particles is not None and self.particles > 1:
            raise ConfigError(
                f"PETS(particles={self.particles}): expected one particle under propagation 'expectation', since more would "
                "be equal; leave particles out."
            )
        self.optimizer.check(model, self.learner is not None)
        asked = self.uncertainty is not None and self.uncertainty.needs_value
        used = asked or model.wants_value or self.terminal_value is not None or self.optimizer.policy_candidates > 0
        if self.learner is not None and not used:
            raise ConfigError(
                "PETS(learner=…): expected terminal_value, policy_candidates, or a measure or model that asks it, got none; "
                "set one."
            )

    def _particles(self) -> int:
        if self.particles is not None:
            return self.particles
        return 1 if isinstance(self.dynamics, Exact) or self.propagation == "expectation" else 20

    @property
    def learns(self) -> bool:
        return self.dynamics.fitting != "fixed" or self.learner is not None

    def make_optimizers(self) -> list[Optimizer]:
        learner = [] if self.learner is None else self.learner.make_optimizers()
        return [*self.dynamics.make_optimizers(), *learner]

    @property
    def fit_value(self) -> ValueFunction | None:
        return self.learner

    def _terminal_value(self, obs: Tensor) -> Tensor:
        assert self.learner is not None  # refused by __init__
        values = self.learner.value(obs)  # J x B
        return values.mean(0) if self.terminal_value == "mean" else values.amin(0)

    # acting ----------------------------------------------------------------------------------------------------------

    def memory(self, n: int, generator: torch.Generator) -> Memory:
        like = torch.empty(0, device=self.device, dtype=torch.float32)
        warm = self.optimizer.warm_start(n, self.horizon, self.built_task.action_size, like)
        return Memory(n, generator, **{_PLAN + name: tensor for name, tensor in warm.items()})

    @torch.no_grad()
    def act(self, obs: Tensor, memory: Memory, *, explore: bool, snapshot: Tensor | None = None) -> tuple[Tensor, Memory]:
        began = perf_counter()
        plan = self._finite_plan(obs, memory, explore, snapshot)
        if explore:
            self.metrics.add({"plan/value": plan.value.mean(), "time/plan_s": perf_counter() - began})
            if plan.halted is not None:
                self.metrics.add({"plan/halted": plan.halted})
        return plan.actions[:, 0].clone(), memory

    @torch.no_grad()
    def decide(self, obs: Tensor, memory: Memory, length: int, *, snapshot: Tensor | None = None) -> Tensor:
        """Chooses the plan's actions; beyond its horizon the last one is held. See `Planner.decide`."""
        check_whole(f"{type(self).__name__}.decide(length=…)", length)
        plan = self._finite_plan(obs, memory, False, snapshot).actions  # N x H x A
        beyond = plan[:, -1:].expand(-1, max(length - plan.shape[1], 0), -1)
        actions = torch.cat((plan[:, :length], beyond), 1)
        kept = memory.part(_PLAN)
        memory.tensors.update({_PLAN + name: tensor for name, tensor in self.optimizer.advanced(kept, actions).items()})
        return actions

    @property
    def decision_length(self) -> int:
        return self.horizon

    def _finite_plan(self, obs: Tensor, memory: Memory, explore: bool, snapshot: Tensor | None) -> Plan:
        plan = self.plan(obs, memory, explore=explore, snapshot=snapshot)
        fine = torch.isfinite(plan.value)
        if not fine.all():  # one read-back per decision; the action goes to the host anyway
            bad = (~fine).nonzero()[:, 0].tolist()
            raise DivergedError(
                f"PETS: expected a finite predicted return per environment, got none for {bad} at step {self.env_steps}; "
                "the model has diverged: lower its learning rate or the horizon, or check the data for outliers."
            )
        return plan

    @torch.no_grad()
    def plan(self, obs: Tensor, memory: Memory, *, explore: bool, snapshot: Tensor | None = None) -> Plan:
        """The plans for a batch of states, each from its environment's own noise and warm start.

        Args:
            obs: `N x S`.
            memory: of these environments; what the optimiser carries over is written back into it.
            explore: whether the actions are for training.
            snapshot: `N x W` simulator states, for models that start from them.

        Raises:
            ShapeError: if the memory is of another number of environments.
        """
        check_shape("PETS(obs)", obs, (memory.n, "S"), "use a memory made for them")
        device = obs.device
        noise = InterleavedGenerator(memory.decision_generators("model", device))
        state = self.dynamics.start(self.start_rows(obs, snapshot), noise)
        measuring = None
        if self.uncertainty is not None:
            measuring = InterleavedGenerator(memory.decision_generators("uncertainty", device))
        halts: list[Tensor] = []
        problem = PlanProblem(
            horizon=self.horizon,
            action_size=self.built_task.action_size,
            generators=memory.decision_generators("plans", device),
            returns=lambda actions: self.objective.returns(state, actions, measuring, halts),
            like=obs,
            explore=explore,
            policy_plans=None if self.learner is None else self._policy_plans(state, memory, device),
        )
        warm = {
            name.removeprefix(_PLAN): tensor.to(obs.dtype) if tensor.is_floating_point() else tensor
            for name, tensor in memory.tensors.items()
        }
        plan = self.optimizer.optimize(problem, warm)
        plan.halted = torch.stack(halts).mean() if halts else None
        memory.tensors.update({_PLAN + name: tensor for name, tensor in plan.warm.items()})
        memory.decisions += 1
        return plan

    def _policy_plans(self, state: ModelState, memory: Memory, device: torch.device) -> Callable[[int], Tensor]:
        assert self.learner is not None  # the caller asks only with one
        policy = self.learner.policy

        def plans(n: int) -> Tensor:
            noise = InterleavedGenerator(memory.decision_generators("policy", device))
            rows = self.dynamics.particles(state.fork(noise), n, 1)
            actions: list[Tensor] = []
            for _ in range(self.horizon):
                actions.append(policy.sample(rows.obs, noise, actions[-1] if actions else None)[0])  # n·N x A
                rows = self.dynamics.step(rows, actions[-1]).state
            return torch.stack(actions, 1).unflatten(0, (n, -1)).transpose(0, 1)  # N x n x H x A

        return plans

    # learning --------------------------------------------------------------------------------------------------------

    def learn(self, new: int) -> None:
        """The learner's updates for `new` real steps, if there is one."""
        if self.learner is not None:
            n = self.batch_size
            learning = ImaginedLearning(  # made anew, since without rollouts it keeps nothing
                self.dynamics, self.learner, self.real_buffer, self.streams, self.metrics, batch_size=n, real_rows=n
            )
            learning.learn(self.updates_per_step * new)
