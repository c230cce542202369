"""The named records that every part shares."""

from mbrl.data.prediction import ModelState, ModelStep, Prediction, ValueFunction
from mbrl.data.replay_buffer import ReplayBuffer, mixed_batch
from mbrl.data.row_layout import RowLayout
from mbrl.data.streams import Generator, RowGenerator, Streams, derived_seed, draw_balanced, draw_normal, make_generator
from mbrl.data.task import Task, check_same_task
from mbrl.data.transitions import Transitions

__all__ = [
    "Generator",
    "ModelState",
    "ModelStep",
    "Prediction",
    "ReplayBuffer",
    "RowGenerator",
    "RowLayout",
    "Streams",
    "Task",
    "Transitions",
    "ValueFunction",
    "check_same_task",
    "derived_seed",
    "draw_balanced",
    "draw_normal",
    "make_generator",
    "mixed_batch",
]
