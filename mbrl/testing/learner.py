"""`check_learner`: the conformance suite of learners, their policy included."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor, nn

from mbrl.data import CriticsAsked, Task, Transitions
from mbrl.errors import UnsupportedError
from mbrl.policies import BoundCriticTerm, CriticContext, CriticTerm, Learner, Policy
from mbrl.testing.clauses import Clauses, noise, some_actions, some_obs, some_rows, through_bytes
from mbrl.testing.no_sync import NoScalarReadback, ReadbackError
from mbrl.testing.policy import check_policy

SEED = 3


def check_learner(make: Callable[[], Learner], task: Task) -> None:
    """Checks that a learner keeps the contract of `mbrl.policies.Learner`, and its policy that of `Policy`.

    One without critics (`has_critics = False`) refuses values and critic terms, in place of the clauses about them.

    Args:
        make: makes the learner, not yet built, the same each time.
        task: the task to build it for.

    Raises:
        ConformanceError: naming the first clause that doesn't hold.
    """
    suite = _Suite(make, task)
    suite.life()
    suite.update()
    suite.inputs()
    if make().has_critics:
        suite.terms()
        suite.ends()
        suite.value()
    else:  # those three are about values
        suite.without_critics()
    suite.resume()
    check_policy(lambda: suite.built().policy, task)
    check_policy(lambda: suite.fitted().policy, task)


class _Suite(Clauses):
    def __init__(self, make: Callable[[], Learner], task: Task) -> None:
        super().__init__(type(make()).__name__)
        self.make = make
        self.task = task
        learner = self.built()
        self.asked = (learner.row_extras(task), learner.float64_extras)
        for name, width in self.asked[0].items():
            self.hold(isinstance(width, int) and width > 0, f"row_extras gives a width of {name!r}", width)
        unknown = sorted(set(self.asked[1]) - set(self.asked[0]))
        self.hold(not unknown, "float64_extras names extras of row_extras", unknown)

    def built(self, seed: int = SEED) -> Learner:
        learner = self.make()
        with self.untouched("build"):
            learner.build(self.task, seed)
        learner.make_optimizers()
        return learner

    def fitted(self, seed: int = SEED) -> Learner:
        """One that has seen rows in units of their own, after `fit_inputs`."""
        learner = self.built(seed)
        learner.fit_inputs(self.in_units())
        return learner

    def in_units(self) -> Transitions:
        rows = self.rows()
        return replace(rows, obs=rows.obs * 8.0 + 3.0, next_obs=rows.next_obs * 8.0 + 3.0)

    def rows(self) -> Transitions:
        rows = some_rows(self.task, 32)
        extras = {
            name: torch.zeros(32, width, dtype=torch.float64 if name in self.asked[1] else torch.float32)
            for name, width in self.asked[0].items()
        }
        return replace(rows, terminated=torch.arange(32) % 4 == 0, extras=extras)

    def life(self) -> None:
        """Spec, build, optimisers."""
        twin = self.rebuilt(self.make())
        self.hold(type(twin) is type(self.make()), "the spec names the learner's own class", type(twin).__name__)
        learner = self.built()
        self.equal(learner.state_dict(), self.built().state_dict(), "the same seed gives the same parameters")
        self.hold(isinstance(learner.policy, Policy), "a built learner has a policy")
        held = {id(parameter) for optimizer in learner.make_optimizers() for parameter in _held(optimizer)}
        own = {id(parameter) for parameter in learner.parameters()}
        self.hold(bool(held), "make_optimizers returns the optimisers of the parameters")
        self.hold(held <= own, "the optimisers hold the learner's own parameters")
        trained = {id(parameter) for parameter in learner.policy.parameters() if parameter.requires_grad}
        self.hold(trained <= held, "the optimisers hold the policy's parameters")

    def update(self) -> None:
        """An update changes the policy and nothing that it was given, and repeats."""
        learner, rows = self.built(), self.rows()
        before = [parameter.detach().clone() for parameter in learner.policy.parameters()]
        with self.untouched("update", batch=rows):
            metrics = learner.update(rows, noise())
        moved = any(not torch.equal(a, b) for a, b in zip(before, learner.policy.parameters(), strict=True))
        self.hold(moved, "an update changes the policy's parameters")
        self.hold(isinstance(metrics, dict) and bool(metrics), "update returns metrics by name")
        for name, value in metrics.items():
            self.shaped(value, (), f"the metric {name}")
            self.hold(not value.requires_grad, f"the metric {name} carries no gradient")
            self.hold(torch.isfinite(value), f"the metric {name} is finite", value.item())
        again = self.built()
        self.equal(again.update(self.rows(), noise()), metrics, "the same generator gives the same update")
        self.equal(again.state_dict(), learner.state_dict(), "the same generator gives the same parameters, bit for bit")
        try:
            with NoScalarReadback():
                learner.update(rows, noise())
        except ReadbackError as error:
            self.hold(False, "update reads nothing back from the device", error)

    def inputs(self) -> None:
        """`fit_inputs` changes the learner alone, the same each time, and keeps nothing of the rows themselves."""
        learner, rows, obs = self.built(), self.in_units(), some_obs(self.task, 5)
        with self.untouched("fit_inputs", rows=rows):
            learner.fit_inputs(rows)
        self.equal(self.fitted().state_dict(), learner.state_dict(), "fit_inputs takes the same of the same rows")
        before = self.answers(learner, obs)
        rows.obs.zero_()  # as a full buffer's next rows would
        self.equal(self.answers(learner, obs), before, "fit_inputs copies what it keeps of the rows")
        learner.fit_inputs(self.in_units())
        self.equal(self.answers(learner, obs), before, "fit_inputs depends on its rows alone")

    def answers(self, learner: Learner, obs: Tensor) -> tuple[Tensor, ...]:
        return (learner.policy.mode(obs), *([learner.value(obs)] if learner.has_critics else []))

    def terms(self) -> None:
        """Critic terms are called with the batch and their context, and what they return is descended."""
        rows, term, own = self.rows(), _Decay(), noise("term")
        plain, pushed = self.built(), self.built()
        plain.update(rows, noise())
        with self.untouched("update", the_terms_generator=own):
            pushed.update(rows, noise(), [BoundCriticTerm(term, slice(8, 32), own, term.reports.append)])
        self.hold(len(term.calls) == 1, "update calls each critic term once", len(term.calls))
        batch, context = term.calls[0]
        critics, targets = context.critics, context.target_critics
        self.hold(batch is rows, "a critic term gets the batch of the update")
        self.hold(context.policy is pushed.policy, "a critic term gets the learner's policy")
        count = pushed.value(rows.obs).shape[0]
        for what, module in (("critics", critics), ("target critics", targets)):
            self.hold(isinstance(module, nn.Module), f"a critic term gets the {what}", type(module).__name__)
            self.shaped(
                module(rows.obs, rows.action), (count, 32), f"the {what} of a critic term, called with obs and action"
            )
        if targets is not critics:
            constant = not any(parameter.requires_grad for parameter in targets.parameters())
            self.hold(constant, "the target critics of a critic term are constant")
        self.shaped(context.temperature, (), "the temperature of a critic term")
        self.hold(not context.temperature.requires_grad, "the temperature of a critic term carries no gradient")
        self.hold(0 <= context.discount <= 1, "the discount of a critic term lies in [0, 1]", context.discount)
        handed = {id(parameter) for parameter in critics.parameters()}
        twins = dict(plain.named_parameters())
        changed = any(
            id(parameter) in handed and not torch.equal(parameter, twins[name])
            for name, parameter in pushed.named_parameters()
        )
        self.hold(changed, "a critic term is part of the loss that the critics descend")

    def ends(self) -> None:
        """Values are bootstrapped through truncation and stopped by termination."""
        rows = replace(self.rows(), terminated=torch.zeros(32, dtype=torch.bool))
        cut = replace(rows, truncated=torch.ones(32, dtype=torch.bool))
        over = replace(rows, terminated=torch.ones(32, dtype=torch.bool))
        states = []
        for batch in (rows, cut, over):
            learner = self.built()
            learner.update(batch, noise())
            states.append(learner.state_dict())
        self.equal(states[0], states[1], "a truncated row is learned from like any other")
        same = all(torch.equal(states[0][name], states[2][name]) for name in states[0] if _is_tensor(states[0][name]))
        self.hold(not same, "a terminated row is worth its reward alone")

    def value(self) -> None:
        """`value` is `J x B` of each kind of critics, differentiable in obs and action, and draws nothing."""
        learner = self.built()
        count = learner.value(some_obs(self.task, 5)).shape[0]
        for dims in ((5,), (2, 3)):
            obs = some_obs(self.task, *dims).requires_grad_()
            with self.untouched("value", obs=obs):
                value = learner.value(obs)
            self.shaped(value, (count, *dims), "value", obs)
            (gradient,) = torch.autograd.grad(value.sum(), obs, allow_unused=True)
            self.hold(gradient is not None, "value is differentiable in obs")
            self.hold(torch.isfinite(gradient).all(), "value has a finite gradient in obs")
            action = some_actions(self.task, *dims).requires_grad_()
            with self.untouched("value", obs=obs, action=action):
                value = learner.value(obs, action)
            self.shaped(value, (count, *dims), "value of an action", obs)
            (gradient,) = torch.autograd.grad(value.sum(), action, allow_unused=True)
            self.hold(gradient is not None and bool(gradient.any()), "value of an action depends on it, differentiably")
        learner.update(self.rows(), noise())  # now targets lag behind
        obs, action = obs.detach(), action.detach()
        online = learner.value(obs, action, "online")
        self.equal(learner.value(obs, action), online, "value is that of the online critics by default")
        try:
            target, both = learner.value(obs, action, "target"), learner.value(obs, action, "both")
        except UnsupportedError:
            return
        self.shaped(target, (count, *dims), "value by target critics (unless refused with UnsupportedError)", obs)
        self.hold(not torch.equal(target, online), "target critics have values of their own")
        self.equal(both, torch.cat((online, target)), "value by both kinds of critics is online, then target", 1e-5)

    def without_critics(self) -> None:
        """A learner without critics refuses `value` and critic terms."""
        learner, rows = self.built(), self.rows()
        for asked in get_args(CriticsAsked):
            for action in (None, rows.action):
                refused = _refuses(partial(learner.value, rows.obs, action, asked))
                self.hold(refused, "value of a learner without critics is refused with UnsupportedError", asked)
        term = BoundCriticTerm(_Decay(), slice(8, 32), noise("term"), lambda metrics: None)
        refused = _refuses(lambda: learner.update(rows, noise(), [term]))
        self.hold(refused, "a learner without critics refuses critic terms with UnsupportedError")

    def resume(self) -> None:
        """Spec, state dict and optimiser states through bytes continue as if nothing had happened."""
        rows = self.rows()
        unbroken, stream = self.fitted(), noise()
        optimizers = unbroken.make_optimizers()
        for _ in range(2):
            unbroken.update(rows, stream)
        saved: dict[str, Any] = through_bytes(
            {"optimizers": [optimizer.state_dict() for optimizer in optimizers], "stream": stream.get_state()}
        )
        twin = self.rebuilt(unbroken)
        twin.build(self.task, SEED + 1)
        twin_optimizers = twin.make_optimizers()
        self.state_moves(unbroken, twin)
        for optimizer, state in zip(twin_optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        resumed = torch.Generator()
        resumed.set_state(saved["stream"])
        for _ in range(3):
            metrics = unbroken.update(rows, stream), twin.update(rows, resumed)
            self.equal(*metrics, "a learner from spec, state dict and optimiser states continues with the same metrics")
        self.equal(
            twin.state_dict(), unbroken.state_dict(), "a learner from spec, state dict and optimiser states continues equal"
        )
        for clause, copied in self.copies(unbroken, "after updates"):
            original = copy.deepcopy(unbroken)
            metrics = copied.update(rows, noise()), original.update(rows, noise())
            self.equal(*metrics, clause)
            self.equal(copied.state_dict(), original.state_dict(), clause)
        for clause, copied in self.copies(self.make(), "before build"):
            copied.build(self.task, SEED)
            self.equal(copied.state_dict(), self.built().state_dict(), clause)
        moved, obs = self.built(SEED + 1), some_obs(self.task, 5)
        moved.policy.load_state_dict(through_bytes(unbroken.policy.state_dict()))
        self.equal(moved.policy.mode(obs), unbroken.policy.mode(obs), "the policy's state dict has all that it acts by")


class _Decay(CriticTerm):
    """A large weight decay that remembers what it was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[Transitions, CriticContext]] = []
        self.reports: list[Mapping[str, Tensor]] = []

    def __call__(self, batch: Transitions, context: CriticContext) -> Tensor:
        self.calls.append((batch, context))
        return 1e3 * torch.stack([parameter.square().sum() for parameter in context.critics.parameters()]).sum()


def _refuses(call: Callable[[], object]) -> bool:
    try:
        call()
    except UnsupportedError:
        return True
    return False


def _held(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)
