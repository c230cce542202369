"""Hooks and measures that each break one clause of their contract, with the clause that must be named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mbrl.data import ModelStep, Prediction, Transitions, draw_normal
from mbrl.planners import BatchContext, BatchHook, RolloutContext, RolloutHook
from mbrl.uncertainty import UncertaintyMeasure

# hooks ---------------------------------------------------------------------------------------------------------------


class Shifts(RolloutHook):
    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        step.reward.sub_(1.0)
        return step


class WideReward(RolloutHook):
    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        return replace(step, reward=step.next_obs)


class NumbersForHalt(RolloutHook):
    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        return replace(step, halt=step.reward)


class ChangesTheAction(RolloutHook):
    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        return replace(step, action=0.5 * step.action)


class MovesTheStateAlone(RolloutHook):
    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        return replace(step, state=step.state.moved(0.5 * step.next_obs))


class DrawsTheModelsNoise(RolloutHook):
    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        noise = draw_normal(step.state.generator, len(step.reward), 1, step.obs)  # type: ignore[attr-defined]
        return replace(step, reward=step.reward + noise[:, 0])


class DrawsGlobally(RolloutHook):
    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        return replace(step, reward=step.reward + torch.rand(len(step.reward)))


class CountsItself(RolloutHook):
    calls = 0

    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        self.calls += 1
        return replace(step, reward=step.reward - self.calls)


class KeepsRowsItself(RolloutHook):
    first: Any = None

    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        if context.depth == 0:
            self.first = step.obs
        return replace(step, reward=step.reward + (step.obs - self.first).sum(-1))


class KeepsPlacesItself(KeepsRowsItself):
    """As many as there still are, whichever these are."""

    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        if context.depth == 0:
            self.first = step.obs
        return replace(step, reward=step.reward + (step.obs - self.first[: len(step.obs)]).sum(-1))


class TakesAMean(RolloutHook):
    """Over all rows of the batch, those that have ended among them."""

    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        return replace(step, reward=step.reward - step.reward.mean())


class ReadsARow(RolloutHook):
    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        return replace(step, reward=step.reward - 1) if bool((step.reward < 1e9).all()) else step


HOOKS = {
    Shifts: "a hook leaves reward as it was",
    WideReward: "reward has shape",
    NumbersForHalt: "halt is bool",
    ChangesTheAction: "a hook leaves the step's action",
    MovesTheStateAlone: "the state after a hook stands at next_obs",
    DrawsTheModelsNoise: "a hook leaves the_models_generator as it was",
    DrawsGlobally: "a hook draws from no global generator",
    CountsItself: "a hook with a loaded state makes the same step",
    KeepsRowsItself: "a hook follows rollouts of which some end before others",
    KeepsPlacesItself: "dropping finished rollouts leaves the others' reward as masking does",
    TakesAMean: "dropping finished rollouts leaves the others' reward as masking does",
    ReadsARow: "a hook reads nothing back from the device",
}


class Scales(BatchHook):
    def __call__(self, batch: Transitions, context: BatchContext) -> Transitions:
        batch.reward.mul_(2.0)
        return batch


class DropsRows(BatchHook):
    """Drops rows and leaves the model's where they were."""

    def __call__(self, batch: Transitions, context: BatchContext) -> Transitions:
        return batch.select(slice(0, 20))


class WideRewards(BatchHook):
    def __call__(self, batch: Transitions, context: BatchContext) -> Transitions:
        return replace(batch, reward=batch.reward[:, None])


class Learns(BatchHook):
    """Forgets in a checkpoint what it has learned."""

    def __init__(self) -> None:
        self.scale = 1.0

    def __call__(self, batch: Transitions, context: BatchContext) -> Transitions:
        self.scale *= 0.9
        return replace(batch, reward=self.scale * batch.reward)


class MeanOfTheBatch(BatchHook):
    def __call__(self, batch: Transitions, context: BatchContext) -> Transitions:
        return replace(batch, reward=batch.reward - batch.reward.mean().item())


BATCH_HOOKS = {
    Scales: "a hook leaves the_batch_that_comes as it was",
    DropsRows: "model_rows lie in the batch that is returned, of 20 rows",
    WideRewards: "reward has shape",
    Learns: "a hook with a loaded state makes the same batch",
    MeanOfTheBatch: "a hook reads nothing back from the device",
}

# measures ------------------------------------------------------------------------------------------------------------


class Spread(UncertaintyMeasure):
    least_members = 2

    def __call__(self, prediction: Prediction, drawn: Tensor, sample: Any = None, generator: Any = None) -> Tensor:
        return prediction.mean.std(0).mean(-1)


class Negative(Spread):
    def __call__(self, prediction: Prediction, drawn: Tensor, sample: Any = None, generator: Any = None) -> Tensor:
        return super().__call__(prediction, drawn) - 1


class EveryDim(Spread):
    def __call__(self, prediction: Prediction, drawn: Tensor, sample: Any = None, generator: Any = None) -> Tensor:
        return prediction.mean.std(0)


class ThreeArguments(UncertaintyMeasure):
    def __call__(self, prediction: Prediction, drawn: Tensor, sample: Any = None) -> Tensor:  # type: ignore[override]
        return prediction.mean.std(0).mean(-1)


class Ranks(Spread):
    """Relative to the other rows."""

    def __call__(self, prediction: Prediction, drawn: Tensor, sample: Any = None, generator: Any = None) -> Tensor:
        found = super().__call__(prediction, drawn)
        return found / found.sum()


class FillsHoles(Spread):
    def __call__(self, prediction: Prediction, drawn: Tensor, sample: Any = None, generator: Any = None) -> Tensor:
        return super().__call__(prediction, drawn).nan_to_num()


class NeedsTwo(Spread):
    least_members = 1


class DrawsForNothing(Spread):
    def __call__(self, prediction: Prediction, drawn: Tensor, sample: Any = None, generator: Any = None) -> Tensor:
        return super().__call__(prediction, drawn) + torch.rand(prediction.mean.shape[1])


class AsksInSecret(Spread):
    def __call__(self, prediction: Prediction, drawn: Tensor, sample: Any = None, generator: Any = None) -> Tensor:
        found = super().__call__(prediction, drawn)
        return found if sample is None or sample.value is None else found + sample.value.value(sample.next_obs)[0].abs()


class ChangesThePrediction(Spread):
    def __call__(self, prediction: Prediction, drawn: Tensor, sample: Any = None, generator: Any = None) -> Tensor:
        prediction.mean.sub_(prediction.mean.mean(0))
        return super().__call__(prediction, drawn)


class OtherWithoutNoise(Spread):
    def __call__(self, prediction: Prediction, drawn: Tensor, sample: Any = None, generator: Any = None) -> Tensor:
        found = super().__call__(prediction, drawn)
        return 2 * found if generator is None else found


MEASURES = {
    Negative: "an uncertainty is 0 or more",
    EveryDim: "the uncertainty has shape",
    ThreeArguments: "a measure takes prediction, drawn, sample and generator",
    Ranks: "dropping rows leaves the others' numbers as they were",
    FillsHoles: "the uncertainty of a prediction that is NaN isn't finite",
    NeedsTwo: r"least_members \(1\) are enough to measure",
    DrawsForNothing: "a measure draws from no global generator",
    AsksInSecret: "a measure that doesn't say needs_value asks no critics",
    ChangesThePrediction: "a measure leaves prediction as it was",
    OtherWithoutNoise: "without a generator a measure says the same",
}
