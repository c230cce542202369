"""`GradientModel`: what every model that is fitted by gradient shares, in a planner and in `mbrl fit` of it alone."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from mbrl.activity import doing
from mbrl.arguments import Count, NonNegative, Positive, ShareBelowOne
from mbrl.data import Task, Transitions, ValueFunction
from mbrl.errors import ConfigError, UnsupportedError
from mbrl.models.domains import Domain
from mbrl.models.fitting.explained import explained_share
from mbrl.models.fitting.fit_alone import FitAlone
from mbrl.models.fitting.fit_run import FitRun
from mbrl.models.fitting.rules import BestWeights, Bootstrap, Keep, MemberBatches, Split, Stopping
from mbrl.models.losses.base import ModelLoss
from mbrl.models.model_module import refuse_divergence


class GradientModel(FitAlone):
    """Fitted by minibatches, with early stopping on a holdout and the best weights kept.

    A subclass makes its parameters and implements `loss`. `update` is the one update step; `refit` runs it to the end inside
    a planner. Under `mbrl fit` Lightning runs it with its own clock: an epoch is one pass over the training rows, and
    `max_epochs`, `max_steps`, clipping and accumulation are the Trainer's; of its caps and the model's own the first ends
    the fit, though not before the Trainer's `min_epochs` and `min_steps`. Optimiser, kept weights and order of rows are in
    the checkpoint, so an interrupted fit goes on as it would have. Under DDP each process computes its share of each batch.

    Args:
        members: `E`, networks that are fitted side by side.
        lr: Adam's learning rate; higher fits faster and less steadily.
        batch_size: rows per member and update.
        holdout: share of the rows held out of a fit, drawn anew each time; 0 trains on all rows until a cap.
        holdout_max: rows held out at most, None for no cap.
        holdout_by: hold out single rows or whole episodes (`"row"`, `"episode"`).
        bootstrap: what each member sees, see `MemberBatches`.
        stopping: whose early-stopping rule, see `BestWeights`.
        patience: epochs without improvement that are tolerated; more fits longer.
        threshold: relative fall of the holdout error that counts as an improvement.
        best_weights: what is restored after a fit, see `BestWeights`.
        max_epochs: epochs of a fit at most, None for no cap; a slow improvement alone never ends one.
        max_updates: updates of a fit at most, None for no cap.
        max_updates_per_root_row: so many times √rows at most (10: 708 at 5,000 rows, 3,163 at 100,000); None for no cap.
        loss: what weighs the errors of the mean, such as `VaGraM`; None is the model's own loss.
        domain: as of `DynamicsModel`.

    Attributes:
        model_loss: the argument `loss`.

    Raises:
        ConfigError: for a number out of range, or a fit that would never end.
        UnsupportedError: for a loss beside a model that has no use for one.
    """

    former = {"max_updates_per_root_row": None, "loss": None, "domain": []}  # noqa: RUF012 - nobody changes it
    fitting: ClassVar[Literal["gradient", "closed_form", "fixed"]] = "gradient"

    def __init__(
        self,
        *,
        members: Count = 1,
        lr: Positive = 1e-3,
        batch_size: Count = 256,
        holdout: ShareBelowOne = 0.2,
        holdout_max: Count | None = 5000,
        holdout_by: Literal["row", "episode"] = "row",
        bootstrap: Bootstrap = "replacement",
        stopping: Stopping = "mbpo",
        patience: Count = 5,
        threshold: NonNegative = 0.01,
        best_weights: Keep = "member",
        max_epochs: Count | None = 1000,
        max_updates: Count | None = None,
        max_updates_per_root_row: Positive | None = None,
        loss: ModelLoss | None = None,
        domain: Sequence[Domain] = (),
    ) -> None:
        super().__init__(domain)
        if holdout == 0 and max_epochs is None and max_updates is None and max_updates_per_root_row is None:
            caps = "max_epochs, max_updates or max_updates_per_root_row"
            raise ConfigError(f"{self._with('holdout')}: expected {caps} beside 0, got none; set one.")
        if holdout == 0 and best_weights != "never":
            raise ConfigError(
                f"{self._with('holdout')}: expected best_weights='never' beside 0, since only a holdout tells which are "
                f"best, got {best_weights!r}; set it, or hold rows out."
            )
        self.members = members
        self.lr = lr
        self.batch_size = batch_size
        self.holdout = holdout
        self.holdout_max = holdout_max
        self.holdout_by = holdout_by
        self._holdout = {"holdout": holdout, "holdout_max": holdout_max, "holdout_by": holdout_by}
        self.bootstrap = bootstrap
        self.stopping = stopping
        self.patience = patience
        self.threshold = threshold
        self.best_weights = best_weights
        self.max_epochs = max_epochs
        self.max_updates = max_updates
        self.max_updates_per_root_row = max_updates_per_root_row
        if loss is not None and type(self).target_scale is GradientModel.target_scale:
            raise UnsupportedError(
                f"{self._with('loss')}: expected None, since {type(self).__name__} hands no errors to a loss, got "
                f"{type(loss).__name__}; leave it out, or implement target_scale and have `loss` ask it."
            )
        self.model_loss = loss
        self._optimizer: Optimizer | None = None

    # what a subclass says ----------------------------------------------------------------------------------------------

    @abstractmethod
    def loss(self, batch: Transitions, value: ValueFunction | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss that `update` descends, and metrics: scalar tensors, on the device.

        Args:
            batch: `E x B` transitions, each member its own, or `B`, which all members share; with their extras, those of
                `fit_extras` among them, and in `row` their place in the rows of the fit.
            value: for models that want it (`wants_value`); others have no use for it.
        """

    def fit_inputs(self, run: FitRun) -> None:
        """Takes statistics of the data (normalisers) before a fit begins."""

    def target_scale(self) -> Tensor:
        """The standard deviations by which the targets [Δobs, reward] are divided, `D`, ones where they aren't.

        A model that has it takes a `ModelLoss` and asks it in its own `loss` and `score`.
        """
        raise UnsupportedError(f"{type(self).__name__} has no targets that a loss could weigh; implement target_scale.")

    def fit_extras(self, rows: Transitions, value: ValueFunction | None = None) -> dict[str, Tensor]:
        """Numbers of each row that `loss` and `score` read in `extras`, computed once per fit, such as weights of the loss.

        They are computed when a fit begins, after `fit_inputs`, of training and held-out rows alike; they travel with the
        rows into batches (`E x B x …`) and the holdout, into the state of an unfinished fit, and nowhere else.

        Args:
            rows: all `N` of the fit, with `row` and extras.
            value: as in `loss`.

        Returns:
            `N x …` each by name, in the order of `rows`, finite, under names that the rows don't bring; by default those of
            the `ModelLoss`.
        """
        return {} if self.model_loss is None else self.model_loss.extras(rows, value, self.target_scale())

    def judge(self, scores: Tensor, rows: Transitions, value: ValueFunction | None = None) -> Tensor:
        """Numbers that early stopping, best weights and elites go by: the `scores` (`E`) of held-out `rows`, or others.

        Lower is better. Improvements are relative to it, so that it should be above 0.
        """
        return scores

    def rank_members(self, scores: Tensor) -> None:
        """Sees the members' holdout scores by `judge` (`E`) after a fit, once the best weights are back."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Adam's parameter groups."""
        return [{"params": list(self.parameters())}]

    def own_parameters(self) -> set[str]:
        """Names of the parameters whose first dim is `E`; those that all members share are not among them."""
        return {name for name, _ in self.named_parameters()}

    def own_buffers(self) -> set[str]:
        """Names of the buffers of which each member has its part: those whose first dim is `E`, unless a subclass knows."""
        return {name for name, buffer in self.named_buffers() if buffer.shape[:1] == (self.members,)}

    def after_update(self) -> None:
        """Follows each optimiser step, without gradients, in a planner and under Lightning: a place to project weights."""

    def after_restore(self) -> None:
        """Follows the best weights' return at the end of a fit, without gradients, before they are scored."""

    def fit_report(self, run: FitRun) -> dict[str, float | Tensor]:
        """Further metrics of a fit by name, at its end, and under Lightning after each epoch.

        Here it is `holdout_mse` where members are judged by something else.
        """
        if run.holdout is None or self.score_name == "holdout_mse":
            return {}
        return {"holdout_mse": self.score(run.holdout).mean().float()}

    @property
    def wants_value(self) -> bool:
        """True if a fit needs a `ValueFunction`, for the model's own loss or for the one that it was given."""
        return super().wants_value or (self.model_loss is not None and self.model_loss.wants_value)

    @property
    def score_name(self) -> str:  # type: ignore[override]
        """Name of the metric of `score` in a fit: `holdout_loss` where a loss weighs errors there, else `holdout_mse`."""
        weighted = self.model_loss is not None and self.model_loss.score == "weighted"
        return "holdout_loss" if weighted else "holdout_mse"

    # fitting -----------------------------------------------------------------------------------------------------------

    def build(self, task: Task, seed: int = 0) -> None:
        self._optimizer = self._fit_run = self._pending = None
        super().build(task, seed)

    def make_optimizers(self) -> list[Optimizer]:
        """One fused Adam, kept from one fit to the next."""
        if self._optimizer is None:
            self.built_task  # noqa: B018 - refuses before build
            self._optimizer = torch.optim.Adam(self.parameter_groups(), lr=self.lr, fused=True)
        return [self._optimizer]

    def update(self, batch: Transitions, value: ValueFunction | None = None) -> dict[str, Tensor]:
        """One update step; returns the loss and its metrics as scalar tensors, still on the device.

        Args:
            batch: as in `loss`.
            value: as in `loss`.
        """
        (optimizer,) = self.make_optimizers()
        optimizer.zero_grad(set_to_none=True)
        loss, metrics = self.loss(batch, value)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            self.after_update()
        return {"loss": loss.detach(), **metrics}

    def begin_fit(self, rows: Transitions, generator: torch.Generator, value: ValueFunction | None = None) -> FitRun:
        """Splits `rows` (`N`), draws what each member sees, takes the statistics of the data and the scores before the fit.

        `value` is as in `loss`.

        Raises:
            DataError: if there are too few rows, or they or their `fit_extras` are not finite.
            UnsupportedError: without a `value`, if the fit needs one.
        """
        self.built_task  # noqa: B018 - refuses before build
        if self.wants_value and value is None:
            who = type(self if self.model_loss is None else self.model_loss).__name__
            raise UnsupportedError(
                f"{type(self).__name__}.refit: expected a value function, which {who} asks for, got none; hand one on, such "
                "as a learner."
            )
        rows = rows.to(self.device)
        split = Split.draw(rows, generator, self.holdout, self.holdout_max, self.holdout_by)
        batches = MemberBatches(split.train, self.members, self.batch_size, self.bootstrap, generator)
        best = BestWeights(
            dict(self.named_parameters()),
            self.own_parameters() | self.own_buffers(),
            self.members,
            self.stopping,
            self.patience,
            self.threshold,
            self.best_weights,
            lambda: dict(self.named_buffers()),
        )
        run = FitRun(rows, split, batches, best)
        self.fit_inputs(run)
        run.compute(self.fit_extras(run.rows(slice(None)), value))
        if run.holdout is not None and best.needs_start:
            best.begin(self.judge(self.score(run.holdout, value), run.holdout, value))
        return run

    def end_fit(self, run: FitRun, value: ValueFunction | None = None) -> Tensor | None:
        """Restores the best weights and ranks the members; returns their `score` (`E`), None without a holdout.

        `value` is as in `loss`.
        """
        run.best.restore()
        with torch.no_grad():
            self.after_restore()
        if self.model_loss is not None:
            self.model_loss.fits += 1
        if run.holdout is None:
            return None
        scores = self.score(run.holdout, value)
        self.rank_members(self.judge(scores, run.holdout, value))
        return scores

    def refit(
        self, rows: Transitions, generator: torch.Generator, value: ValueFunction | None = None
    ) -> dict[str, float | Tensor]:
        """Fits to all of `rows` from where weights and optimiser stand, until early stopping or a cap.

        Returns:
            `loss` (mean over the last epoch), `epochs`, `updates`, what `fit_report` adds, and with a holdout `holdout_mse`
            (mean over members, best weights; `holdout_loss` too if a loss weighs errors there) and `explained`, the share of
            the change that the model explains there.

        Raises:
            DataError: if there are too few rows, or they are not finite.
            DivergedError: if the loss or a holdout error is no longer finite; looked at once per epoch.
        """
        run = self.begin_fit(rows, generator, value)
        epochs, updates, most = 0, 0, self.most_updates(len(rows))
        stop = False
        while not stop:
            doing("fitting, epoch {}", epochs + 1)
            total, before = torch.zeros((), dtype=torch.float64, device=self.device), updates
            for batch in run.epoch():
                total += self.update(batch, value)["loss"]
                updates += 1
                if updates == most:
                    break
            epochs += 1
            loss = total / (updates - before)
            refuse_divergence(self, loss, "loss")
            if run.holdout is not None:
                stop = self._end_epoch(run, self.judge(self.score(run.holdout, value), run.holdout, value))
            stop = stop or epochs == self.max_epochs or updates == most
        doing("")
        report: dict[str, float | Tensor] = {"loss": loss, "epochs": float(epochs), "updates": float(updates)}
        final = self.end_fit(run, value)
        if final is not None and run.holdout is not None:
            report[self.score_name] = final.mean()
            report["explained"] = self.explained(run.holdout)
        return report | self.fit_report(run)

    def most_updates(self, rows: int) -> int | None:
        """The cap on the updates of a fit to `rows` rows; None without one."""
        rate = self.max_updates_per_root_row
        caps = [self.max_updates, None if rate is None else math.ceil(rate * math.sqrt(rows))]
        return min((cap for cap in caps if cap is not None), default=None)

    @torch.no_grad()
    def explained(self, rows: Transitions) -> Tensor:
        """The share of the observation's change that the drawn members explain, mean over dims: 1 − squared error / change².

        1 is all of it, 0 what "nothing changes" would explain. Dims that only rounding moves don't count. Free of units.
        """
        said = self.predict_rows(rows).mean[self.drawn_members].mean(0).double()  # B x S
        return explained_share(said, rows.obs, rows.next_obs)

    def _end_epoch(self, run: FitRun, scores: Tensor) -> bool:
        """Takes the holdout scores after an epoch (`E`); returns whether to stop."""
        refuse_divergence(self, scores, "holdout error")
        return run.best.update(scores)

    # messages ----------------------------------------------------------------------------------------------------------

    def _with(self, name: str) -> str:
        return f"{type(self).__name__}({name}=…)"
