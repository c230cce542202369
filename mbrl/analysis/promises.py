"""`plan_outcome`: the return that a planner's model promises, against what reality then gives.

    plan value    what the search reported of the plan that it chose
    promised      the model's return of that plan, asked once more with fresh noise; of a policy, of rollouts that follow it
    open loop     what executing the whole plan really earns
    closed loop   what the planner really earns in as many steps, deciding anew at each

All are discounted sums of rewards over the horizon, up to the end of the task. The plan value is the largest of many noisy
numbers, and so promises more than asking once more does; what remains beside the open loop is the model's error; and what
the closed loop earns more than the open one is what deciding anew repairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from mbrl.analysis.forecasts import Progress, generator_on
from mbrl.analysis.rank import pearson, spearman
from mbrl.analysis.result import Result, Skipped
from mbrl.data import Transitions, make_generator
from mbrl.envs import VectorExperience
from mbrl.envs.experience import Experience
from mbrl.errors import CheckpointError, ConfigError, UnsupportedError, check_at_least
from mbrl.models import DynamicsModel, Exact, require
from mbrl.planners import PETS, OnlinePlanner, Planner
from mbrl.policies import Learner, Policy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAME, _TITLE = "plan", "What plans promise and what they bring"
_ROUNDING = 1e-6  # of the largest: float32
_EXACT = 1e-3  # of the largest return: what rounding may grow to over a plan
_POLICY_HORIZON, _POLICY_PARTICLES = 25, 20


@dataclass(frozen=True)
class PlanOutcome(Result):
    """Promised and obtained returns of `B` decisions, float64; NaN where there is none.

    Attributes:
        plans: whether the planner makes plans; if not, it follows a policy, and has neither plan value nor open loop.
        horizon: `H` steps.
        discount: γ.
        env, step: `B` int64, the environment and its step in this run at which the decision was made.
        plan_value, promised, open_loop, closed_loop: `B`, see the module. The last two are NaN where a time limit cut the
            episode within the horizon.
        exact: whether the plans, executed open loop, earn what was promised to rounding.
        notes: see `Result`.
    """

    name: ClassVar[str] = _NAME
    title: ClassVar[str] = _TITLE

    plans: bool
    horizon: int
    discount: float
    env: Tensor
    step: Tensor
    plan_value: Tensor
    promised: Tensor
    open_loop: Tensor
    closed_loop: Tensor
    exact: bool
    notes: Sequence[str] = ()

    def table(self) -> dict[str, list[Any]]:
        """A row for each decision."""
        columns: dict[str, list[Any]] = {"environment": self.env.tolist(), "step": self.step.tolist()}
        for name in ("plan_value", "promised", "open_loop", "closed_loop"):
            columns[name] = getattr(self, name).tolist()
        return columns

    def summary(self) -> dict[str, Any]:
        """Means, and how far promised is from obtained: bias, root mean square, correlations."""
        return {
            "decisions": len(self.env),
            "horizon": self.horizon,
            "discount": self.discount,
            "promised_mean": _mean(self.promised),
            "plan_value_above_promised": _mean(self.plan_value - self.promised),
            "open_loop": self._against(self.open_loop),
            "closed_loop": self._against(self.closed_loop),
            "closed_above_open_loop": _mean(self.closed_loop - self.open_loop),
            "exact_to_rounding": self.exact,
        }

    def _against(self, obtained: Tensor) -> dict[str, Any] | None:
        fine = self.promised.isfinite() & obtained.isfinite()
        if not bool(fine.any()):
            return None
        promised, obtained = self.promised[fine], obtained[fine]
        off = promised - obtained
        return {
            "decisions": len(off),
            "mean": float(obtained.mean()),
            "bias": float(off.mean()),
            "rmse": float(off.square().mean().sqrt()),
            "pearson": pearson(promised, obtained, _ROUNDING),
            "spearman": spearman(promised, obtained, _ROUNDING),
        }

    def plot(self) -> Figure:
        """Obtained against promised return, for the plan executed as it is and for deciding anew at each step."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.6, 4.8), layout="constrained")
        axes = figure.subplots()
        drawn: list[Tensor] = []
        compared: tuple[tuple[Tensor, str, dict[str, Any]], ...] = (
            (self.open_loop, "the plan executed as it is", {"marker": "o", "color": "C0"}),
            (
                self.closed_loop,
                "deciding anew at each step" if self.plans else "following the policy",
                {"marker": "s", "color": "C1", "markerfacecolor": "none"},
            ),
        )
        for obtained, label, style in compared:
            fine = self.promised.isfinite() & obtained.isfinite()
            if fine.any():
                axes.plot(self.promised[fine], obtained[fine], linestyle="", markersize=4.5, label=label, **style)
                drawn += [self.promised[fine], obtained[fine]]
        if drawn:
            everything = torch.cat(drawn)
            ends = [float(everything.min()), float(everything.max())]
            axes.plot(ends, ends, color="0.3", linestyle="--", label="obtained = promised")
            axes.legend(frameon=False, fontsize=8)
        axes.set_xlabel(f"return that the model promises for {self.horizon} steps")
        axes.set_ylabel("return obtained in reality")
        axes.set_title(self._message(), fontsize=11)
        axes.grid(color="0.9")
        return figure

    def _message(self) -> str:
        found = self._against(self.open_loop if self.plans else self.closed_loop) or self._against(self.closed_loop)
        if self.exact:
            return "Plans bring what they promise, to rounding"
        if found is None:
            return "No promise could be compared"
        who, bias = "Plans promise" if self.plans else "The model promises", float(found["bias"])
        return f"{who} {abs(bias):.3g} {'more' if bias > 0 else 'less'} than reality brings, on average"


@torch.no_grad()
def plan_outcome(
    planner: Planner,
    experience: Experience,
    *,
    generator: torch.Generator,
    decisions: int = 10,
    every: int | None = None,
    horizon: int | None = None,
    particles: int | None = None,
    discount: float | None = None,
    truth: DynamicsModel | None = None,
    progress: Progress | None = None,
) -> PlanOutcome | Skipped:
    """Runs the planner as evaluation does, looks at a few decisions, and follows each of them into reality.

    Plans are executed open loop in `truth`, or else in copies of the environments, which replay the episode up to the
    decision and then leave it (a noisy environment gives both the same noise). Closed loop is what the run itself earns.

    Args:
        planner: built; `PETS`, or a planner with a model and a learner's policy.
        experience: real environments, reset here and left wherever the run ends.
        generator: draws the episodes' starts, and whatever the planner and its model draw.
        decisions: looked at in each environment.
        every: real steps from one to the next; None takes a fifth of the horizon. More sees more of an episode, and costs as
            many more decisions of the planner, which is most of the time.
        horizon: `H` steps; None takes the planner's plans' own (others are refused), and 25 for a policy.
        particles: rollouts of a policy in the model over which its promise is averaged; None takes 20 (1 in an exact
            model). Plans are asked once more with the planner's own.
        discount: γ of the returns of a policy; None takes the learner's own, and 1 if it has none. Plans have the planner's.
        truth: an exact model to execute plans in.
        progress: told a sentence now and then.

    Returns:
        The outcome, or why there is none, for a planner without a model or without plan and policy.

    Raises:
        ConfigError: for a number out of range, or one that the planner sets itself.
        UnsupportedError: if `truth` isn't exact, or the environments don't all step at once.
    """
    who = "plan_outcome"
    if not isinstance(planner, OnlinePlanner):
        return Skipped(_NAME, _TITLE, f"{type(planner).__name__} has no model whose promises could be compared.")
    makes_plans = isinstance(planner, PETS)
    if not makes_plans and not isinstance(getattr(planner, "learner", None), Learner):
        return Skipped(_NAME, _TITLE, f"{type(planner).__name__} makes no plans and has no learner with a policy.")
    planner.built_task  # noqa: B018 - refuses before build
    check_at_least(who, "decisions", decisions, 1)
    asked = {"horizon": horizon, "particles": particles, "discount": discount}
    settings = _of_plans(planner, asked) if isinstance(planner, PETS) else _of_policy(planner, asked)
    every = max(1, settings.horizon // 5) if every is None else every
    check_at_least(who, "every", every, 1)
    if truth is not None:
        require(truth, Exact, who, "the truth has to be an exact model")

    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    run = _Run(planner, experience, seed, settings, generator_on(planner.device, generator))
    notes: list[str] = []
    reality: _Truth | _Copy | None = None
    if makes_plans and truth is not None:
        reality = _Truth(truth, seed)
    elif makes_plans and isinstance(experience, VectorExperience):
        reality = _Copy(experience)
    elif makes_plans:
        notes.append(
            f"Plans aren't executed open loop: a {type(experience).__name__} can't be copied, and there is no exact model."
        )
    try:
        found = run.looked_at(decisions, every, reality, notes, progress)
    finally:
        if isinstance(reality, _Copy):
            reality.close()
    if isinstance(planner, PETS) and planner.uncertainty is not None:
        notes.append("The plan value holds the planner's weighted uncertainty, which is no return; promised doesn't.")
    if isinstance(planner, PETS) and planner.terminal_value is not None:
        notes.append("The plan value holds the value of where the plan ends; promised and obtained are rewards only.")
    if not makes_plans:
        notes.append("The planner follows a policy, so that there is no plan to execute open loop.")
    wrong = ~found["promised"].isfinite()
    if wrong.any():
        first = int(wrong.nonzero()[0, 0])
        notes.append(
            f"{int(wrong.sum())} of {len(wrong)} promised returns aren't finite and are left out; the first is that of step "
            f"{int(found['step'][first])} in environment {int(found['env'][first])}."
        )
    cut = int(found["closed_loop"].isnan().sum())
    if cut:
        notes.append(f"{cut} of {len(wrong)} decisions have no closed-loop return, since a time limit cut their episode.")
    open_loop, promised = found["open_loop"], found["promised"]
    both = open_loop.isfinite() & promised.isfinite()
    exact = bool(both.any()) and not bool(wrong.any())
    exact = exact and bool((open_loop - promised)[both].abs().max() <= _EXACT * open_loop[both].abs().max().clamp_min(1.0))
    if exact:
        largest = float((open_loop - promised)[both].abs().max())
        notes.append(f"Executed open loop, plans earn what they promise to rounding ({largest:.1g} at most).")
    return PlanOutcome(makes_plans, settings.horizon, settings.discount, exact=exact, notes=tuple(notes), **found)


@dataclass
class _Settings:
    horizon: int
    discount: float
    particles: int
    policy: Policy | None = None  # None of a planner that makes plans


def _of_plans(planner: PETS, asked: dict[str, Any]) -> _Settings:
    own = {"horizon": planner.horizon, "particles": planner.objective.particles, "discount": planner.discount}
    for name, given in asked.items():
        if given is not None and given != own[name]:
            raise ConfigError(
                f"plan_outcome({name}={given}): expected {own[name]}, which the planner's own plans have, or None, got "
                "another; leave it out."
            )
    return _Settings(planner.horizon, planner.discount, planner.objective.particles)


def _of_policy(planner: OnlinePlanner, asked: dict[str, Any]) -> _Settings:
    learner = planner.learner
    assert isinstance(learner, Learner)  # the caller has looked
    found = _Settings(_POLICY_HORIZON, float(getattr(learner, "discount", 1.0)), _POLICY_PARTICLES, learner.policy)
    found = replace(found, **{name: given for name, given in asked.items() if given is not None})
    check_at_least("plan_outcome", "horizon", found.horizon, 1)
    check_at_least("plan_outcome", "particles", found.particles, 1)
    if not 0.0 < found.discount <= 1.0:
        raise ConfigError(f"plan_outcome(discount=…): expected more than 0 and at most 1, got {found.discount}; choose one.")
    return replace(found, particles=1) if isinstance(planner.dynamics, Exact) else found


@dataclass
class _Run:
    """A planner in its real environments."""

    planner: OnlinePlanner
    experience: Experience
    seed: int
    settings: _Settings
    generator: torch.Generator

    def looked_at(
        self,
        decisions: int,
        every: int,
        reality: _Truth | _Copy | None,
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
            if isinstance(planner, PETS):
                plan = planner.plan(obs, memory, explore=False, snapshot=snapshot)
                action = plan.actions[:, 0].clone()
                if looking:
                    values.append(plan.value.double().cpu())
                    promised.append(self._promised_by(planner, obs, snapshot, plan.actions))
                    opened.append(nothing)
                    if reality is not None:
                        try:
                            opened[-1] = reality.earned(self, obs, snapshot, plan.actions)
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
                    f"plan_outcome: expected environments that all step at once, got {len(rows)} steps of {number}: they "
                    "reset themselves in a step of its own; let OnlineData make them, or hand over another autoreset mode."
                )
            rewards.append(rows.reward.double().cpu())
            ends.append(rows.terminated.cpu())
            cuts.append((experience.ended & ~rows.terminated).cpu())
            memory.reset(experience.ended)
        closed = [
            self.summed(*(part[first : first + self.settings.horizon] for part in (rewards, ends, cuts)))
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

    def _snapshot(self, reality: _Truth | _Copy | None) -> Tensor | None:
        """The simulator states, where the model or the truth starts from them."""
        models = [self.planner.dynamics, *([reality.model] if isinstance(reality, _Truth) else [])]
        needed = any(model.row_extras(self.planner.built_task) for model in models)
        return self.experience.snapshot if needed else None

    def _promised_by(self, planner: PETS, obs: Tensor, snapshot: Tensor | None, plans: Tensor) -> Tensor:
        """The model's return of plans `N x H x A`, with noise that the search hasn't seen: `N`."""
        objective = replace(planner.objective, terminal_value=None, uncertainty=None, uncertainty_rate=0.0)
        state = planner.dynamics.start(planner.start_rows(obs, snapshot), self.generator)
        promised = objective.returns(state, plans.unsqueeze(1))[:, 0].double().cpu()
        return torch.where(promised.isfinite(), promised, torch.nan)

    def _promised_by_policy(self, obs: Tensor, snapshot: Tensor | None) -> Tensor:
        """The mean return of rollouts that follow the policy's mode, `N`."""
        model, policy, particles = self.planner.dynamics, self.settings.policy, self.settings.particles
        assert policy is not None  # of this kind of planner
        state = model.start(self.planner.start_rows(obs, snapshot), self.generator, follow=True)
        state = model.particles(state, 1, particles, follow=True)  # P·N
        rewards, ends = [], []
        for _ in range(self.settings.horizon):
            step = model.step(state, policy.mode(state.obs))
            rewards.append(step.reward.double().cpu())
            ends.append(step.terminated.cpu())
            state = step.state
        total = self.summed(rewards, ends, [torch.zeros_like(end) for end in ends])
        promised = total.view(particles, -1).mean(0)
        return torch.where(promised.isfinite(), promised, torch.nan)

    def summed(self, rewards: Sequence[Tensor], ends: Sequence[Tensor], cuts: Sequence[Tensor]) -> Tensor:
        """Discounted returns up to the end of the task, `B`; NaN where something else cut the episode before the last step.

        Args:
            rewards, ends, cuts: `H` of `B` each: the step's reward, whether it ended the task, or was the last for another
                reason.
        """
        total = torch.zeros_like(rewards[0])
        alive = torch.ones_like(ends[0])
        whole = torch.ones_like(ends[0])
        weight = 1.0
        for number, (reward, end, cut) in enumerate(zip(rewards, ends, cuts, strict=True)):
            total = torch.where(alive, total + weight * reward, total)
            if number < self.settings.horizon - 1:
                whole &= ~(alive & cut)
            alive = alive & ~end & ~cut
            weight *= self.settings.discount
        return torch.where(whole, total, torch.nan)


class _Truth:
    """Executes plans in an exact model."""

    def __init__(self, model: DynamicsModel, seed: int) -> None:
        self.model = model
        self.generator = make_generator(model.device, seed, "truth")

    def earned(self, run: _Run, obs: Tensor, snapshot: Tensor | None, plans: Tensor) -> Tensor:
        """The return of plans `N x H x A` from here, `N`, computed in float64."""
        device = self.model.device
        needed = self.model.row_extras(self.model.built_task)
        extras = {"sim_state": snapshot} if "sim_state" in needed and snapshot is not None else {}
        rows = Transitions.from_obs(obs.double(), plans.shape[-1], **extras).to(device)
        steps = self.model.rollout(self.model.start(rows, self.generator), plans.double().to(device))
        ends = [step.terminated.cpu() for step in steps]
        return run.summed([step.reward.double().cpu() for step in steps], ends, [torch.zeros_like(end) for end in ends])


class _Copy:
    """Executes plans in copies of the environments, which replay their episodes to where they stand."""

    def __init__(self, experience: VectorExperience) -> None:
        self.experience = experience
        self.copy = VectorExperience(experience.task, experience.num_envs, device=experience.device)

    def earned(self, run: _Run, obs: Tensor, snapshot: Tensor | None, plans: Tensor) -> Tensor:
        """The return of plans `N x H x A` from here, `N`; NaN where a time limit cuts them.

        Raises:
            CheckpointError: if a replay doesn't lead to where the environment stands.
        """
        self.copy.load_state_dict(self.experience.state_dict())
        rewards, ends, cuts = [], [], []
        for action in plans.unbind(1):  # H of N x A
            rows = self.copy.step(action.clamp(-1.0, 1.0))
            rewards.append(rows.reward.double().cpu())
            ends.append(rows.terminated.cpu())
            cuts.append((rows.truncated & ~rows.terminated).cpu())
        return run.summed(rewards, ends, cuts)

    def close(self) -> None:
        """Closes the copies."""
        self.copy.close()


def _mean(values: Tensor) -> float | None:
    known = values[values.isfinite()]
    return float(known.mean()) if len(known) else None
