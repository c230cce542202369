"""`check_dynamics_model`: the conformance suite of dynamics models."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mbrl.data import ModelStep, Prediction, Task, Transitions, ValueFunction
from mbrl.errors import NotBuiltError, UnsupportedError
from mbrl.models import Differentiable, DynamicsModel, Exact, GradientModel, HasLipschitzBound, HasMembers
from mbrl.testing.clauses import noise, some_actions, some_obs, some_rows
from mbrl.testing.model_states import ROWS, StateClauses

SEED = 3


def check_dynamics_model(
    make: Callable[[], DynamicsModel],
    task: Task,
    rows: Transitions | None = None,
    *,
    tolerance: float = 1e-5,
) -> None:
    """Checks that a dynamics model keeps the contract of `mbrl.models.DynamicsModel`.

    Args:
        make: makes the model, not yet built, the same each time.
        task: the task to build it for; the reward and termination that it doesn't know, the model must learn.
        rows: transitions to fit to and to start rollouts from (default: 64 rows of a smooth made-up system). A model with
            a state of its own needs rows with its extras; if it refuses to predict from observations alone
            (`UnsupportedError`), what its steps predict is checked instead.
        tolerance: relative and absolute, between two ways to compute the same numbers.

    Raises:
        ConformanceError: naming the first clause that doesn't hold.
    """
    suite = _Suite(make, task, some_rows(task) if rows is None else rows, tolerance)
    suite.life()
    suite.prior()
    if suite.predicts:
        suite.predictions()
        suite.members()
        suite.scores()
    suite.rows_of_a_fit()
    suite.steps()
    suite.states()
    suite.rows_drop_as_they_mask()
    suite.capabilities()
    suite.replacing()
    suite.moves()


class _Suite(StateClauses):
    def __init__(self, make: Callable[[], DynamicsModel], task: Task, rows: Transitions, tolerance: float) -> None:
        self.make = make
        self.task = task
        self.rows = rows
        self.tolerance = tolerance
        self.starts = rows.select(slice(0, ROWS))
        super().__init__(type(make()).__name__)
        self.hold(len(self.starts) == ROWS, f"the suite gets at least {ROWS} rows", len(self.starts))
        self.model = self.fitted()
        self.predicts = True
        try:
            self.ask(self.model)
        except UnsupportedError:
            self.predicts = False

    def fitted(self, seed: int = SEED) -> DynamicsModel:
        model = self.make()
        with self.untouched("build"):
            model.build(self.task, seed)
        model.make_optimizers()
        if model.fitting != "fixed":
            with self.untouched("refit", rows=self.rows):
                report = model.refit(self.rows, noise("fit"), self.value(model))
            self.hold(isinstance(report, dict), "refit returns metrics by name", type(report).__name__)
        return model

    def value(self, model: DynamicsModel) -> ValueFunction | None:
        return _Value() if model.wants_value else None

    def life(self) -> None:
        """Spec, build, fit."""
        fresh = self.make()
        try:
            _ = fresh.built_task
        except NotBuiltError:
            pass
        else:
            self.hold(False, "a model has no task before build")
        twin = self.rebuilt(self.make())
        self.hold(type(twin) is type(self.model), "the spec names the model's own class", type(twin).__name__)
        self.hold(self.model.fitting in ("gradient", "closed_form", "fixed"), "fitting is one of three", self.model.fitting)
        if self.model.fitting == "gradient":
            self.hold(bool(self.model.make_optimizers()), "a gradient model makes optimisers")
        if self.model.fitting == "fixed":
            before = {name: value.clone() for name, value in self.model.named_parameters()}
            self.model.refit(self.rows, noise("fit"), self.value(self.model))
            self.equal(dict(self.model.named_parameters()), before, "a fixed model's refit changes nothing")
        first, second = self.fitted(), self.fitted()
        self.equal(self.ask(first), self.ask(second), "the same seed, rows and generator give the same model, bit for bit")
        self.copied(first)

    def copied(self, model: DynamicsModel) -> None:
        """Copies do what the original does, before `build` and after a fit."""
        for clause, twin in self.copies(self.make(), "before build"):
            twin.build(self.task, SEED)
            twin.make_optimizers()
            if twin.fitting != "fixed":
                twin.refit(self.rows, noise("fit"), self.value(twin))
            self.equal(self.ask(twin), self.ask(model), clause)
        for clause, twin in self.copies(model, "after a fit"):
            self.equal(self.ask(twin), self.ask(model), clause)
            if model.fitting != "fixed":
                again = copy.deepcopy(model).refit(self.rows, noise("fit"), self.value(model))
                self.equal(twin.refit(self.rows, noise("fit"), self.value(model)), again, clause, self.tolerance)

    def prior(self) -> None:
        """A model answers before its first fit, with all that it says afterwards; a closed form takes float64 rows too."""
        fresh = self.make()
        fresh.build(self.task, SEED)
        with self.succeeds("a model answers from build on"):
            said = self.ask(fresh)
        later = self.ask(self.model)
        self.prediction(said, tuple(later.mean.shape[:-1]), later.mean)
        for name, value in vars(later).items():
            given = getattr(said, name)
            self.hold((given is None) == (value is None), f"a model answers from build on with {name} as after a fit")
            if isinstance(given, Tensor):
                self.hold(torch.isfinite(given).all(), f"a model answers from build on with a finite {name}")
        if self.model.fitting == "closed_form":
            rows = self.rows.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
            with self.succeeds("a closed form is fitted to float64 rows too, and answers float32 all the same"):
                fresh.refit(rows, noise("fit"), self.value(fresh))
                self.prediction(self.ask(fresh), tuple(later.mean.shape[:-1]), later.mean)

    def ask(self, model: DynamicsModel, dims: tuple[int, ...] = (ROWS,), member: Tensor | None = None) -> Prediction:
        obs, action = self.inputs(*dims)
        with torch.no_grad():
            if self.predicts:
                return model.predict(obs, action, member)
            step = model.step(model.start(self.starts, noise("step")), action, ("prediction",))
        if step.prediction is None:
            self.hold(False, 'want="prediction" brings the all-member prediction')
        return step.prediction  # type: ignore[return-value]

    def inputs(self, *dims: int) -> tuple[Tensor, Tensor]:
        return some_obs(self.task, *dims), some_actions(self.task, *dims)

    def predictions(self) -> None:
        """Shapes and dtypes with any leading dims, nothing changed, nothing drawn."""
        members = self.ask(self.model).mean.shape[0]
        for dims in ((ROWS,), (2, 3), (1, 2, 2)):
            obs, action = self.inputs(*dims)
            with self.untouched("predict", obs=obs, action=action), torch.no_grad():
                given = self.model.predict(obs, action)
            self.prediction(given, (members, *dims), obs)
            flat = self.model.predict(obs.reshape(-1, self.task.obs_size), action.reshape(-1, self.task.action_size))
            self.close(given.mean.reshape(members, -1, self.task.obs_size), flat.mean, "leading dims are independent rows")
        again = self.ask(self.model)
        self.equal(again, self.ask(self.model), "predict of the same inputs is the same")

    def prediction(self, given: Prediction, dims: tuple[int, ...], obs: Tensor) -> None:
        self.hold(isinstance(given, Prediction), "predict returns a Prediction", type(given).__name__)
        self.shaped(given.mean, (*dims, self.task.obs_size), "mean", obs)
        self.shaped(given.var, (*dims, self.task.obs_size), "var", obs)
        self.hold((given.var >= 0).all(), "var is at least 0", given.var.min().item())
        self.hold((given.reward_mean is None) == (given.reward_var is None), "reward mean and variance come together")
        for name in ("reward_mean", "reward_var", "terminated_logit"):
            value = getattr(given, name)
            if value is not None:
                self.shaped(value, dims, name, obs)

    def members(self) -> None:
        """The drawn-member path gives what the all-member path gives for that member."""
        everyone = self.ask(self.model)
        count = everyone.mean.shape[0]
        drawn = self.model.drawn_members
        self.hold(drawn.dtype is torch.int64 and drawn.ndim == 1, "drawn_members is a vector of int64", drawn.dtype)
        self.hold(len(drawn) > 0, "drawn_members names at least one member")
        self.hold(bool(((drawn >= 0) & (drawn < count)).all()), f"drawn_members lie in 0 … {count - 1}", drawn.tolist())
        member = drawn[torch.arange(ROWS) % len(drawn)]
        obs, action = self.inputs(ROWS)
        with self.untouched("predict", obs=obs, action=action, member=member), torch.no_grad():
            one = self.model.predict(obs, action, member)
        self.prediction(one, (ROWS,), obs)
        index = torch.arange(ROWS)
        for name in ("mean", "var", "reward_mean", "reward_var", "terminated_logit"):
            full, part = getattr(everyone, name), getattr(one, name)
            self.hold((full is None) == (part is None), f"{name} is there with a drawn member as without")
            if full is not None:
                self.close(part, full[member, index], f"{name} with a drawn member is that member's row")

    def scores(self) -> None:
        """`score` says one number per member, with a value or without, and leaves the rows alone."""
        count = self.ask(self.model).mean.shape[0]
        for value in (None, self.value(self.model)):
            with self.untouched("score", rows=self.rows), self.succeeds("score(rows, value) takes rows and a value"):
                score = self.model.score(self.rows, value)
            self.shaped(score, (count,), "a score")
            self.hold(not score.requires_grad, "a score carries no gradient")

    def rows_of_a_fit(self) -> None:
        """Batches of a fit know the rows' places, and carry the extras that came and those of `fit_extras`."""
        model = self.make()
        if not isinstance(model, GradientModel):
            return
        model.build(self.task, SEED)
        model.make_optimizers()
        seen, computed = _watched(model, "loss"), _watched(model, "fit_extras")
        model.refit(self.rows, noise("fit"), self.value(model))
        self.hold(len(computed) == 1, "a fit computes fit_extras once", len(computed))
        extras = {**self.rows.extras, **computed[0][1]}
        place = "a batch of a fit has in row its rows' places among those of the fit"
        for (batch, *_), _ in seen[:8]:
            self.hold(batch.row is not None, place)
            self.equal(batch.obs, self.rows.obs[batch.row], place)
            for name, extra in extras.items():
                carries = f"a batch of a fit carries the rows' extras ({name})"
                self.hold(name in batch.extras, carries, sorted(batch.extras))
                self.equal(batch.extras[name], extra[batch.row], carries)

    def steps(self) -> None:
        """Steps have their shapes, repeat with their generator, and leave their inputs alone."""
        action = some_actions(self.task, ROWS)
        for follow in (False, True):
            state = self.start(follow=follow)
            self.equal(state.obs, self.starts.obs, "rollouts start at the rows' observations")
            obs = state.obs
            with self.untouched("step", obs=obs, action=action), torch.no_grad():
                step = self.model.step(state, action)
            self.equal(state.obs, obs, "step leaves the state that it steps from as it was")
            self.step(step, obs, action)
            with torch.no_grad():
                again = self.model.step(self.start(follow=follow), action)
                asked = self.model.step(self.start(follow=follow), action, ("prediction",))
            self.same(step, again, "the same generator gives the same step")
            for name in ("next_obs", "reward"):
                self.close(getattr(step, name), getattr(asked, name), 'want="prediction" changes nothing else but rounding')
            self.hold(step.prediction is None, "the all-member prediction comes only if wanted")
            self.hold(asked.prediction is not None, 'want="prediction" brings the all-member prediction')
            if follow and isinstance(self.model, HasMembers) and asked.prediction is not None:
                self.shaped(asked.prediction.mean, (self.model.members, *obs.shape), "the wanted prediction's mean")
        self.rollouts()

    def step(self, step: ModelStep, obs: Tensor, action: Tensor) -> None:
        self.equal(step.obs, obs, "a step's obs is where it started")
        self.equal(step.action, action, "a step's action is the one given")
        self.shaped(step.next_obs, tuple(obs.shape), "next_obs", obs)
        self.shaped(step.reward, (ROWS,), "reward", obs)
        self.shaped(step.terminated, (ROWS,), "terminated")
        self.hold(step.terminated.dtype is torch.bool, "terminated is bool", step.terminated.dtype)
        if step.member is not None:
            self.shaped(step.member, (ROWS,), "a step's member")
            self.hold(torch.isin(step.member, self.model.drawn_members).all(), "a step's member is one of drawn_members")
        self.equal(step.state.obs, step.next_obs, "the state after a step stands at next_obs")
        self.close(
            self.model.project(step.next_obs), step.next_obs, "next_obs is projected, and stays so when projected again"
        )
        halt = self.model.halted(obs, action, step.next_obs)
        clause = "a step's halt is what halted says of it"
        self.hold((halt is None) == (step.halt is None), clause, step.halt)
        if halt is not None and step.halt is not None:
            self.shaped(halt, (ROWS,), "halted")
            self.equal(step.halt, halt, clause)
        self.moving(step)
        reward, terminated = (known(obs, action, step.next_obs) for known in (self.task.reward, self.task.terminated))
        free, going_on = torch.zeros_like(step.reward), torch.zeros_like(step.terminated)
        fee, ended = self.model.leaving(obs, step.next_obs, free, going_on)
        if reward is not None:
            self.close(step.reward, reward + fee, "a known reward is the task's, on the sampled next observation")
        if terminated is not None:
            known = terminated | ended
            self.equal(step.terminated, known, "a known termination is the task's, on the sampled next observation")

    def rollouts(self) -> None:
        """Open-loop rollouts are their steps, whether they keep a member or draw one at each."""
        plan = some_actions(self.task, ROWS, 3)
        for follow in (False, True):
            with torch.no_grad():
                whole = self.model.rollout(self.start(follow=follow), plan)
                state = self.start(follow=follow)
                for number, action in enumerate(plan.unbind(1)):
                    step = self.model.step(state, action)
                    self.same(whole[number], step, "rollout is its steps one by one", self.tolerance)
                    state = step.state

    def capabilities(self) -> None:
        """Marker classes keep what they promise."""
        model, given = self.model, self.ask(self.model)
        if isinstance(model, HasMembers):
            self.hold(given.mean.shape[0] == model.members, "predict asks all members", given.mean.shape[0])
        if isinstance(model, Exact):
            self.hold(not isinstance(model, HasMembers), "an exact model has no members that disagree")
            self.hold(bool((given.var == 0).all()), "an exact model has no variance", given.var.max().item())
        if isinstance(model, HasLipschitzBound) and self.predicts:
            (obs, action), bound = self.inputs(ROWS), model.lipschitz_bound().observation
            with torch.no_grad():
                apart = (given.mean - model.predict(obs.roll(1, 0), action).mean).norm(dim=-1)  # E x B
            most = (apart / (obs - obs.roll(1, 0)).norm(dim=-1)).amax(1)
            self.hold((most <= bound * (1 + self.tolerance)).all(), "slopes lie within lipschitz_bound", most.tolist())
        if isinstance(model, Differentiable):
            obs, action = (tensor.requires_grad_() for tensor in self.inputs(ROWS))
            model.predict(obs, action).mean.sum().backward()
            for name, tensor in (("obs", obs), ("action", action)):
                fine = tensor.grad is not None and bool(torch.isfinite(tensor.grad).all())
                self.hold(fine, f"a differentiable model has a finite gradient in {name}")

    def moves(self) -> None:
        """Spec and fitted state dict make an equal model, alone and nested."""
        twin = self.rebuilt(self.model)
        twin.build(self.task, SEED + 1)
        self.state_moves(self.model, twin)
        self.equal(self.ask(twin), self.ask(self.model), "a model from spec and state dict predicts the same")
        self.equal(twin.drawn_members, self.model.drawn_members, "a model from spec and state dict draws the same members")
        action = some_actions(self.task, ROWS)
        with torch.no_grad():
            step = twin.step(twin.start(self.starts, noise("step")), action)
            self.same(step, self.model.step(self.start(), action), "a model from spec and state dict steps the same")

    def same(self, one: ModelStep, other: ModelStep, clause: str, tolerance: float = 0.0) -> None:
        for name in ("obs", "action", "next_obs", "reward", "terminated", "halt"):
            self.equal(getattr(one, name), getattr(other, name), clause, tolerance)


class _Value:
    """A smooth made-up value function of two critics."""

    def value(self, obs: Tensor, action: Tensor | None = None, critics: str = "online") -> Tensor:
        low = -obs.square().sum(-1) - (0.0 if action is None else action.square().sum(-1))
        return torch.stack((low, 1.1 * low))


def _watched(model: DynamicsModel, name: str) -> list[tuple[tuple[Any, ...], Any]]:
    """Notes each call of the method `name` of `model` from now on: its arguments, and what it returned."""
    calls: list[tuple[tuple[Any, ...], Any]] = []
    method = getattr(model, name)

    def noted(*args: Any, **kwargs: Any) -> Any:
        calls.append((args, method(*args, **kwargs)))
        return calls[-1][1]

    setattr(model, name, noted)
    return calls
