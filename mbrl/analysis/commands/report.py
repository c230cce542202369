"""`mbrl report`: where, how far ahead and how confidently a trained model is wrong, as one HTML page with its numbers."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from mbrl.analysis.model_report.report import report
from mbrl.analysis.model_report.report_files import check_folder
from mbrl.analysis.model_report.report_parts import REPORT_PARTS
from mbrl.arguments import Seed, check_argument, check_whole
from mbrl.data import Task, Transitions, read_offline
from mbrl.data.task import check_same_task
from mbrl.envs.check import check_functions
from mbrl.errors import ConfigError, RunFolderError
from mbrl.spec import from_spec
from mbrl.training.checkpoint import read_checkpoint
from mbrl.training.commands.check import json_object
from mbrl.training.load import module_of
from mbrl.training.output import say, tell
from mbrl.training.resume import checkpoint_at
from mbrl.training.run_folder import inside
from mbrl.uncertainty import UncertaintyMeasure

_CHECKED_ROWS = 10_000  # of the dataset, on which known functions must agree


def run(given: argparse.Namespace, allow: Sequence[str]) -> int:
    """Writes the report that the options ask for and prints what it says in short."""
    check_argument("--seed", given.seed, Seed)
    for option in ("horizon", "threads", "decisions"):
        if (number := getattr(given, option)) is not None:
            check_whole(f"--{option}", number)
    measures = None if given.measures is None else [_measure(text, allow) for text in given.measures]
    checkpoint = checkpoint_at(given.ckpt_path)
    folder = inside(checkpoint) / "report" if given.folder is None else given.folder
    if given.folder is None and folder.is_symlink():
        raise RunFolderError(f"expected a folder for the report, but {folder} is a link; give another folder with --folder.")
    check_folder(folder, [part.result.name for part in REPORT_PARTS], overwrite=given.overwrite)
    torch.set_num_threads(given.threads)

    began = time.perf_counter()

    def progress(text: str) -> None:
        say(f"{time.perf_counter() - began:5.0f} s  {text}")

    progress(f"reading {checkpoint}")
    saved = read_checkpoint(checkpoint, buffers=False)
    module: Any = module_of(saved, checkpoint, allow)
    progress(f"reading {given.dataset}")
    rows = _rows(given.dataset, module.built_task, given)
    trained = None
    if given.training_data is not None:
        progress(f"reading {given.training_data}")
        trained = _rows(given.training_data, module.built_task, given)
    found = report(
        module,
        rows,
        horizon=given.horizon,
        training_rows=trained,
        measures=measures,
        truth=given.truth,
        decisions=given.decisions,
        quick=given.quick,
        seed=given.seed,
        allow=allow,
        progress=progress,
        about={
            "checkpoint": str(checkpoint),
            "data": given.dataset,
            "training_data": given.training_data,
            "seen": _seen(saved.get("mbrl_run", {}).get("fitted_to"), rows),
        },
    )
    lines = [line for part in found.parts for line in (part.title, *(f"  {sentence}" for sentence in part.in_short()))]
    lines = [*([found.about["seen"]] if found.about["seen"] else []), *found.verdict.sentences, "", *lines]
    tell("\n".join(lines))  # before the files, which a full disk may refuse
    progress("drawing")
    page = found.write(folder, overwrite=given.overwrite)
    progress("done")
    tell(f"\nreport   {page}")
    return 0


def _seen(fitted_to: Mapping[str, Any] | None, rows: Transitions) -> str | None:
    """A sentence where the data are what the model was fitted to, or begin with that; None elsewhere."""
    number = fitted_to["rows"] if fitted_to else 0
    if not fitted_to or len(rows) < number or rows.select(slice(number)).digest() != fitted_to["sha256"]:
        return None
    part = "These data are" if number == len(rows) else f"The first {number} of these {len(rows)} rows are"
    return f"{part} what the model was fitted to: its errors elsewhere may be larger; give --dataset that it hasn't seen."


def _rows(path: str, task: Task, given: argparse.Namespace) -> Transitions:
    """The steps of a dataset of `task`, read as the options say; no environment is made.

    Raises:
        DataError: if it can't be read or lacks a column.
        TaskError: if it is of another task than the checkpoint.
    """
    dataset = read_offline(path, done=given.done)
    facts = dataset.facts
    # how long an episode may be says nothing of its steps
    there, here = (
        {name: value for name, value in kwargs.items() if name != "max_episode_steps"}
        for kwargs in (facts.env_kwargs, task.env_kwargs)
    )
    said = {
        "env_id": facts.env_id,
        "env_kwargs": there,
        "obs_size": dataset.obs_size,
        "action_size": dataset.action_size,
        "action_low": list(task.action_low if facts.action_low is None else facts.action_low),
        "action_high": list(task.action_high if facts.action_high is None else facts.action_high),
        "action_repeat": facts.action_repeat if facts.env_id else task.action_repeat,
    }
    check_same_task(replace(task, env_kwargs=here), said, f"{path} beside the checkpoint")
    head = dataset.head(_CHECKED_ROWS).transitions(task, clip_actions=given.clip_actions, dtype=torch.float64)
    check_functions(task, head, f"of {dataset.source}")
    return dataset.transitions(task, clip_actions=given.clip_actions)


def _measure(text: str, allow: Sequence[str]) -> UncertaintyMeasure:
    """A measure by its name in `mbrl.uncertainty`, a dotted name, or JSON with `class_path` and `init_args`."""
    spec = {"class_path": text if "." in text else f"mbrl.uncertainty.{text}", "init_args": {}}
    if text.lstrip().startswith("{"):
        spec = json_object("--measures", text)
        path = spec.get("class_path")
        if isinstance(path, str) and "." not in path:
            spec["class_path"] = f"mbrl.uncertainty.{path}"
    found = from_spec(spec, allow)
    if not isinstance(found, UncertaintyMeasure):
        raise ConfigError(f"--measures: expected measures of uncertainty, got {text}; see mbrl.uncertainty.")
    return found
