"""`describe`: a dataset in sentences, one per fact, and what a reader should mind about it."""

from __future__ import annotations

import torch

from mbrl.counted import counted
from mbrl.data.dataset_quality import DatasetQuality
from mbrl.data.minds.unseen_ends import mind_of_unseen_ends
from mbrl.data.minds.values import minds_of_values
from mbrl.data.normalized_score import NormalizedScore
from mbrl.data.offline_dataset import OfflineDataset
from mbrl.data.task import Task
from mbrl.data.trajectory_weights import unfinished
from mbrl.data.transitions import Transitions


def describe(dataset: OfflineDataset, task: Task, rows: Transitions) -> list[str]:
    """Describes a dataset before anything is fitted to it or learns from it.

    Args:
        dataset: as read.
        task: its task.
        rows: its rows as the library has them, with `extras["weight"]` if they are drawn by weights.
    """
    quality = DatasetQuality.of(rows)
    quantiles = ", ".join(f"{value:.4g}" for value in quality.quantiles)
    lines = [
        f"{dataset.source}: {counted(len(rows), 'step')} in {counted(quality.episodes, 'episode')}, "
        f"{int(rows.terminated.sum())} of which ended the task and {int(rows.truncated.sum())} were cut; "
        f"{counted(task.obs_size, 'observation')}, {counted(task.action_size, 'action')}.",
        f"Environment: {task.env_id or 'not named'}.",
        f"Reward: {task.known_reward or 'learned by the model'}.",
        f"Termination: {task.known_terminated or 'learned by the model'}.",
        f"Returns: {quality.mean:.4g} on average, {quality.quantiles[0]:.4g} to {quality.quantiles[-1]:.4g}; "
        f"quantiles 0, 25, 50, 75 and 100 %: {quantiles}.",
        _scores(dataset.references, quality),
        f"Trajectory quality (TQ): {quality.tq:.3f}, the mean return between the dataset's worst (0) and best (1).",
        f"State-action coverage (SACo): {quality.saco:.3f}, {quality.cells} different cells in {len(rows)} steps, with "
        f"{quality.bins} along each column that varies.",
        f"Positive-sided variance of returns: {quality.positive_variance:.4g}, of returns between 0 and 1.",
    ]
    if dataset.dropped:
        lines.append(
            f"{dataset.dropped} rows were left out, since the file doesn't say where they led: "
            f"{dataset.dropped_ends} of them ended the task, and their rewards sum to "
            f"{dataset.dropped_reward:g}."
        )
    if "weight" in rows.extras:
        weight = rows.extras["weight"]
        lines.append(f"Weights: as many different rows are drawn as from {float(1 / (weight**2).sum()):.0f} even ones.")
    return lines + _warnings(rows, task) + minds_of_values(rows)


def _scores(references: NormalizedScore | None, quality: DatasetQuality) -> str:
    if references is None:
        return "Normalised returns: none, since the dataset has no reference scores."
    least, most = (f"{references.of(quality.quantiles[end]):.4g}" for end in (0, -1))
    return (
        f"Normalised returns: {references.of(quality.mean):.4g} on average, {least} to {most}; 0 is a return of "
        f"{references.low:.6g}, 100 one of {references.high:.6g} ({references.source})."
    )


def _warnings(rows: Transitions, task: Task) -> list[str]:
    said = []
    if task.known_terminated is None and not bool(rows.terminated.any()):
        said.append(
            "Mind: when the task ends is unknown: no function says it, and no row ends it, so that a model learns that it "
            "never ends; name the function (terminated), if it can."
        )
    said += mind_of_unseen_ends(task, rows, "look whether the recording has kept its ends")
    cut = len(unfinished(rows))
    if len(rows) == 1:
        said.append("Mind: there is one step, from which nothing can be held out and no spread is known.")
    if not bool((rows.terminated | rows.truncated).any()):
        said.append("Mind: no row says that an episode ended, by the task or by a limit.")
    elif cut:
        few = "1 episode has" if cut == 1 else f"{cut} episodes have"
        said.append(f"Mind: {few} no end, where the recording stopped; the return is that of the steps there are.")
    if "weight" in rows.extras:
        said += _heavy(rows)
    still = (rows.action == rows.action[:1]).all(0).nonzero()[:, 0].tolist()  # columns of the action
    if still and len(rows) > 1:
        said.append(f"Mind: action {still} never changes, so that nothing can be learned of what it does.")
    at_bound = float((rows.action.abs() >= 1).any(-1).float().mean())
    if at_bound > 0.5:
        said.append(f"Mind: {100 * at_bound:.0f} % of the actions lie on a bound; were they clipped?")
    return said


def _heavy(rows: Transitions) -> list[str]:
    """The episode, of several, that is most of what is drawn."""
    numbers, which, steps = rows.extras["episode"].unique(return_inverse=True, return_counts=True)
    share = torch.zeros(len(numbers), dtype=torch.float64).index_add_(0, which, rows.extras["weight"])
    most = int(share.argmax())
    if len(numbers) == 1 or share[most] <= 0.5:
        return []
    return [
        f"Mind: episode {numbers[most]}, of {counted(int(steps[most]), 'step')}, is drawn {100 * share[most]:.0f} % of "
        "the time; raise temperature, or leave it out if it was cut short."
    ]
