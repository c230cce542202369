"""`GaussianFit`: how Gaussians over [Δobs, reward], and a termination beside them, are fitted and judged."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from mbrl.data import Transitions, ValueFunction
from mbrl.models.fitting.fit_run import FitRun
from mbrl.models.lipschitz_model import LipschitzModel
from mbrl.models.losses.of_gaussian import gaussian_loss, given_errors, given_loss
from mbrl.models.target_normalizer import TargetNormalizer, targets_and_largest, targets_of
from mbrl.models.termination_head import TerminationHead, begin_at_rate, termination_loss
from mbrl.networks import LogVarBounds

_MOST_NATS = 20.0  # more are as bad: whoever judges takes a score of 1e10, 23 nats, for none at all


class GaussianFit(LipschitzModel):
    """The loss, the score and the statistics of `GaussianEnsemble`, which makes the networks; arguments are described there.

    Attributes:
        target_normalizer: of the targets, if `normalize_targets`.
        log_var_bounds: of the log-variances, unless `deterministic`.
        termination_head: if `ends_at_next_obs`.
    """

    predicts_reward: bool
    predicts_terminated: bool
    ends_at_next_obs: bool
    normalize_targets: bool
    normalizer_rows: Literal["train", "all"]
    deterministic: bool
    judged_by: Literal["error", "likelihood"]
    bounds: Literal["learned", "frozen"]
    bound_penalty: float
    chunk_rows: int
    target_normalizer: TargetNormalizer
    log_var_bounds: LogVarBounds
    termination_head: TerminationHead

    def outputs_of(self, x: Tensor, members: Tensor | None = None) -> Tensor:
        """The network's outputs `G x C x out` of normalised inputs, in chunks where no gradient follows (`StackedMLP`)."""
        if torch.is_grad_enabled():
            return self.network(x, members)
        return self.network.infer(x, members, self.chunk_rows)

    def split(self, raw: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Means `… x D`, bounded log-variances `… x D` or None, termination logits `…` or None, of outputs `… x out`."""
        mean = raw[..., : self.outputs]
        log_var = None if self.deterministic else self.log_var_bounds(raw[..., self.outputs : 2 * self.outputs])
        return mean, log_var, raw[..., -1] if self.predicts_terminated and not self.ends_at_next_obs else None

    def loss(self, batch: Transitions, value: ValueFunction | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss that `GaussianEnsemble` says, without its weight decay, and `mse`, the members' mean squared error.

        A given loss takes its place, and a constraint may add to it. Both are in environment units; of normalised targets
        the loss is the same but for a number that no weight moves (of a deterministic model or a given loss, which have no
        such form, it stays in the targets' units).
        """
        x = self.normalizer(torch.cat((batch.obs, batch.action), -1))  # (E x) B x (S+A)
        raw = self.network(x if x.ndim == 3 else x.expand(self.members, *x.shape))  # E x B x out
        mean, log_var, logit = self.split(raw)
        target = self._target(batch)
        square = (mean - target).square()  # E x B x D
        if self.model_loss is None:
            loss = gaussian_loss(square, log_var)
        else:
            loss = given_loss(self.model_loss, mean, log_var, target, batch, self.target_scale(), value)
        if log_var is not None and self.bounds == "learned":
            loss = loss + self.bound_penalty * self.log_var_bounds.width()
        penalty = self.network.penalty(x.expand(self.members, *x.shape[-2:]))
        if penalty is not None:
            loss = loss + penalty
        square = square.detach()
        if self.normalize_targets:  # reported in environment units; neither line moves a gradient
            sd = self.target_normalizer.sd
            square = square * sd.square()
            own = log_var is not None and self.model_loss is None
            loss = loss + (2 * self.members * sd.log().mean() if own else 0)
        metrics = {"mse": square.mean()}
        if self.ends_at_next_obs:
            parts = (batch.obs, batch.action, batch.next_obs)
            logit = self.termination_head.table(*(part.expand(self.members, *part.shape[-2:]) for part in parts))  # E x B
        if logit is not None:
            wrong = termination_loss(logit, batch.terminated)  # E
            loss = loss + wrong.sum()
            metrics["terminated_loss"] = wrong.detach().mean()
        return loss, metrics

    def _target(self, batch: Transitions) -> Tensor:
        target = targets_of(batch, self.predicts_reward)
        return self.target_normalizer(target) if self.normalize_targets else target

    def target_scale(self) -> Tensor:
        return (
            self.target_normalizer.sd
            if self.normalize_targets
            else torch.ones(self.outputs, dtype=torch.float32, device=self.device)
        )

    @torch.no_grad()
    def score(self, rows: Transitions, value: ValueFunction | None = None) -> Tensor:
        """Mean squared error of each member's mean over rows and target dims in the targets' units, `E`.

        Of normalised targets 1 is what always predicting their mean would give. A learned termination adds its
        cross-entropy, so that early stopping, best weights and elites see it too. A given loss that judges members says what
        errors cost instead, where it is handed the values that it wants.
        """
        x = self.normalizer(torch.cat((rows.obs, rows.action), -1))  # B x (S+A)
        raw = self.outputs_of(x.expand(self.members, *x.shape))  # E x B x out
        mean, log_var, _ = self.split(raw)
        target, given = self._target(rows), self.model_loss
        share: Tensor | float = 1.0
        if self.normalize_targets:  # a target that never moved has no scale to be judged by
            moves = self.target_normalizer.moves  # D
            mean = torch.where(moves, mean, target)
            share = self.outputs / moves.sum(dtype=torch.float32).clamp(min=1)
        if given is not None and given.score == "weighted" and (value is not None or not given.wants_value):
            if not set(given.extra_names) <= rows.extras.keys():
                rows = replace(rows, extras={**rows.extras, **self.fit_extras(rows, value)})
            score = given_errors(given, mean, log_var, target, rows, self.target_scale(), value)
            score = score.mean(1, dtype=torch.float64)  # E
        else:
            score = (mean - target).square().mean((1, 2), dtype=torch.float64) * share  # E
        return score + self._termination_loss(raw, rows)

    def _termination_loss(self, raw: Tensor, rows: Transitions) -> Tensor | float:
        """The cross-entropy of a learned termination, `E` float64; 0 without one."""
        if not self.predicts_terminated:
            return 0.0
        logit = (
            self.termination_head(rows.obs, rows.action, rows.next_obs) if self.ends_at_next_obs else raw[..., -1]
        )  # E x B
        return termination_loss(logit, rows.terminated).double()

    @torch.no_grad()
    def negative_log_likelihood(self, rows: Transitions) -> Tensor:
        """½ (square exp(−ℓ) + ℓ + ln 2π) of each member, mean over rows and the target dims that move, `E` float64.

        In nats per dim, of targets in the model's units. A learned termination adds its cross-entropy.
        """
        x = self.normalizer(torch.cat((rows.obs, rows.action), -1))  # B x (S+A)
        raw = self.outputs_of(x.expand(self.members, *x.shape))  # E x B x out
        mean, log_var, _ = self.split(raw)
        assert log_var is not None  # probabilistic
        target = self._target(rows)
        square = (mean - target).square()
        found = (square * torch.exp(-log_var) + log_var + math.log(2 * math.pi))[..., self._moving(target)]  # E x B x D
        return 0.5 * found.mean((1, 2), dtype=torch.float64) + self._termination_loss(raw, rows)

    def _moving(self, target: Tensor) -> Tensor:
        """The target dims that move, `D` bool, of targets `B x D`; all of them where none does."""
        moves = self.target_normalizer.moves if self.normalize_targets else (target != target[0]).any(0)
        return moves if bool(moves.any()) else torch.ones_like(moves)

    def judge(self, scores: Tensor, rows: Transitions, value: ValueFunction | None = None) -> Tensor:
        """The scores, or by likelihood exp(nats per dim beyond those of the targets' own scale), `E`.

        So a threshold of 0.01 is 0.01 nats per dim, whatever the units and the sign of the likelihood.
        """
        if self.judged_by == "error":
            return scores
        target = self._target(rows)
        scale = target[:, self._moving(target)].std(0, correction=0)  # D
        nats = self.negative_log_likelihood(rows) - scale[scale > 0].double().log().mean().nan_to_num()
        return nats.clamp(max=_MOST_NATS).exp()

    def fit_report(self, run: FitRun) -> dict[str, float | Tensor]:
        found = super().fit_report(run)
        if self.judged_by == "likelihood" and run.holdout is not None:
            found["holdout_nll"] = self.negative_log_likelihood(run.holdout).mean().float()
        return found

    def fit_inputs(self, run: FitRun) -> None:
        rows = run.rows(run.split.train if self.normalizer_rows == "train" else slice(None))
        self.normalizer.fit(torch.cat((rows.obs, rows.action), -1))
        if self.ends_at_next_obs:
            self.termination_head.fit_normalizer(rows.obs, rows.action, rows.next_obs)
        if self.predicts_terminated:
            network = self.termination_head.network if self.ends_at_next_obs else self.network
            begin_at_rate(network.biases[-1][..., -1], run.rows(slice(None)).terminated)
        if self.normalize_targets:  # over all rows: an event that only the holdout saw would count millions of sd there
            rows = run.rows(slice(None))
            self.target_normalizer.fit(*targets_and_largest(rows, self.predicts_reward))
        if self.constraint is not None:
            rows = run.rows(slice(None))
            moves = self.target_normalizer.moves if self.normalize_targets else slice(None)
            self.take_budget(self.normalizer(torch.cat((rows.obs, rows.action), -1)), self._target(rows)[:, moves])
