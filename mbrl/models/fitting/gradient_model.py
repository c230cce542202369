"""`GradientModel`: what every model that is fitted by gradient shares, in a planner and in `mbrl fit` of it alone."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from mbrl.arguments import Count, NonNegative, Positive, ShareBelowOne
from mbrl.data import Task, Transitions, ValueFunction, make_generator
from mbrl.errors import ConfigError
from mbrl.models.base import DynamicsModel
from mbrl.models.fitting.fit_run import FitRun
from mbrl.models.fitting.fitted_rows import FittedRows
from mbrl.models.fitting.rules import BestWeights, Bootstrap, Keep, MemberBatches, Split, Stopping
from mbrl.models.model_module import Batches, in_order, refuse_divergence
from mbrl.networks import ROUNDING


class GradientModel(DynamicsModel):
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

    Raises:
        ConfigError: for a number out of range, or a fit that would never end.
    """

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
    ) -> None:
        super().__init__()
        if holdout == 0 and max_epochs is None and max_updates is None:
            raise ConfigError(f"{self._with('holdout')}: expected max_epochs or max_updates beside 0, got neither; set one.")
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
        self._optimizer: Optimizer | None = None
        self._fit_run: FitRun | None = None  # of a fit that Lightning runs
        self._pending: dict[str, Any] | None = None  # a checkpoint's fit, until its rows are there

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

    def fit_extras(self, rows: Transitions, value: ValueFunction | None = None) -> dict[str, Tensor]:
        """Numbers of each row that `loss` and `score` read in `extras`, computed once per fit, such as weights of the loss.

        They are computed when a fit begins, after `fit_inputs`, of training and held-out rows alike; they travel with the
        rows into batches (`E x B x …`) and the holdout, into the state of an unfinished fit, and nowhere else.

        Args:
            rows: all `N` of the fit, with `row` and extras.
            value: as in `loss`.

        Returns:
            `N x …` each by name, in the order of `rows`, finite, under names that the rows don't bring.
        """
        return {}

    def rank_members(self, scores: Tensor) -> None:
        """Sees the members' holdout scores (`E`) after a fit, once the best weights are back."""

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
        """
        self.built_task  # noqa: B018 - refuses before build
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
            best.begin(self.score(run.holdout, value))
        return run

    def end_fit(self, run: FitRun, value: ValueFunction | None = None) -> Tensor | None:
        """Restores the best weights and ranks the members; returns their scores (`E`), None without a holdout.

        `value` is as in `loss`.
        """
        run.best.restore()
        if run.holdout is None:
            return None
        scores = self.score(run.holdout, value)
        self.rank_members(scores)
        return scores

    def refit(
        self, rows: Transitions, generator: torch.Generator, value: ValueFunction | None = None
    ) -> dict[str, float | Tensor]:
        """Fits to all of `rows` from where weights and optimiser stand, until early stopping or a cap.

        Returns:
            `loss` (mean over the last epoch), `epochs`, `updates`, and with a holdout `holdout_mse` (mean over members,
            best weights) and `explained`, the share of the change that the model explains there.

        Raises:
            DataError: if there are too few rows, or they are not finite.
            DivergedError: if the loss or a holdout error is no longer finite; looked at once per epoch.
        """
        run = self.begin_fit(rows, generator, value)
        epochs = updates = 0
        stop = False
        while not stop:
            total, before = torch.zeros((), dtype=torch.float64, device=self.device), updates
            for batch in run.epoch():
                total += self.update(batch, value)["loss"]
                updates += 1
                if updates == self.max_updates:
                    break
            epochs += 1
            loss = total / (updates - before)
            refuse_divergence(self, loss, "loss")
            if run.holdout is not None:
                stop = self._end_epoch(run, self.score(run.holdout, value))
            stop = stop or epochs == self.max_epochs or updates == self.max_updates
        report: dict[str, float | Tensor] = {"loss": loss, "epochs": float(epochs), "updates": float(updates)}
        final = self.end_fit(run, value)
        if final is not None and run.holdout is not None:
            report["holdout_mse"] = final.mean()
            report["explained"] = self.explained(run.holdout)
        return report

    @torch.no_grad()
    def explained(self, rows: Transitions) -> Tensor:
        """The share of the observation's change that the drawn members explain, mean over dims: 1 − squared error / change².

        1 is all of it, 0 what "nothing changes" would explain. Dims that only rounding moves don't count. Free of units.
        """
        said = self.predict_rows(rows).mean[self.drawn_members].mean(0).double()  # B x S
        change = (rows.next_obs.double() - rows.obs.double()).square().mean(0)  # S
        error = (said - rows.next_obs).square().mean(0)  # S
        rounding = ROUNDING * torch.maximum(rows.obs.abs(), rows.next_obs.abs()).amax(0).double()  # S
        counts = change > rounding.square()  # S
        share = torch.where(counts, 1 - error / change, 0.0)  # S
        return (share.sum() / counts.sum().clamp(min=1)).float()

    def _end_epoch(self, run: FitRun, scores: Tensor) -> bool:
        """Takes the holdout scores after an epoch (`E`); returns whether to stop."""
        refuse_divergence(self, scores, "holdout error")
        return run.best.update(scores)

    # under Lightning ---------------------------------------------------------------------------------------------------

    def on_fit_start(self) -> None:
        """Splits the rows; of a resumed fit, goes on with its kept weights and its order."""
        data = self._data
        self.fitted_to = FittedRows.of(data.transitions, data.seed, **self._holdout)
        self._fit_run = self.begin_fit(data.transitions, make_generator("cpu", data.seed, "dynamics", "fit"))
        if self._pending is not None:
            self._fit_run.load_state_dict(self._pending)
            self._pending = None
        if self._fit_run.holdout is None:
            self._skip_validation()

    def train_dataloader(self) -> Batches:
        """One epoch of member batches, each process its share."""
        run, trainer = self._fit_run, self.trainer
        assert run is not None, "Lightning calls on_fit_start before it asks for loaders"
        return Batches(lambda: run.epoch(trainer.global_rank, trainer.world_size), len(run.batches))

    def val_dataloader(self) -> Batches:
        """The held-out rows during a fit, all rows otherwise."""
        if self._fit_run is None or self._fit_run.holdout is None:
            return super().val_dataloader()
        return in_order(self._fit_run.holdout)

    def training_step(self, batch: Transitions, batch_idx: int) -> Tensor:
        """The loss that `update` descends too."""
        loss, metrics = self.loss(batch)
        for name, value in {"loss": loss.detach(), **metrics}.items():
            self.log_epoch(f"model/{name}", value, batch.batch_shape[-1])
        return loss

    def optimizer_step(self, *step: Any, **options: Any) -> None:
        """Lightning's step of the optimiser, and `after_update`."""
        super().optimizer_step(*step, **options)
        with torch.no_grad():
            self.after_update()

    def on_validation_epoch_end(self) -> None:
        """Logs the holdout error; stops the fit when the rule says so."""
        super().on_validation_epoch_end()
        if self._fit_run is not None and not self.trainer.sanity_checking:
            if self._fit_run.holdout is not None:
                self.log_epoch("model/explained", self.explained(self._fit_run.holdout))
            self.trainer.should_stop |= self._end_epoch(self._fit_run, self.mean_scores())

    def on_train_batch_end(self, *batch: Any) -> None:
        """Stops at the model's own cap of updates."""
        if self._fit_run is not None and self.max_updates is not None and self.trainer.global_step >= self.max_updates:
            self.trainer.should_stop = True

    def on_train_epoch_end(self) -> None:
        """Restores the best weights after the last epoch, before checkpoints of it are written."""
        trainer = self.trainer
        epoch, epochs, steps = trainer.current_epoch + 1, trainer.max_epochs, trainer.max_steps
        trainer.should_stop |= self.max_epochs is not None and self.max_epochs <= epoch
        # a stop that the Trainer's minimum holds back is not the end: epochs that follow would train over the best weights
        may_stop = epoch >= (trainer.min_epochs or 0) and trainer.global_step >= (trainer.min_steps or 0)
        last = epochs is not None and 0 <= epochs <= epoch
        if last or (trainer.should_stop and may_stop) or 0 <= steps <= trainer.global_step:
            self.on_train_end()

    def on_train_end(self) -> None:
        """Restores the best weights and chooses the elites, once."""
        run, self._fit_run = self._fit_run, None
        if run is not None:
            self.end_fit(run)

    def get_extra_state(self) -> dict[str, Any]:
        """The state of an unfinished fit: kept weights, bests, the order's generator. Empty between fits."""
        if self._fit_run is not None:
            return {"fit": self._fit_run.state_dict()}
        return {} if self._pending is None else {"fit": self._pending}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Keeps the state of an unfinished fit until its rows are there."""
        self._pending = state.get("fit")

    # messages ----------------------------------------------------------------------------------------------------------

    def _with(self, name: str) -> str:
        return f"{type(self).__name__}({name}=…)"
