"""Where, how far ahead and how confidently a model is wrong, and what runs achieved."""

from mbrl.analysis.baselines import LinearBaseline
from mbrl.analysis.episodes import split_episodes, windows
from mbrl.analysis.one_step import OneStepError, one_step_error
from mbrl.analysis.open_loop import OpenLoopError, open_loop_error
from mbrl.analysis.reliability import Calibration, calibration
from mbrl.analysis.result import Result, Skipped

__all__ = [
    "Calibration",
    "LinearBaseline",
    "OneStepError",
    "OpenLoopError",
    "Result",
    "Skipped",
    "calibration",
    "one_step_error",
    "open_loop_error",
    "split_episodes",
    "windows",
]
