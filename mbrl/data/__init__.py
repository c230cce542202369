"""Records that every part shares, random streams, the replay buffer and offline datasets."""

from mbrl.data.dataset_quality import DatasetQuality
from mbrl.data.episodes import episode_ends, episode_numbers
from mbrl.data.mixed_batch import mixed_batch
from mbrl.data.normalized_score import D4RL_REFERENCES, NormalizedScore
from mbrl.data.offline_columns import read_hdf5, read_npz, write_npz
from mbrl.data.offline_dataset import OfflineDataset
from mbrl.data.offline_minari import check_minari_id, read_minari, write_minari
from mbrl.data.offline_reader import read_offline
from mbrl.data.prediction import CriticsAsked, ModelState, ModelStep, Prediction, ValueFunction
from mbrl.data.replay_buffer import ReplayBuffer
from mbrl.data.row_layout import RowLayout
from mbrl.data.streams import (
    Generator,
    InterleavedGenerator,
    RowGenerator,
    Streams,
    default_draws,
    derived_seed,
    draw_balanced,
    draw_normal,
    float32_by_default,
    make_generator,
)
from mbrl.data.task import Task, TaskBound, check_same_task
from mbrl.data.task_facts import TaskFacts
from mbrl.data.trajectory_weights import trajectory_weights
from mbrl.data.transitions import Transitions

__all__ = [
    "D4RL_REFERENCES",
    "CriticsAsked",
    "DatasetQuality",
    "Generator",
    "InterleavedGenerator",
    "ModelState",
    "ModelStep",
    "NormalizedScore",
    "OfflineDataset",
    "Prediction",
    "ReplayBuffer",
    "RowGenerator",
    "RowLayout",
    "Streams",
    "Task",
    "TaskBound",
    "TaskFacts",
    "Transitions",
    "ValueFunction",
    "check_minari_id",
    "check_same_task",
    "default_draws",
    "derived_seed",
    "draw_balanced",
    "draw_normal",
    "episode_ends",
    "episode_numbers",
    "float32_by_default",
    "make_generator",
    "mixed_batch",
    "read_hdf5",
    "read_minari",
    "read_npz",
    "read_offline",
    "trajectory_weights",
    "write_minari",
    "write_npz",
]
