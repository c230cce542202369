"""Where, how far ahead and how confidently a model is wrong, and what runs achieved."""

from mbrl.analysis.episodes import split_episodes, windows
from mbrl.analysis.result import Result, Skipped

__all__ = ["Result", "Skipped", "split_episodes", "windows"]
