"""What is whole and gets spoiled: a run, a model's run, datasets of three kinds, a search, each made once."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import shutil
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml

from benchmarks.armour.children import in_child
from mbrl.envs import collect, make_task
from mbrl.training.checkpoint import checkpoint_folders, read_checkpoint, write_checkpoint
from tests.training.test_kill_and_resume import dyna
from tests.training.toy import data, trainer

D4RL = {
    "observations": "obs",
    "actions": "action",
    "rewards": "reward",
    "next_observations": "next_obs",
    "terminals": "terminated",
    "timeouts": "truncated",
}


class Materials:
    """Whole files, made when they are first asked for, by processes that leave nothing behind."""

    def __init__(self, root: Path) -> None:
        self.root = root / "whole"
        self.root.mkdir(parents=True)

    def _made(self, name: str, make: Callable[[Path], Any]) -> Path:
        path = self.root / name
        ended = in_child(lambda: make(path) and None, self.root, self.root / "notes")
        assert ended.code == 0 and path.exists(), ended.told
        return path

    @cached_property
    def run(self) -> Path:
        """A finished run of Dyna, 30 steps in two environments."""
        return self._made("run", lambda path: trainer(path).fit(dyna(), data(30, num_envs=2)))

    @cached_property
    def npz(self) -> Path:
        """60 random steps of Pendulum."""
        return self._made("rows.npz", lambda path: collect(make_task("Pendulum-v1"), str(path), steps=60))

    @cached_property
    def columns(self) -> dict[str, np.ndarray]:
        """Its columns."""
        with np.load(self.npz) as file:
            return dict(file)

    @cached_property
    def hdf5(self) -> Path:
        """The same in D4RL's layout."""

        def make(path: Path) -> None:
            with h5py.File(path, "w") as file:
                for theirs, ours in D4RL.items():
                    file[theirs] = self.columns[ours]

        return self._made("rows.hdf5", make)

    @cached_property
    def minari(self) -> Path:
        """The folder of a Minari dataset."""

        def make(path: Path) -> None:
            os.environ["MINARI_DATASETS_PATH"] = str(self.root / "minari")
            collect(make_task("Pendulum-v1"), "odd/rows-v0", steps=60)

        self._made("minari", make)
        return self.root / "minari" / "odd" / "rows-v0"

    @cached_property
    def config(self) -> dict[str, Any]:
        """A configuration that is whole: that of the run, in `new`."""
        config: dict[str, Any] = yaml.safe_load((self.run / "config.yaml").read_text())
        config["trainer"] |= {"folder": "new", "progress": False}
        config["data"]["init_args"]["steps"] = 24
        return config

    @property
    def searched(self) -> dict[str, Any]:
        """The same without what a search sets itself."""
        config = copy.deepcopy(self.config)
        del config["trainer"]["folder"], config["data"]["init_args"]["seed"]
        return config

    def search(self) -> dict[str, Any]:
        """A search file over `config.yaml`."""
        return {
            "study": "odd",
            "config": ["config.yaml"],
            "objectives": [{"metric": "eval/return", "direction": "maximize"}],
            "space": {"model.init_args.learner.init_args.actor_lr": {"float": [1e-4, 1e-2], "log": True}},
            "budget": {"trials": 1},
        }

    def copy_of_run(self, here: Path) -> Path:
        """A copy of the run, in `run`."""
        return Path(shutil.copytree(self.run, here / "run"))

    def checkpoint(self, run: Path) -> Path:
        """The newest checkpoint of a copy."""
        return checkpoint_folders(run)[0]

    def tampered(self, here: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
        """A copy of the run whose checkpoint holds something else, with hashes that are right."""
        run = self.copy_of_run(here)
        folder = self.checkpoint(run)
        whole = read_checkpoint(folder, buffers=True)
        about = read_about(folder)
        change(whole)
        shutil.rmtree(folder)
        with contextlib.redirect_stderr(io.StringIO()):
            write_checkpoint(folder, whole, about)
        return run


def read_about(folder: Path) -> dict[str, Any]:
    """What a manifest says beside the files."""
    import json

    manifest = json.loads((folder / "manifest.json").read_text())
    return {name: value for name, value in manifest.items() if name not in ("format", "files", "seconds")}
