"""Runs of a planner or a model: trainer, run folder, checkpoints, metrics, loading."""

from mbrl.training.callbacks.record_videos import RecordVideos
from mbrl.training.hub import from_hub, push_to_hub
from mbrl.training.load import load, load_policy
from mbrl.training.trainer import Trainer

__all__ = ["RecordVideos", "Trainer", "from_hub", "load", "load_policy", "push_to_hub"]
