"""Implementations that each break one clause of their contract, with the clause that must be named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mbrl.data import Prediction, ReplayBuffer, Task, Transitions, draw_normal, make_generator
from mbrl.models import DynamicsModel, Exact, GaussianEnsemble, LipschitzBound
from mbrl.models.fitting.fit_run import FitRun
from mbrl.models.obs_state import ObsState
from mbrl.planners import (
    ActionSelector,
    HasDynamics,
    LearnsPolicy,
    MakesPlans,
    Memory,
    Planner,
)
from mbrl.policies import SAC, TanhGaussianPolicy
from mbrl.spec import Part
from mbrl.testing import LinearModel

# models --------------------------------------------------------------------------------------------------------------


class GlobalNoise(LinearModel):
    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        torch.rand(1)
        return super().predict(obs, action, member)


class ChangesItsInput(LinearModel):
    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        obs.add_(1.0)
        return super().predict(obs, action, member)


class NoMemberDim(LinearModel):
    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        given = super().predict(obs, action, member)
        return Prediction(given.mean[0], given.var[0]) if member is None else given


class RowsOnly(LinearModel):
    """Mixes up leading dims: right for `B x S` alone."""

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        given = super().predict(obs, action, member)
        return given if obs.ndim == 2 else Prediction(given.mean.flip(1), given.var)


class WrongMember(LinearModel):
    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        return super().predict(obs, action, None if member is None else torch.zeros_like(member))


class NegativeVariance(LinearModel):
    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        given = super().predict(obs, action, member)
        return Prediction(given.mean, given.var - 1)


class Doubles(LinearModel):
    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        given = super().predict(obs, action, member)
        return Prediction(given.mean.double(), given.var.double())


class DrawsTooHigh(LinearModel):
    @property
    def drawn_members(self) -> Tensor:
        return torch.arange(self.members + 1)


class NoiseOfTheLiving(LinearModel):
    """Draws for the living rows alone, so that dropping rows changes the others' noise."""

    def step(self, state: Any, action: Tensor, want: Any = ()) -> Any:
        generator = state.generator
        return super().step(ObsState(state.obs, getattr(generator, "generator", generator), state.member), action, want)


class WantDraws(LinearModel):
    def step(self, state: Any, action: Tensor, want: Any = ()) -> Any:
        if want:
            torch.rand(1, generator=getattr(state.generator, "generator", state.generator))
        return super().step(state, action, want)


class MovesItsState(LinearModel):
    def step(self, state: Any, action: Tensor, want: Any = ()) -> Any:
        step = super().step(state, action, want)
        state.obs = step.next_obs
        return step


class Interleaved(ObsState):
    def tile(self, n: int) -> ObsState:
        return Interleaved(self.obs.repeat_interleave(n, 0), self.generator, None)


class Interleaves(LinearModel):
    def start(self, rows: Transitions, generator: Any, *, follow: bool = False) -> Any:
        state = super().start(rows, generator, follow=follow)
        return Interleaved(state.obs, state.generator, state.member)


class Unordered(ObsState):
    def replaced(self, rows: torch.Tensor, other: Any) -> ObsState:
        return super().replaced(rows.sort().values, other)


class ReplacesInRowOrder(LinearModel):
    def start(self, rows: Transitions, generator: Any, *, follow: bool = False) -> Any:
        state = super().start(rows, generator, follow=follow)
        return Unordered(state.obs, state.generator, state.member)


class SharesItsFork(LinearModel):
    def start(self, rows: Transitions, generator: Any, *, follow: bool = False) -> Any:
        state = super().start(rows, generator, follow=follow)
        state.fork = lambda generator: state
        return state


class Forgets(LinearModel):
    """Keeps what it fitted outside its state dict."""

    fitting = "closed_form"
    bias = 0.0

    def refit(self, rows: Transitions, generator: torch.Generator, value: Any = None) -> dict[str, Any]:
        self.bias = rows.reward.mean().item()
        return {}

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        given = super().predict(obs, action, member)
        return Prediction(given.mean + self.bias, given.var)


class FitsByChance(LinearModel):
    fitting = "closed_form"

    def refit(self, rows: Transitions, generator: torch.Generator, value: Any = None) -> dict[str, Any]:
        self.state.add_(torch.rand(1, generator=make_generator("cpu", id(self))))
        return {}


class SilentBeforeItsFit(LinearModel):
    fitting = "closed_form"
    fitted = False

    def refit(self, rows: Transitions, generator: torch.Generator, value: Any = None) -> dict[str, Any]:
        self.fitted = True
        return {}

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        if not self.fitted:
            raise RuntimeError("not fitted yet")
        return super().predict(obs, action, member)


class LearnsTheRewardLater(SilentBeforeItsFit):
    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        self.learn_reward, self.fitted = self.fitted, True
        try:
            return super().predict(obs, action, member)
        finally:
            self.fitted = self.learn_reward


class KnowsNothingBeforeItsFit(SilentBeforeItsFit):
    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        fitted, self.fitted = self.fitted, True
        given = super().predict(obs, action, member)
        self.fitted = fitted
        return given if fitted else Prediction(given.mean * torch.nan, given.var)


class TurnsDouble(LinearModel):
    """Keeps the dtype of the rows that it was fitted to."""

    fitting = "closed_form"

    def refit(self, rows: Transitions, generator: torch.Generator, value: Any = None) -> dict[str, Any]:
        self.state = self.state.to(rows.obs.dtype)
        return {}

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        given = super().predict(obs, action, member)
        return Prediction(given.mean.to(self.state.dtype), given.var)


class UnsureAndExact(LinearModel, Exact):
    pass


class NoisyAndExact(DynamicsModel, Exact):
    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        mean = obs if member is not None else obs[None]
        return Prediction(mean, torch.ones_like(mean))


class Overconfident(GaussianEnsemble):
    def lipschitz_bound(self, unit: Tensor | None = None) -> LipschitzBound:
        bound = super().lipschitz_bound(unit)
        return LipschitzBound(bound.network, 0.01 * bound.observation)


class NotDifferentiable(LinearModel):
    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        return super().predict(obs, action.detach(), member)


class OwnReward(LinearModel):
    def step(self, state: Any, action: Tensor, want: Any = ()) -> Any:
        step = super().step(state, action, want)
        step.reward = step.reward + 1
        return step


class ForgetsToProject(LinearModel):
    """Projects what it predicts, but its steps go their own way."""

    def project(self, next_obs: Tensor) -> Tensor:
        return next_obs.clamp(-0.1, 0.1)

    def outcome(self, obs: Tensor, action: Tensor, drawn: Prediction, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        task, next_obs = self.built_task, drawn.mean
        return next_obs, task.reward(obs, action, next_obs), task.terminated(obs, action, next_obs)  # type: ignore[return-value]


class HalvesAsAProjection(LinearModel):
    def project(self, next_obs: Tensor) -> Tensor:
        return 0.5 * next_obs


class ForgetsItsHalts(LinearModel):
    def halted(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        return next_obs[..., 0] > 0

    def step(self, state: Any, action: Tensor, want: Any = ()) -> Any:
        step = super().step(state, action, want)
        step.halt = None
        return step


class MovesInPlace(ObsState):
    def moved(self, obs: Tensor) -> ObsState:
        self.obs = obs
        return self


class MovedInPlace(LinearModel):
    def step(self, state: Any, action: Tensor, want: Any = ()) -> Any:
        step = super().step(state, action, want)
        step.state = MovesInPlace(step.next_obs, step.state.generator, step.state.member)
        return step


class ScoresWithoutValue(LinearModel):
    def score(self, rows: Transitions) -> Tensor:  # type: ignore[override]
        return super().score(rows)


class ScoresTheMean(LinearModel):
    def score(self, rows: Transitions, value: Any = None) -> Tensor:
        return super().score(rows, value).mean()


class LosesItsExtras(GaussianEnsemble):
    def update(self, batch: Transitions, value: Any = None) -> dict[str, Tensor]:
        return super().update(replace(batch, extras={}), value)


class LosesItsPlaces(GaussianEnsemble):
    def update(self, batch: Transitions, value: Any = None) -> dict[str, Tensor]:
        return super().update(replace(batch, row=None), value)


class ComputesExtrasAgain(GaussianEnsemble):
    def end_fit(self, run: FitRun, value: Any = None) -> Tensor | None:
        self.fit_extras(run.rows(slice(None)), value)
        return super().end_fit(run, value)


FITS = {
    Overconfident: "slopes lie within lipschitz_bound",
    LosesItsExtras: r"a batch of a fit carries the rows' extras \(episode\)",
    LosesItsPlaces: "a batch of a fit has in row its rows' places",
    ComputesExtrasAgain: "a fit computes fit_extras once, got 2",
}

MODELS = {
    ForgetsToProject: "next_obs is projected, and stays so when projected again",
    HalvesAsAProjection: "next_obs is projected, and stays so when projected again",
    ForgetsItsHalts: "a step's halt is what halted says of it",
    MovedInPlace: "moved leaves the state as it was",
    ScoresWithoutValue: r"score\(rows, value\) takes rows and a value",
    ScoresTheMean: "a score has shape",
    GlobalNoise: "draws from no global generator",
    ChangesItsInput: "predict leaves obs as it was",
    NoMemberDim: "mean has shape",
    RowsOnly: "leading dims are independent rows",
    WrongMember: "mean with a drawn member is that member's row",
    NegativeVariance: "var is at least 0",
    Doubles: "mean keeps its input's dtype",
    DrawsTooHigh: "drawn_members lie in 0 … 2, got",
    NoiseOfTheLiving: "select keeps the other rows' next_obs as it was",
    WantDraws: 'want="prediction" changes nothing else',
    MovesItsState: "step leaves the state that it steps from as it was",
    ReplacesInRowOrder: "replaced takes the named rows from the other state, in order",
    Interleaves: r"tile\(n\) lays out n blocks of B rows",
    SharesItsFork: "stepping a fork leaves the_original_generator as it was",
    Forgets: "a model from spec and state dict predicts the same",
    FitsByChance: "the same seed, rows and generator give the same model",
    SilentBeforeItsFit: "a model answers from build on; got RuntimeError: not fitted yet",
    LearnsTheRewardLater: "a model answers from build on with reward_mean as after a fit",
    KnowsNothingBeforeItsFit: "a model answers from build on with a finite mean",
    TurnsDouble: "a closed form is fitted to float64 rows too, and answers float32 all the same",
    UnsureAndExact: "an exact model has no members that disagree",
    NotDifferentiable: "a differentiable model has a finite gradient in action",
    OwnReward: "a known reward is the task's",
}

# policies ------------------------------------------------------------------------------------------------------------


class OutOfBounds(TanhGaussianPolicy):
    def mode(self, obs: Tensor, prev_action: Tensor | None = None) -> Tensor:
        return super().mode(obs) + 1.5


class RandomMode(TanhGaussianPolicy):
    calls = 0

    def mode(self, obs: Tensor, prev_action: Tensor | None = None) -> Tensor:
        self.calls += 1
        return super().mode(obs) / self.calls


class SumOfActions(TanhGaussianPolicy):
    def sample(self, obs: Tensor, generator: Any, prev_action: Any = None) -> tuple[Tensor, Tensor]:
        action, log_prob = super().sample(obs, generator, prev_action)
        return action, log_prob.unsqueeze(-1)


class Detached(TanhGaussianPolicy):
    def sample(self, obs: Tensor, generator: Any, prev_action: Any = None) -> tuple[Tensor, Tensor]:
        action, log_prob = super().sample(obs, generator, prev_action)
        return action.detach(), log_prob


class IgnoresLength(TanhGaussianPolicy):
    def sequence(self, obs: Tensor, prev_action: Any, length: int, generator: Any) -> tuple[Tensor, Tensor]:
        return super().sequence(obs, prev_action, 1, generator)


class OneLogProbForAll(TanhGaussianPolicy):
    def sequence(self, obs: Tensor, prev_action: Any, length: int, generator: Any) -> tuple[Tensor, Tensor]:
        action, log_prob = super().sequence(obs, prev_action, length, generator)
        return action, log_prob.sum(-1)


class SequenceOfItsOwn(TanhGaussianPolicy):
    def sequence(self, obs: Tensor, prev_action: Any, length: int, generator: Any) -> tuple[Tensor, Tensor]:
        draw_normal(generator, len(obs), 1, obs)
        return super().sequence(obs, prev_action, length, generator)


class ForgetsBefore(TanhGaussianPolicy):
    """Depends on the action before, but not in its mode sequence."""

    def mode(self, obs: Tensor, prev_action: Tensor | None = None) -> Tensor:
        mode = super().mode(obs)
        return mode if prev_action is None else 0.5 * (mode + prev_action)

    def mode_sequence(self, obs: Tensor, prev_action: Tensor | None, length: int) -> Tensor:
        return super().mode_sequence(obs, None, length)


class LogProbBeforeTanh(TanhGaussianPolicy):
    def log_prob(self, obs: Tensor, action: Tensor, prev_action: Any = None) -> Tensor:
        mean, log_sigma = self.distribution(obs)
        return torch.distributions.Normal(mean, log_sigma.exp()).log_prob(torch.atanh(action)).sum(-1)


class InfiniteAtTheEdge(TanhGaussianPolicy):
    def log_prob(self, obs: Tensor, action: Tensor, prev_action: Any = None) -> Tensor:
        return super().log_prob(obs, action) + 0 * torch.atanh(action).sum(-1)


class IgnoresRows(TanhGaussianPolicy):
    def sample(self, obs: Tensor, generator: Any, prev_action: Any = None) -> tuple[Tensor, Tensor]:
        return super().sample(obs, getattr(generator, "generator", generator), prev_action)


class ReadsBack(TanhGaussianPolicy):
    def mode(self, obs: Tensor, prev_action: Tensor | None = None) -> Tensor:
        mode = super().mode(obs)
        return mode if mode.sum().item() < 1e9 else mode * 0


class HiddenState(TanhGaussianPolicy):
    made = 0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        HiddenState.made += 1
        self.factor = 1 / HiddenState.made

    def mode(self, obs: Tensor, prev_action: Tensor | None = None) -> Tensor:
        return super().mode(obs) * self.factor


POLICIES = {
    OutOfBounds: r"the mode lie in \[−1, 1\]",
    RandomMode: "the mode of the same observations is the same",
    SumOfActions: "a log-probability has shape",
    Detached: "sampled actions are reparameterised",
    IgnoresLength: "a sampled sequence of length 3 has shape",
    OneLogProbForAll: "the log-probabilities of a sequence has shape",
    SequenceOfItsOwn: "the first action of a sampled sequence is that of sample",
    ForgetsBefore: "the first action of the mode sequence is the mode",
    LogProbBeforeTanh: "log_prob of a sampled action is what sample says",
    InfiniteAtTheEdge: "log_prob is finite at actions of -1",
    IgnoresRows: "dropping rows leaves the others' samples as they were",
    ReadsBack: "sample and mode read nothing back",
    HiddenState: "a policy with a loaded state dict acts the same",
}

# learners ------------------------------------------------------------------------------------------------------------


class TruncationEnds(SAC):
    def target(self, batch: Transitions, generator: Any) -> Tensor:
        batch = batch.map(lambda tensor: tensor)
        batch.terminated = batch.terminated | batch.truncated
        return super().target(batch, generator)


class NothingEnds(SAC):
    def target(self, batch: Transitions, generator: Any) -> Tensor:
        batch = batch.map(lambda tensor: tensor)
        batch.terminated = torch.zeros_like(batch.terminated)
        return super().target(batch, generator)


class IgnoresTerms(SAC):
    def update(self, batch: Transitions, generator: Any, critic_terms: Any = ()) -> dict[str, Tensor]:
        return super().update(batch, generator)


class TermsOfTheTargets(SAC):
    def update(self, batch: Transitions, generator: Any, critic_terms: Any = ()) -> dict[str, Tensor]:
        def swapped(term: Any) -> Any:
            return lambda rows, critics, targets, *others: term(rows, targets, critics, *others)

        return super().update(batch, generator, [swapped(term) for term in critic_terms])


class TemperatureAsNumber(SAC):
    def update(self, batch: Transitions, generator: Any, critic_terms: Any = ()) -> dict[str, Tensor]:
        def told(term: Any) -> Any:
            return lambda rows, critics, targets, policy, _, *rest: term(rows, critics, targets, policy, 0.2, *rest)

        return super().update(batch, generator, [told(term) for term in critic_terms])


class DrawsFromTheTerm(SAC):
    def update(self, batch: Transitions, generator: Any, critic_terms: Any = ()) -> dict[str, Tensor]:
        for term in critic_terms:
            torch.rand(1, generator=term.generator)
        return super().update(batch, generator, critic_terms)


class NumbersAsMetrics(SAC):
    def update(self, batch: Transitions, generator: Any, critic_terms: Any = ()) -> dict[str, Tensor]:
        metrics = super().update(batch, generator, critic_terms)
        return {name: value.item() for name, value in metrics.items()}  # type: ignore[misc]


class LosesItsOptimizer(SAC):
    """Steps another optimiser than the ones it hands out."""

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        given = super().make_optimizers()
        super().make_optimizers()
        return given


class ValueWithoutGradient(SAC):
    def value(self, obs: Tensor, action: Any = None, critics: Any = "online") -> Tensor:
        return super().value(obs, action, critics).detach() + 0 * next(self.parameters()).sum()


class ValuesOneAction(SAC):
    def value(self, obs: Tensor, action: Any = None, critics: Any = "online") -> Tensor:
        return super().value(obs, None, critics) + (0 if action is None else 0 * action.sum())


class ValuesByTargets(SAC):
    def value(self, obs: Tensor, action: Any = None, critics: Any = "target") -> Tensor:
        return super().value(obs, action, critics)


class OneKindOfCritics(SAC):
    def value(self, obs: Tensor, action: Any = None, critics: Any = "online") -> Tensor:
        return super().value(obs, action)


class TargetsFirst(SAC):
    def value(self, obs: Tensor, action: Any = None, critics: Any = "online") -> Tensor:
        value = super().value(obs, action, critics)
        return torch.cat(value.chunk(2)[::-1]) if critics == "both" else value


class RewardInPlace(SAC):
    def update(self, batch: Transitions, generator: Any, critic_terms: Any = ()) -> dict[str, Tensor]:
        batch.reward.mul_(0.1)
        return super().update(batch, generator, critic_terms)


class CountsOutsideItsState(SAC):
    def get_extra_state(self) -> dict[str, int]:
        return {"updates": 0}


class KeepsStatisticsOutsideItsState(SAC):
    def build(self, task: Task, seed: int = 0) -> None:
        super().build(task, seed)
        self.scale = torch.ones(task.obs_size)

    def fit_inputs(self, rows: Transitions) -> None:
        self.scale = rows.obs.std(0)

    def target(self, batch: Transitions, generator: Any) -> Tensor:
        return super().target(replace(batch, reward=batch.reward * self.scale[0]), generator)


class PointsIntoTheRows(SAC):
    def build(self, task: Task, seed: int = 0) -> None:
        super().build(task, seed)
        self.offset = torch.zeros(task.obs_size)

    def fit_inputs(self, rows: Transitions) -> None:
        self.offset = rows.obs[0]

    def value(self, obs: Tensor, action: Any = None, critics: Any = "online") -> Tensor:
        return super().value(obs - self.offset, action, critics)


class ScalesTheRows(SAC):
    def fit_inputs(self, rows: Transitions) -> None:
        rows.obs.div_(rows.obs.std(0))


class HoldsAFunctionWithoutName(SAC):
    def build(self, task: Task, seed: int = 0) -> None:
        super().build(task, seed)
        self.squash = lambda value: value


LEARNERS = {
    HoldsAFunctionWithoutName: "it can be copied by pickle after updates",
    KeepsStatisticsOutsideItsState: "a learner from spec, state dict and optimiser states continues",
    PointsIntoTheRows: "fit_inputs copies what it keeps of the rows",
    ScalesTheRows: "fit_inputs leaves rows as it was",
    TruncationEnds: "a truncated row is learned from like any other",
    NothingEnds: "a terminated row is worth its reward alone",
    IgnoresTerms: "update calls each critic term once, got 0",
    TermsOfTheTargets: "the target critics of a critic term are constant",
    TemperatureAsNumber: "the temperature of a critic term is a tensor",
    DrawsFromTheTerm: "update leaves the_terms_generator as it was",
    NumbersAsMetrics: "the metric critic_loss is a tensor, got float",
    LosesItsOptimizer: "a learner from spec, state dict and optimiser states continues",
    ValueWithoutGradient: "value is differentiable in obs",
    ValuesOneAction: "value of an action depends on it",
    ValuesByTargets: "value is that of the online critics by default",
    OneKindOfCritics: "target critics have values of their own",
    TargetsFirst: "value by both kinds of critics is online, then target",
    RewardInPlace: "update leaves batch as it was",
    CountsOutsideItsState: "a learner from spec, state dict and optimiser states continues",
}

# planners ------------------------------------------------------------------------------------------------------------


class Walker(Planner):
    """A planner that keeps its contract: a linear policy that each tick moves, and noise that remembers."""

    def make_parts(self, task: Task, seed: int) -> None:
        generator = make_generator("cpu", seed, "walker")
        self.gain = nn.Parameter(torch.randn(task.action_size, task.obs_size, generator=generator))
        self.count = 0.0

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        self.optimizer = torch.optim.Adam([self.gain], lr=0.01)
        return [self.optimizer]

    def memory(self, n: int, generator: torch.Generator) -> Memory:
        return Memory(n, generator, last=torch.zeros(n, self.built_task.action_size))

    @torch.no_grad()
    def act(self, obs: Tensor, memory: Memory, *, explore: bool, snapshot: Any = None) -> tuple[Tensor, Memory]:
        action = torch.tanh(obs @ self.gain.T)
        if explore:
            drawn = torch.randn(action.shape, generator=memory.generator)
            memory.tensors["last"] = 0.5 * memory.tensors["last"] + drawn
            action = (action + memory.tensors["last"]).clamp(-1, 1)
        return action, memory

    def tick(self, experience: Any) -> None:
        memory = self.collect_memory(experience.num_envs)
        action, memory = self.act(experience.obs, memory, explore=True)
        rows = experience.step(action)
        memory.reset(rows.terminated | rows.truncated)
        self.env_steps += experience.num_envs
        self.count = 0.9 * self.count + 1
        self.optimizer.zero_grad()
        (self.count * (rows.obs @ self.gain.T - rows.action).square().mean()).backward()
        self.optimizer.step()

    def planner_state(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_planner_state(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


class TrainingNoise(Walker):
    def act(self, obs: Tensor, memory: Memory, *, explore: bool, snapshot: Any = None) -> tuple[Tensor, Memory]:
        self.streams["exploration"].get_state()
        torch.rand(1, generator=self.streams["exploration"])
        return super().act(obs, memory, explore=explore)


class Unbounded(Walker):
    def act(self, obs: Tensor, memory: Memory, *, explore: bool, snapshot: Any = None) -> tuple[Tensor, Memory]:
        action, memory = super().act(obs, memory, explore=explore)
        return 3 * action, memory


class KeepsNoiseItself(Walker):
    last: Tensor | float = 0.0

    def act(self, obs: Tensor, memory: Memory, *, explore: bool, snapshot: Any = None) -> tuple[Tensor, Memory]:
        action, memory = super().act(obs, memory, explore=explore)
        action = (action + 0.5 * self.last).clamp(-1, 1)
        self.last = action
        return action, memory


class NeverForgets(Walker):
    def memory(self, n: int, generator: torch.Generator) -> Memory:
        memory = super().memory(n, generator)
        memory.reset = lambda mask: None  # type: ignore[method-assign]
        return memory


class MiscountsSteps(Walker):
    def tick(self, experience: Any) -> None:
        super().tick(experience)
        self.env_steps += 1 - experience.num_envs


class LosesItsCount(Walker):
    def load_planner_state(self, state: dict[str, Any]) -> None:
        self.count = 0.0


class ActsByWhatItLoses(Walker):
    """Keeps in no checkpoint what its actions depend on and its ticks don't."""

    gain_of_training = 1.0

    def act(self, obs: Tensor, memory: Memory, *, explore: bool, snapshot: Any = None) -> tuple[Tensor, Memory]:
        action, memory = super().act(obs, memory, explore=explore)
        return action if explore else action * self.gain_of_training, memory

    def tick(self, experience: Any) -> None:
        super().tick(experience)
        self.gain_of_training *= 0.9


class Fits(LinearModel):
    fitting = "closed_form"

    def refit(self, rows: Transitions, generator: torch.Generator, value: Any = None) -> dict[str, Any]:
        self.state.mul_(0.9).add_(0.1 * rows.next_obs.mean())
        return {}


class Fitter(Walker):
    """Keeps its contract with a model and a buffer."""

    def __init__(self, wait: int = 0) -> None:
        super().__init__()
        self.wait = wait
        self.dynamics = Fits()

    def make_parts(self, task: Task, seed: int) -> None:
        super().make_parts(task, seed)
        self.dynamics.build(task, seed)
        self.buffer = ReplayBuffer(100, task.obs_size, task.action_size)

    def tick(self, experience: Any) -> None:
        memory = self.collect_memory(experience.num_envs)
        action, memory = self.act(experience.obs, memory, explore=True)
        rows = experience.step(action)
        memory.reset(rows.terminated | rows.truncated)
        self.env_steps += experience.num_envs
        self.buffer.add(rows)
        if self.env_steps > self.wait:
            self.dynamics.refit(self.buffer.all(), self.streams["model_fit"])

    def buffers_state(self) -> dict[str, dict[str, Any]]:
        return {"real": self.buffer.state_dict()}

    def load_buffers_state(self, state: dict[str, dict[str, Any]]) -> None:
        if state:
            self.buffer.load_state_dict(state["real"])


class LearnsInSecret(Fitter):
    @property
    def learns(self) -> bool:
        return False


class ShowsItsPartsNothing(Fitter):
    def __init__(self) -> None:
        super().__init__()
        self.part = Part()


class ShowsItsLearnerNothing(Fitter):
    def __init__(self) -> None:
        super().__init__()
        self.learner = SAC(hidden=[8])

    def make_parts(self, task: Task, seed: int) -> None:
        super().make_parts(task, seed)
        self.learner.build(task, seed)


class LosesItsBuffer(Fitter):
    def buffers_state(self) -> dict[str, dict[str, Any]]:
        return {}


class BeginsItsBufferAnew(Fitter):
    def load_buffers_state(self, state: dict[str, dict[str, Any]]) -> None:
        pass


class NeverFits(Fitter):
    def __init__(self) -> None:
        super().__init__(wait=100)


class GlobalTicks(Walker):
    def tick(self, experience: Any) -> None:
        super().tick(experience)
        torch.rand(1)


class SavesItsTask(Walker):
    def planner_state(self) -> dict[str, Any]:
        return {"count": self.count, "task": self.task}


class DecidesOtherwise(Walker):
    def decide(self, obs: Tensor, memory: Memory, length: int, *, snapshot: Any = None) -> Tensor:
        return 0.5 * super().decide(obs, memory, length)


class DecidesByLength(Walker):
    def decide(self, obs: Tensor, memory: Memory, length: int, *, snapshot: Any = None) -> Tensor:
        fading = torch.tensor([0.9 ** (step * length) for step in range(length)])
        return fading[:, None] * super().decide(obs, memory, length)


class DecidesForNoSteps(Walker):
    def decide(self, obs: Tensor, memory: Memory, length: int, *, snapshot: Any = None) -> Tensor:
        return self.act(obs, memory, explore=False)[0].unsqueeze(1).expand(-1, length, -1)


class CountsDecisionsItself(Walker):
    decided = 0

    def decide(self, obs: Tensor, memory: Memory, length: int, *, snapshot: Any = None) -> Tensor:
        self.decided += 1
        actions = super().decide(obs, memory, length)
        return torch.cat((actions[:, :1], actions[:, 1:] / self.decided), 1)


class DecidesForever(Walker):
    decision_length = 0  # type: ignore[assignment]


class LacksItsModel(Walker, HasDynamics):
    pass


class LacksItsLearner(Walker, LearnsPolicy):
    pass


class PlansForNothing(Walker, MakesPlans):
    horizon = 5

    def plan(self, obs: Tensor, memory: Memory, *, explore: bool, snapshot: Any = None) -> Any:
        return None


PLANNERS = {
    LacksItsModel: "HasDynamics: dynamics is its model",
    LacksItsLearner: "LearnsPolicy: learner is its learner, or None",
    PlansForNothing: "MakesPlans: objective is a PlanObjective",
    TrainingNoise: "draws from its memory, never from the streams",
    Unbounded: r"actions lie in \[−1, 1\]",
    KeepsNoiseItself: "equal memories give equal actions",
    DecidesOtherwise: r"the first action of a decision is that of act\(explore=False\)",
    DecidesByLength: "a longer decision begins with the shorter one",
    DecidesForNoSteps: "decide refuses a length below 1",
    CountsDecisionsItself: "equal memories give equal decisions",
    DecidesForever: "decision_length is a number of steps, at least 1, got 0",
    NeverForgets: "reset forgets last of the episodes in the mask",
    MiscountsSteps: "a tick of 3 environments counts as many steps, got 1",
    LosesItsCount: "a planner restored from a checkpoint makes the same ticks",
    ActsByWhatItLoses: "a trained planner that is loaded acts as it did",
    LosesItsBuffer: "a planner that refits its model keeps the rows in buffers_state; Fits was fitted to rows",
    BeginsItsBufferAnew: "a planner restored from a checkpoint makes the same ticks",
    LearnsInSecret: "a tick leaves state_dict, of a planner that doesn't learn, as it was",
    ShowsItsPartsNothing: r"after each refit all parts are shown .*; 3 refits showed them to Part 0 times",
    ShowsItsLearnerNothing: "after each refit a learner is shown the real rows",
    NeverFits: "3 ticks of 3 environments saw no refit of Fits",
    GlobalTicks: "a tick draws from no global generator",
    SavesItsTask: "a checkpoint holds tensors and plain data",
}

# selectors -----------------------------------------------------------------------------------------------------------


class Drifts(ActionSelector):
    calls = 0

    def select(self, situation: Any) -> Tensor:
        self.calls += 1
        return situation.policy.mode(situation.obs) / self.calls


class TooLarge(ActionSelector):
    def select(self, situation: Any) -> Tensor:
        return 2.0 + situation.policy.mode(situation.obs)


class ChangesObs(ActionSelector):
    def select(self, situation: Any) -> Tensor:
        situation.obs.mul_(0.5)
        return situation.policy.mode(situation.obs)


class ChangesPrevAction(ActionSelector):
    def select(self, situation: Any) -> Tensor:
        if situation.prev_action is not None:
            situation.prev_action.mul_(0.5)
        return situation.policy.mode(situation.obs, situation.prev_action)


class KeepsPrevAction(ActionSelector):
    def select(self, situation: Any) -> Tensor:
        return situation.policy.mode(situation.obs)


class RemembersItself(ActionSelector):
    """Keeps what belongs to each row in itself, so that dropped rows leave others their places."""

    last: Tensor | None = None

    def select(self, situation: Any) -> Tensor:
        action = situation.policy.mode(situation.obs, situation.prev_action)
        before = action if self.last is None or len(self.last) < len(action) else self.last[: len(action)]
        self.last = None if self.last is not None else action
        return 0.5 * (action + before)


class RemembersAMean(ActionSelector):
    def memory(self, n: int, task: Task, like: Tensor) -> dict[str, Tensor]:
        return {"last": like.new_zeros(n, task.action_size)}

    def select(self, situation: Any) -> Tensor:
        action = situation.policy.mode(situation.obs, situation.prev_action)
        mixed = 0.5 * (action + situation.memory["last"].mean(0))
        situation.memory["last"] = mixed
        return mixed


class RemembersRowZero(RemembersAMean):
    """Of each row what the first did, which dropping others doesn't change."""

    def select(self, situation: Any) -> Tensor:
        action = situation.policy.mode(situation.obs, situation.prev_action)
        mixed = 0.5 * (action + situation.memory["last"][:1])
        situation.memory["last"] = mixed
        return mixed


class RemembersMore(RemembersAMean):
    def select(self, situation: Any) -> Tensor:
        situation.memory["more"] = situation.memory["last"]
        return situation.policy.mode(situation.obs, situation.prev_action)


class RemembersOneForAll(RemembersAMean):
    def memory(self, n: int, task: Task, like: Tensor) -> dict[str, Tensor]:
        return {"last": like.new_zeros(task.action_size)}


SELECTORS = {
    RemembersItself: "dropping rows leaves the others' actions as they were",
    RemembersAMean: "dropping rows leaves the others' actions as they were",
    RemembersRowZero: "what is remembered of one row changes no other row's action",
    RemembersMore: "memory after select has the names that it begins with",
    RemembersOneForAll: "memory has a row of last for each row",
    Drifts: "the same generators give the same actions",
    TooLarge: r"actions lie in \[−1, 1\]",
    ChangesObs: "select leaves obs as it was",
    ChangesPrevAction: "select leaves prev_action as it was",
    KeepsPrevAction: "the policy is asked with the action before",
}


# buffers -------------------------------------------------------------------------------------------------------------


class NewestFirst(ReplayBuffer):
    def all(self) -> Transitions:
        rows = super().all()
        return rows.select(torch.arange(len(rows)).flip(0))


class NumbersSlots(ReplayBuffer):
    def sample(self, n: int, generator: torch.Generator) -> Transitions:
        rows = super().sample(n, generator)
        rows.row = rows.row % 20
        return rows


class RestartsItsRing(ReplayBuffer):
    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.added = 0


BUFFERS = {
    NewestFirst: r"all\(\) is the newest rows, oldest first",
    NumbersSlots: "a sampled row is the one that `row` names",
    RestartsItsRing: "a restored buffer counts on",
}
