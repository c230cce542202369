"""`default_measures`: the measures of uncertainty that a report compares."""

from __future__ import annotations

from mbrl.uncertainty import (
    DistanceToMean,
    LeaveOneOutKL,
    LikelihoodSpread,
    MaxAleatoric,
    MaxPairwiseDistance,
    MeanDisagreement,
    SampleSpread,
    TotalSpread,
    UncertaintyMeasure,
    ValueSpread,
)


def default_measures(*, critics: bool) -> list[UncertaintyMeasure]:
    """The measures of `mbrl.uncertainty`, as they were published; with `critics` also the one that asks them."""
    asking: list[UncertaintyMeasure] = [ValueSpread()] if critics else []
    return [
        MaxAleatoric(),
        MaxPairwiseDistance(),
        DistanceToMean(over="max"),
        DistanceToMean(over="mean"),
        MeanDisagreement(),
        TotalSpread(),
        SampleSpread(),
        LeaveOneOutKL(),
        LikelihoodSpread(),
        *asking,
    ]
