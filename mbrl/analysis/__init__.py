"""Where, how far ahead and how confidently a model is wrong, and what runs achieved."""

from mbrl.analysis.baselines import LinearBaseline
from mbrl.analysis.bootstrap import bootstrap_interval, interquartile_mean
from mbrl.analysis.episodes import split_episodes, windows
from mbrl.analysis.learning_curves import Curve, LearningCurves, learning_curves
from mbrl.analysis.one_step import OneStepError, one_step_error
from mbrl.analysis.open_loop import OpenLoopError, open_loop_error
from mbrl.analysis.reliability import Calibration, calibration
from mbrl.analysis.result import Result, Skipped
from mbrl.analysis.returns import (
    Improvement,
    PerformanceProfiles,
    ScoreStatistics,
    normalized_scores,
    performance_profiles,
    probability_of_improvement,
    score_statistics,
)
from mbrl.analysis.run_curves import RunCurves, read_curves

__all__ = [
    "Calibration",
    "Curve",
    "Improvement",
    "LearningCurves",
    "LinearBaseline",
    "OneStepError",
    "OpenLoopError",
    "PerformanceProfiles",
    "Result",
    "RunCurves",
    "ScoreStatistics",
    "Skipped",
    "bootstrap_interval",
    "calibration",
    "interquartile_mean",
    "learning_curves",
    "normalized_scores",
    "one_step_error",
    "open_loop_error",
    "performance_profiles",
    "probability_of_improvement",
    "read_curves",
    "score_statistics",
    "split_episodes",
    "windows",
]
