"""`GaussianEnsemble`: networks that each predict a Gaussian over the change of the observation, and over the reward.

    symbol   code           shape        meaning
    E        members                     networks
    D        -                           S, and one more if the reward is learned
    μ        mean           E x B x D    of [Δobs, reward]
    ρ        raw            E x B x D    the network's log-variance
    ℓ        log_var        E x B x D    the same inside its bounds
    λ_l      weight_decay   per layer    of the weights W_l

Chua2018: "Deep reinforcement learning in a handful of trials using probabilistic dynamics models" (PETS, NeurIPS 2018).
Janner2019: "When to trust your model: model-based policy optimization" (MBPO, NeurIPS 2019; authors' code).
Pineda2021: "MBRL-Lib: a modular library for model-based reinforcement learning".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from mbrl.arguments import Count, Limits, NonNegative, Widths, check_argument, check_shape, check_whole
from mbrl.data import ModelState, ModelStep, Prediction, Task
from mbrl.errors import ConfigError
from mbrl.models.capabilities import Differentiable, HasMembers
from mbrl.models.fitting.weight_decay import DecayForm, decayed_groups, layer_decay
from mbrl.models.gaussian_fit import GaussianFit
from mbrl.models.obs_state import ObsState
from mbrl.models.target_normalizer import TargetNormalizer
from mbrl.models.termination_head import TerminationHead
from mbrl.networks import Activation, LipschitzConstraint, LogVarBounds, Normalizer, Precision, StackedMLP, layout


class GaussianEnsemble(GaussianFit, HasMembers, Differentiable):
    """An ensemble of probabilistic networks [Chua2018], fitted as MBPO's authors do [Janner2019].

    Each member maps normalised [obs, action] to a Gaussian over [Δobs, reward], and Δobs is added to the observation as it
    came. Targets are normalised too, so that no result depends on units, unless `normalize_targets` is off, as in the
    authors' code. With y, μ and ℓ in the targets' units the loss is

        Σ_members mean_{batch, D} [(μ − y)² exp(−ℓ) + ℓ] + bound_penalty Σ_D (ℓ_max − ℓ_min) + Σ_l λ_l ½ |W_l|²

    without the ½ and the ln 2π of a Gaussian's negative log-likelihood, which is ½ (loss + ln 2π) per dimension. Members
    are summed, so one Adam fits each as if it were alone. The last term is applied by Adam as a gradient λ_l W_l, which
    is the same and costs nothing; it is not in the loss that is reported.

    The defaults are the authors'.

    Args:
        members: `E`.
        elites: members with the lowest holdout error, the only ones that a rollout draws from; None draws from all.
        hidden: widths of the hidden layers.
        activation: between layers: `silu`, `relu`, `elu`, `tanh`, `gelu` or `softplus`.
        learn_reward: whether the reward is predicted too; `"auto"` if the task has no known reward.
        learn_terminated: whether termination is predicted too, by one more output trained with a binary cross-entropy
            (not part of MBPO, whose tasks have known terminations); `"auto"` if the task has no known termination.
        deterministic: predict means only, with mean squared error for a loss; `var` is then 0.
        judged_by: what ends a fit and chooses weights and elites by held-out rows: the squared `"error"` of the mean, as the
            authors, or the `"likelihood"`, which sees variances too. Errors go on falling by little while the variances
            become far too small for rows of other episodes; the likelihood ends a fit before that.
        bounds: log-variance bounds that the loss moves (`"learned"`, MBPO and PETS) or that stay (`"frozen"`, several
            ports).
        log_var_min: (initial) lower bound, relative to the variance of the targets if these are normalised.
        log_var_max: (initial) upper bound, likewise.
        bound_penalty: weight of the bounds' distance; larger pulls learned bounds together faster.
        weight_decay: λ, one number or one per layer; None gives the authors', see `layer_decay`. More keeps weights smaller.
        decay_form: `"half"`: λ ½ |W|² (MBPO, PETS), a gradient of λ W; `"full"`: λ |W|², twice that (a port);
            `"adam"`: one λ for all parameters, biases and learned bounds too, as torch's Adam does it (mbrl-lib).
        normalizer_rows: rows whose mean and sd normalise inputs: `"train"` (MBPO) or `"all"`, the holdout too (mbrl-lib).
        normalizer_ddof: 0 for the population's sd (MBPO), 1 for the sample's (mbrl-lib).
        normalize_targets: whether Δobs and reward are normalised, by the statistics of all rows. False, the authors' way,
            learns dimensions in small units badly, and lets the largest decide when a fit ends.
        termination_input: what a learned termination depends on: `"obs_action"`, or also the `"next_obs"` (the one drawn, in
            rollouts), by a `TerminationHead`. Better where ends lie in noisy next observations; a step takes thrice
            as long.
        termination: whether a learned termination is `"drawn"` by its probability at each step, or comes at a `"threshold"`
            of one half, by which an end that is rare never comes.
        precision: `"bf16"` computes the hidden layers' products in bfloat16; all else stays float32.
        chunk_rows: rows a member that a prediction without gradients computes at once; their activations should fit the
            cache.
        constraint: keeps the network's means within a Lipschitz budget, such as `SpectralClip`: its hidden layers and the
            outputs that are means; log-variances and terminations are free in the last layer. None for nothing.
        **fit: arguments of `GradientModel`: how it is fitted.

    Raises:
        ConfigError: for a number out of range, or options that contradict each other.
    """

    former = {  # noqa: RUF012 - nobody changes it
        "judged_by": "error",
        "normalize_targets": False,
        "termination_input": "obs_action",
        "termination": "threshold",
        "constraint": None,
    }
    elite_members: Tensor

    def __init__(
        self,
        members: Count = 7,
        elites: Count | None = 5,
        hidden: Widths = (200, 200, 200, 200),
        activation: Activation = "silu",
        *,
        learn_reward: Literal["auto"] | bool = "auto",
        learn_terminated: Literal["auto"] | bool = "auto",
        deterministic: bool = False,
        judged_by: Literal["error", "likelihood"] = "error",
        bounds: Literal["learned", "frozen"] = "learned",
        log_var_min: float = -10.0,
        log_var_max: float = 0.5,
        bound_penalty: NonNegative = 0.01,
        weight_decay: NonNegative | Sequence[NonNegative] | None = None,
        decay_form: DecayForm = "half",
        normalizer_rows: Literal["train", "all"] = "train",
        normalizer_ddof: Literal[0, 1] = 0,
        normalize_targets: bool = True,
        termination_input: Literal["obs_action", "next_obs"] = "obs_action",
        termination: Literal["drawn", "threshold"] = "drawn",
        precision: Precision = "fp32",
        chunk_rows: Count = 400,
        constraint: LipschitzConstraint | None = None,
        **fit: Any,
    ) -> None:
        super().__init__(members=members, **fit)
        if elites is not None:
            check_whole(self._with("elites"), elites, 1, members)
        if self.holdout == 0 and elites not in (None, members):
            raise ConfigError(f"{self._with('elites')}: expected None beside a holdout of 0, got {elites}; hold rows out.")
        if learn_terminated is False and termination_input == "next_obs":
            raise ConfigError(f"{self._with('termination_input')}: expected learn_terminated, got False; leave one out.")
        if constraint is not None:
            constraint.check(activation, hidden)
        if deterministic and self.model_loss is not None and self.model_loss.fits_variance:
            raise ConfigError(
                f"{self._with('loss')}: expected a loss of the mean beside deterministic=True, got "
                f"{type(self.model_loss).__name__} of samples; leave out its samples, or let the model be probabilistic."
            )
        reasons = {
            "deterministic=True, which has none": deterministic,
            "a loss, which judges by itself": self.model_loss is not None,
            "a holdout of 0, which leaves no rows to judge by": self.holdout == 0,
        }
        other = next((said for said, holds in reasons.items() if holds), None)
        if judged_by == "likelihood" and other is not None:
            raise ConfigError(
                f"{self._with('judged_by')}: expected 'error' beside {other}, got 'likelihood'; leave one out."
            )
        check_argument(self._with("log_var_min"), log_var_min, Annotated[float, Limits(below=log_var_max)])
        self.elites = members if elites is None else elites
        self.hidden = tuple(hidden)
        self.activation = activation
        self.learn_reward = learn_reward
        self.learn_terminated = learn_terminated
        self.deterministic = deterministic
        self.judged_by = judged_by
        self.bounds = bounds
        self.log_var_min = log_var_min
        self.log_var_max = log_var_max
        self.bound_penalty = bound_penalty
        self.decay_form = decay_form
        self.layer_decay = layer_decay(self._with("weight_decay"), weight_decay, decay_form, len(self.hidden) + 1)
        self.normalizer_rows = normalizer_rows
        self.normalizer_ddof = normalizer_ddof
        self.normalize_targets = normalize_targets
        self.termination_input = termination_input
        self.draws_termination = termination == "drawn"
        self.precision = precision
        self.chunk_rows = chunk_rows
        self.constraint = constraint

    # parameters --------------------------------------------------------------------------------------------------------

    def make_parameters(self, task: Task, generator: torch.Generator) -> None:
        reward, ends = self.learn_reward, self.learn_terminated
        self.predicts_reward: bool = task.known_reward is None if reward == "auto" else reward
        self.predicts_terminated: bool = task.known_terminated is None if ends == "auto" else ends
        inputs = task.obs_size + task.action_size
        self.outputs = task.obs_size + int(self.predicts_reward)  # D
        self.ends_at_next_obs = self.predicts_terminated and self.termination_input == "next_obs"
        ends_here = self.predicts_terminated and not self.ends_at_next_obs
        heads = self.outputs * (1 if self.deterministic else 2) + int(ends_here)
        self.normalizer = Normalizer(inputs, self.normalizer_ddof)
        if self.normalize_targets:
            self.target_normalizer = TargetNormalizer(self.outputs, self.normalizer_ddof)
        sizes = (inputs, *self.hidden, heads)
        self.network = StackedMLP(self.members, sizes, self.activation, generator, self.constraint, self.outputs)
        self.network.precision = self.precision
        if self.ends_at_next_obs:
            shape = (self.members, task.obs_size, task.action_size, self.hidden, self.activation, self.normalizer_ddof)
            self.termination_head = TerminationHead(*shape, generator, self.chunk_rows)
            self.termination_head.network.precision = self.precision
        if not self.deterministic:
            self.log_var_bounds = LogVarBounds(self.outputs, self.log_var_min, self.log_var_max, self.bounds == "learned")
        self.register_buffer("elite_members", torch.arange(self.elites))  # e, any until a fit has ranked them

    def parameter_groups(self) -> list[dict[str, Any]]:
        networks = [self.network, *([self.termination_head.network] if self.ends_at_next_obs else [])]
        return decayed_groups(self.parameters(), networks, self.layer_decay, self.decay_form)

    def own_parameters(self) -> set[str]:
        return {name for name, _ in self.named_parameters() if name.startswith(("network.", "termination_head."))}

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        if self.task is not None and self.normalize_targets:
            self.target_normalizer.take_older(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    # prediction --------------------------------------------------------------------------------------------------------

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        """As the base class says. Without gradients rows are computed in chunks; with `member`, each by that one only.

        Raises:
            NotBuiltError: before `build`.
            ShapeError: if the sizes are not the task's, or the leading dims differ.
        """
        task = self.built_task
        batch = obs.shape[:-1]
        who = f"{type(self).__name__}.predict"
        check_shape(f"{who}(obs)", obs, ("B", task.obs_size), "give it observations of the model's task")
        check_shape(f"{who}(action)", action, (*batch, task.action_size), "give one action per observation")
        if member is not None:
            check_shape(f"{who}(member)", member, batch, "give one member per row, see draw_balanced")
        x = self.normalizer(torch.cat((obs, action), -1))
        x = x.reshape(batch.numel(), x.shape[-1])  # B x (S+A), B flat
        width = self.network.sizes[-1]
        if member is None:
            raw = self.outputs_of(x.expand(self.members, *x.shape)).reshape(self.members, *batch, width)  # E x B x out
        else:
            places = layout(member.reshape(-1), self.members)
            raw = places.restore(self.outputs_of(places.gather(x), places.members)).reshape(*batch, width)  # B x out
        ends = partial(self.termination_head, obs, action, member=member) if self.ends_at_next_obs else None
        return self._prediction(raw, obs, ends)

    def _prediction(self, raw: Tensor, obs: Tensor, ends: Callable[..., Tensor] | None) -> Prediction:
        size = self.built_task.obs_size
        mean, log_var, logit = self.split(raw)
        var = torch.zeros_like(mean) if log_var is None else log_var.exp()
        if self.normalize_targets:
            mean, var = self.target_normalizer.inverse(mean), var * self.target_normalizer.sd.square()
        next_obs = obs + mean[..., :size]
        return Prediction(
            mean=next_obs,
            var=var[..., :size],
            reward_mean=mean[..., size] if self.predicts_reward else None,
            reward_var=var[..., size] if self.predicts_reward else None,
            terminated_logit=logit if ends is None else ends(next_obs),
            terminated_at=ends,
        )

    def rollout(self, state: ModelState, actions: Tensor, want: Collection[str] = ()) -> list[ModelStep]:
        """As the base class, and the same numbers, but rollouts that follow a member are laid out by member only once."""
        kind, base = type(self), ("predict_from", "step", "sample", "outcome_noise", "outcome")
        own = all(getattr(kind, name) is getattr(GaussianEnsemble, name) for name in ("predict", *base))
        followed = isinstance(state, ObsState) and state.member is not None
        if want or not own or not followed or torch.is_grad_enabled():
            return super().rollout(state, actions, want)
        assert isinstance(state, ObsState) and state.member is not None  # for the type checker
        places = layout(state.member, self.members)
        infer = self.network.inference(places.members, self.chunk_rows)
        table, rows, steps = places.gather(state.obs), state.obs, []  # G x C x S, B x S
        for action in actions.unbind(-2):  # H of B x A
            asked = places.gather(action)  # G x C x A
            ends = (
                partial(self.termination_head.table, table, asked, members=places.members) if self.ends_at_next_obs else None
            )
            drawn = self._prediction(infer(self.normalizer(torch.cat((table, asked), -1))), table, ends)
            noise = places.gather(self.outcome_noise(state.generator, rows, drawn))  # G x C x (S+1), or one more
            table, reward, terminated = self.outcome(table, asked, drawn, noise)
            before, rows = rows, places.restore(table)
            step = ModelStep(before, action, rows, places.restore(reward), places.restore(terminated), state.moved(rows))
            step.halt, step.member = self.halted(before, action, rows), state.member
            steps.append(step)
        return steps

    @property
    def drawn_members(self) -> Tensor:
        """`e` int64: the elites of the last fit."""
        self.built_task  # noqa: B018 - refuses before build
        return self.elite_members

    def rank_members(self, scores: Tensor) -> None:
        """Makes the `elites` members with the lowest scores the ones that rollouts draw from."""
        self.elite_members.copy_(scores.argsort(stable=True)[: self.elites])
