"""Measures of what a model doesn't know, as functions of its `Prediction`.

    measure                                   what it is, and where it was used
    MaxAleatoric                              max_i |σ_i|: MOPO's code; `of="variance"`: its paper
    MaxPairwiseDistance                       max_{i,j} |μ_i − μ_j|: MOReL
    DistanceToMean(over="max")                max_i |μ_i − μ̄|: the other penalty of MOPO's code
    DistanceToMean(over="mean")               mean_i |μ_i − μ̄|: LOMPO's variant
    MeanDisagreement                          the spread of means; `reduce="rms"`: OfflineRL-Kit's ensemble_std
    TotalSpread                               the mixture's sd or variance: deep ensembles, V-D4RL
    SampleSpread                              the spread of noisy draws: COPlanner's code
    LeaveOneOutKL                             KL of one member to the others: M2AC
    LikelihoodSpread                          the spread of log p_i(x): LOMPO
    ValueSpread                               the spread of the value that members expect: MOBILE (needs critics)

They are numbers of different units: before weights of two measures are compared, divide each by its mean over a dataset.
"""

from mbrl.uncertainty.base import Sample, UncertaintyMeasure, draw_sample
from mbrl.uncertainty.disagreement import MeanDisagreement, MemberSpread, SampleSpread, TotalSpread
from mbrl.uncertainty.distances import DistanceToMean, MaxAleatoric, MaxPairwiseDistance
from mbrl.uncertainty.likelihood import LeaveOneOutKL, LikelihoodSpread
from mbrl.uncertainty.outputs import OutputMeasure
from mbrl.uncertainty.value import ValueSpread

__all__ = [
    "DistanceToMean",
    "LeaveOneOutKL",
    "LikelihoodSpread",
    "MaxAleatoric",
    "MaxPairwiseDistance",
    "MeanDisagreement",
    "MemberSpread",
    "OutputMeasure",
    "Sample",
    "SampleSpread",
    "TotalSpread",
    "UncertaintyMeasure",
    "ValueSpread",
    "draw_sample",
]
