"""Where, how far ahead and how confidently a model is wrong, and what runs achieved."""

from mbrl.analysis.aggregates import ScoreStatistics, score_statistics
from mbrl.analysis.baselines import LinearBaseline
from mbrl.analysis.bootstrap import bootstrap_interval, interquartile_mean
from mbrl.analysis.calibration_result import Calibration
from mbrl.analysis.episodes import split_episodes, windows
from mbrl.analysis.improvement import Improvement, probability_of_improvement
from mbrl.analysis.learning_curves import learning_curves
from mbrl.analysis.learning_curves_result import Curve, LearningCurves
from mbrl.analysis.lipschitz import LipschitzEstimate, local_lipschitz
from mbrl.analysis.live import LiveModelReport
from mbrl.analysis.model_report import report
from mbrl.analysis.one_step import one_step_error
from mbrl.analysis.one_step_result import OneStepError
from mbrl.analysis.open_loop import open_loop_error
from mbrl.analysis.open_loop_result import OpenLoopError
from mbrl.analysis.plan_result import PlanOutcome
from mbrl.analysis.profiles import PerformanceProfiles, performance_profiles
from mbrl.analysis.promises import plan_outcome
from mbrl.analysis.reliability import calibration
from mbrl.analysis.report_files import Report
from mbrl.analysis.result import Result, Skipped
from mbrl.analysis.reward_error import reward_and_termination
from mbrl.analysis.reward_result import RewardAndTermination
from mbrl.analysis.run_curves import RunCurves, read_curves
from mbrl.analysis.run_scores import normalized_scores
from mbrl.analysis.uncertainty_error import uncertainty_against_error
from mbrl.analysis.uncertainty_result import UncertaintyAgainstError
from mbrl.analysis.value_aware import value_error
from mbrl.analysis.value_result import ValueAwareError

__all__ = [
    "Calibration",
    "Curve",
    "Improvement",
    "LearningCurves",
    "LinearBaseline",
    "LipschitzEstimate",
    "LiveModelReport",
    "OneStepError",
    "OpenLoopError",
    "PerformanceProfiles",
    "PlanOutcome",
    "Report",
    "Result",
    "RewardAndTermination",
    "RunCurves",
    "ScoreStatistics",
    "Skipped",
    "UncertaintyAgainstError",
    "ValueAwareError",
    "bootstrap_interval",
    "calibration",
    "interquartile_mean",
    "learning_curves",
    "local_lipschitz",
    "normalized_scores",
    "one_step_error",
    "open_loop_error",
    "performance_profiles",
    "plan_outcome",
    "probability_of_improvement",
    "read_curves",
    "report",
    "reward_and_termination",
    "score_statistics",
    "split_episodes",
    "uncertainty_against_error",
    "value_error",
    "windows",
]
