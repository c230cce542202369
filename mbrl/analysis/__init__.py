"""Analyses of where, how far ahead and how confidently a model is wrong, and of what runs achieved."""

from mbrl.analysis.edge_of_reach.targets import edge_of_reach
from mbrl.analysis.edge_of_reach.targets_result import EdgeOfReach
from mbrl.analysis.episodes import split_episodes, windows
from mbrl.analysis.forecasts.linear_baseline import LinearBaseline
from mbrl.analysis.frequencies.fas import fas
from mbrl.analysis.frequencies.frequencies import decision_frequencies
from mbrl.analysis.frequencies.frequencies_result import DecisionFrequencies
from mbrl.analysis.model_error.calibration import calibration
from mbrl.analysis.model_error.calibration_result import Calibration
from mbrl.analysis.model_error.lipschitz import LipschitzEstimate, local_lipschitz
from mbrl.analysis.model_error.one_step import one_step_error
from mbrl.analysis.model_error.one_step_result import OneStepError
from mbrl.analysis.model_error.open_loop import open_loop_error
from mbrl.analysis.model_error.open_loop_result import OpenLoopError
from mbrl.analysis.model_error.plan_outcome import plan_outcome
from mbrl.analysis.model_error.plan_outcome_result import PlanOutcome
from mbrl.analysis.model_error.reward_and_termination import reward_and_termination
from mbrl.analysis.model_error.reward_and_termination_result import RewardAndTermination
from mbrl.analysis.model_error.uncertainty_against_error import uncertainty_against_error
from mbrl.analysis.model_error.uncertainty_against_error_result import UncertaintyAgainstError
from mbrl.analysis.model_error.value_error import value_error
from mbrl.analysis.model_error.value_error_result import ValueAwareError
from mbrl.analysis.model_report.live_model_report import LiveModelReport
from mbrl.analysis.model_report.model_equations import ModelEquations, model_equations
from mbrl.analysis.model_report.report import report
from mbrl.analysis.model_report.report_files import Report
from mbrl.analysis.model_report.report_parts import REPORT_PARTS, ReportPart
from mbrl.analysis.model_report.subject import Subject
from mbrl.analysis.result import Result, Skipped
from mbrl.analysis.runs.aggregates import ScoreStatistics, score_statistics
from mbrl.analysis.runs.bootstrap import bootstrap_interval, interquartile_mean
from mbrl.analysis.runs.improvement import Improvement, probability_of_improvement
from mbrl.analysis.runs.learning_curves import learning_curves
from mbrl.analysis.runs.learning_curves_result import Curve, LearningCurves
from mbrl.analysis.runs.profiles import PerformanceProfiles, performance_profiles
from mbrl.analysis.runs.run_curves import RunCurves, read_curves
from mbrl.analysis.runs.run_scores import normalized_scores
from mbrl.analysis.selection.bandit import select_by_bandit
from mbrl.analysis.selection.bandit_result import BanditSelection
from mbrl.analysis.selection.fitted_q import fitted_q_evaluation
from mbrl.analysis.selection.fitted_q_result import FittedQ
from mbrl.analysis.selection.fitted_q_score import FittedQScore
from mbrl.analysis.selection.model_return import model_return
from mbrl.analysis.selection.scores import select_by_scores
from mbrl.analysis.selection.scores_result import ScoreSelection

__all__ = [
    "REPORT_PARTS",
    "BanditSelection",
    "Calibration",
    "Curve",
    "DecisionFrequencies",
    "EdgeOfReach",
    "FittedQ",
    "FittedQScore",
    "Improvement",
    "LearningCurves",
    "LinearBaseline",
    "LipschitzEstimate",
    "LiveModelReport",
    "ModelEquations",
    "OneStepError",
    "OpenLoopError",
    "PerformanceProfiles",
    "PlanOutcome",
    "Report",
    "ReportPart",
    "Result",
    "RewardAndTermination",
    "RunCurves",
    "ScoreSelection",
    "ScoreStatistics",
    "Skipped",
    "Subject",
    "UncertaintyAgainstError",
    "ValueAwareError",
    "bootstrap_interval",
    "calibration",
    "decision_frequencies",
    "edge_of_reach",
    "fas",
    "fitted_q_evaluation",
    "interquartile_mean",
    "learning_curves",
    "local_lipschitz",
    "model_equations",
    "model_return",
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
    "select_by_bandit",
    "select_by_scores",
    "split_episodes",
    "uncertainty_against_error",
    "value_error",
    "windows",
]
