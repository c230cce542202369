"""A measure of what a model doesn't know."""

from torch import Tensor

from mbrl.data import Generator, Prediction
from mbrl.uncertainty import Sample, UncertaintyMeasure


class Range(UncertaintyMeasure):
    """The largest distance between two members' means in any dim, environment units."""

    least_members = 2

    def __call__(
        self, prediction: Prediction, drawn: Tensor, sample: Sample | None = None, generator: Generator | None = None
    ) -> Tensor:
        means = prediction.mean[drawn]  # e x B x S
        return (means.amax(0) - means.amin(0)).amax(-1)  # B
