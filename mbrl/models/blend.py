"""`Blend`: a dynamics model between two others, for experiments in which the quality of a model is an axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from mbrl.arguments import Share
from mbrl.data import Prediction, Task, Transitions, ValueFunction
from mbrl.errors import ConfigError, UnsupportedError
from mbrl.models.base import DynamicsModel
from mbrl.models.capabilities import Differentiable, HasMembers
from mbrl.models.domains import Domain


class Blend(DynamicsModel, HasMembers, Differentiable):
    """Predicts (1 − w) times what `first` says and w times what `second` says, member by member.

    Means and standard deviations are mixed so, of the next observation and of the reward, and of a termination its
    probability. Hence the variance and the spread of a learned model shrink together on the way to an exact one. A model
    without members (an exact one, say) counts as as many equal ones as the other has. A weight of 0 is `first` and a weight
    of 1 `second`, bit for bit, and the other one is then neither fitted nor asked. In between each is fitted as if it were
    alone, so that models of several weights differ in nothing but these. Whatever is mixed is an observation, so nothing
    depends on units.

    An untrained model that knows the data's units is a `GaussianEnsemble` with `max_epochs: 1` and an `lr` of 1e-30.

    Args:
        first: a model whose state is its observation.
        second: another one. One that starts from a simulator's state is asked from observations instead, where these
            determine it.
        weight: w in [0, 1]; more is nearer to `second`.
        domain: as of `DynamicsModel`, beside those of the two.

    Attributes:
        members: `E`, the larger number of the two.
        lacks: capabilities of this class that a part of a weight above 0 hasn't.

    Raises:
        ConfigError: if both have members, but not equally many.
    """

    former = {"domain": []}  # noqa: RUF012 - nobody changes it
    first: DynamicsModel
    second: DynamicsModel

    def __init__(
        self, first: DynamicsModel, second: DynamicsModel, weight: Share = 0.5, domain: Sequence[Domain] = ()
    ) -> None:
        super().__init__(domain)
        numbers = [_members(model) for model in (first, second)]
        if min(numbers) > 1 and numbers[0] != numbers[1]:
            raise ConfigError(
                f"Blend: expected models of equally many members, or one without, got {numbers[0]} and {numbers[1]}; set "
                "members alike."
            )
        self.first, self.second, self.weight = first, second, float(weight)
        self.members = max(numbers)
        self.lacks = () if all(isinstance(model, Differentiable) for model in self.asked) else (Differentiable,)
        kinds = {model.fitting for model in self.asked} - {"fixed"}
        self.fitting = (  # type: ignore[misc]  # as its parts are
            "gradient" if "gradient" in kinds else "closed_form" if kinds else "fixed"
        )
        # the noise of an exact model's step needs no column for a termination, nor does it mind one
        self.draws_termination = any(model.draws_termination for model in self.asked)

    @property
    def asked(self) -> list[DynamicsModel]:
        """The models of a weight above 0, in their order."""
        return [model for model, share in ((self.first, 1.0 - self.weight), (self.second, self.weight)) if share > 0]

    @property
    def wants_value(self) -> bool:
        return any(model.wants_value for model in self.asked)

    # life ------------------------------------------------------------------------------------------------------------

    def make_parameters(self, task: Task, generator: torch.Generator) -> None:
        """Builds both for `task`, each as if it were alone.

        Raises:
            UnsupportedError: for a model whose state is more than its observation.
        """
        for model in (self.first, self.second):
            if type(model).predict_from is not DynamicsModel.predict_from:
                raise UnsupportedError(
                    f"Blend can't use {type(model).__name__}: its state is more than an observation, and there is no state "
                    "between two of different kinds; take models that predict from observations."
                )
            model.build(task, self.seed)

    def make_optimizers(self) -> list[Optimizer]:
        return [optimizer for model in (self.first, self.second) for optimizer in model.make_optimizers()]

    def refit(
        self, rows: Transitions, generator: torch.Generator, value: ValueFunction | None = None
    ) -> dict[str, float | Tensor]:
        """Fits the models that are asked, each with the same draws; metrics of two begin with `first_` and `second_`."""
        found: dict[str, float | Tensor] = {}
        fitted = [(model, name) for model, name in self._named() if model.fitting != "fixed"]
        begin = generator.get_state()
        for model, name in fitted:
            generator.set_state(begin)
            seen = rows if model.fitting == "closed_form" else _in_float32(rows)
            prefix = f"{name}_" if len(fitted) > 1 else ""
            found |= {f"{prefix}{key}": number for key, number in model.refit(seen, generator, value).items()}
        return found

    def _named(self) -> list[tuple[DynamicsModel, str]]:
        return [(model, "first" if model is self.first else "second") for model in self.asked]

    # one step --------------------------------------------------------------------------------------------------------

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        said = [self._of_members(model, obs, action, member) for model in self.asked]
        return said[0] if len(said) == 1 else _between(said[0], said[1], self.weight)

    def _of_members(self, model: DynamicsModel, obs: Tensor, action: Tensor, member: Tensor | None) -> Prediction:
        """What a model says, as of `E` members: all, or those drawn."""
        alone = _members(model) == 1
        if member is not None:
            return model.predict(obs, action, torch.zeros_like(member) if alone else member)
        said = model.predict(obs, action)
        return _repeated(said, self.members) if alone and self.members > 1 else said

    def project(self, next_obs: Tensor) -> Tensor:
        for model in self.asked:
            next_obs = model.project(next_obs)
        return super().project(next_obs)

    def halted(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor | None:
        """As the models say; a rollout that either halts is halted."""
        halts = super().halted(obs, action, next_obs)
        for model in self.asked:
            halt = model.halted(obs, action, next_obs)
            halts = halt if halts is None else halts if halt is None else halts | halt
        return halts

    def leaving(self, obs: Tensor, next_obs: Tensor, reward: Tensor, terminated: Tensor) -> tuple[Tensor, Tensor]:
        """As the models' domains say, and its own."""
        for model in self.asked:
            reward, terminated = model.leaving(obs, next_obs, reward, terminated)
        return super().leaving(obs, next_obs, reward, terminated)

    @property
    def drawn_members(self) -> Tensor:
        """Those of the model that has members; of two, of the one of more weight, the first at a half."""
        ranked = (self.first, self.second) if self.weight <= 0.5 else (self.second, self.first)
        return next(model for model in ranked if _members(model) == self.members).drawn_members


def _members(model: DynamicsModel) -> int:
    return model.members if isinstance(model, HasMembers) else 1


def _in_float32(rows: Transitions) -> Transitions:
    return rows.map(lambda tensor: tensor.float() if tensor.dtype is torch.float64 else tensor)


def _repeated(said: Prediction, members: int) -> Prediction:
    """The prediction of one member as that of `E` equal ones."""

    def expanded(value: Tensor | None) -> Tensor | None:
        return None if value is None else value.expand(members, *value.shape[1:])

    ends = said.terminated_at

    def all_ends(next_obs: Tensor, member: Tensor | None = None) -> Tensor:
        assert ends is not None  # or this function isn't there
        return ends(next_obs, member=None if member is None else torch.zeros_like(member))

    mean, var = said.mean.expand(members, *said.mean.shape[1:]), said.var.expand(members, *said.var.shape[1:])
    reward, reward_var, logit = (expanded(each) for each in (said.reward_mean, said.reward_var, said.terminated_logit))
    return Prediction(mean, var, reward, reward_var, logit, None if ends is None else all_ends)


def _between(first: Prediction, second: Prediction, weight: float) -> Prediction:
    """Means and standard deviations mixed, terminations by their probability; what one leaves out is the other's."""

    def mixed(one: Tensor | None, other: Tensor | None, mix: Callable[[Tensor, Tensor], Tensor]) -> Tensor | None:
        return other if one is None else one if other is None else mix(one, other)

    def means(one: Tensor, other: Tensor) -> Tensor:
        return torch.lerp(one, other, weight)

    def variances(one: Tensor, other: Tensor) -> Tensor:
        return torch.lerp(one.sqrt(), other.sqrt(), weight).square()

    def ends(next_obs: Tensor, member: Tensor | None = None) -> Tensor:
        found = mixed(_logit_at(first, next_obs, member), _logit_at(second, next_obs, member), logits)
        assert found is not None  # one of them has a function of it
        return found

    def logits(one: Tensor, other: Tensor) -> Tensor:
        return mixed_logit(one, other, weight)

    depends = first.terminated_at is not None or second.terminated_at is not None
    return Prediction(
        means(first.mean, second.mean),
        variances(first.var, second.var),
        mixed(first.reward_mean, second.reward_mean, means),
        mixed(first.reward_var, second.reward_var, variances),
        mixed(first.terminated_logit, second.terminated_logit, logits),
        ends if depends else None,
    )


def _logit_at(said: Prediction, next_obs: Tensor, member: Tensor | None) -> Tensor | None:
    """The logit of a termination at `next_obs` by the members asked, `B` or `n x B` int64; None: by all, or those drawn."""
    if member is None or said.terminated_logit is None:
        return said.end_logit(next_obs)
    if said.terminated_at is not None:
        return said.terminated_at(next_obs, member=member)
    return said.terminated_logit[member, torch.arange(member.shape[-1], device=member.device)]


def mixed_logit(one: Tensor, other: Tensor, weight: float) -> Tensor:
    """The logit of (1 − w) σ(one) + w σ(other) for 0 < w < 1, exact where probabilities round to 0 or 1."""
    shares = torch.tensor((1.0 - weight, weight), dtype=one.dtype, device=one.device).log()

    def log_mean(sign: float) -> Tensor:
        logs = torch.nn.functional.logsigmoid(torch.stack((sign * one, sign * other)))
        return torch.logsumexp(logs + shares.view(2, *[1] * one.ndim), 0)

    return log_mean(1.0) - log_mean(-1.0)
