"""Files of predictions and tests: where they may be written, and what they are made of."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.armour.judging import Input
from benchmarks.armour.materials import Materials

KIND = "predictions"
PREDICT = ["predict", "--ckpt_path", "run", "--dataset", "rows.npz"]

OUTPUTS = ("", ".", "x", "x.csv", ".npz", "nowhere/x.npz", "mine.txt/x.npz", "mine.npz", "folder.npz", "link.npz",
"loop.npz",
           "a\0b.npz", "x" * 300 + ".npz", "/proc/x.npz", "pipe.npz", "run", "rows.npz")  # fmt: skip
# a link there is replaced, and what it leads to stays; a folder that isn't there is made
MAY = (".npz", "loop.npz", "link.npz", "nowhere/x.npz")


def inputs(whole: Materials) -> Iterator[Input]:
    """The inputs of this kind."""

    def output(path: str, here: Path) -> list[str]:
        whole.copy_of_run(here)
        shutil.copy(whole.npz, here / "rows.npz")
        shutil.copy(whole.npz, here / "mine.npz")
        (here / "folder.npz").mkdir()
        (here / "link.npz").symlink_to("mine.txt")
        (here / "loop.npz").symlink_to("loop.npz")
        os.mkfifo(here / "pipe.npz")
        return [*PREDICT, "--output", path]

    def there(make: Callable[[Path], Any], here: Path) -> list[str]:
        run = whole.copy_of_run(here)
        shutil.copy(whole.npz, here / "rows.npz")
        make(run / "predictions.npz")
        return PREDICT

    def rows(change: Callable[[dict[str, Any]], Any], here: Path) -> list[str]:
        whole.copy_of_run(here)
        columns = dict(whole.columns)
        change(columns)
        np.savez(here / "rows.npz", **columns)
        return PREDICT

    for path in OUTPUTS:
        yield Input(KIND, f"--output {path[:40]!a}", partial(output, path), may=path in MAY)
    for name, make in {
        "a file": lambda path: path.write_text("x"), "a folder": Path.mkdir, "a pipe": os.mkfifo,
        "a link": lambda path: path.symlink_to("../mine.txt"), "a link to itself": lambda path: path.symlink_to(path.name),
    }.items():  # fmt: skip
        yield Input(KIND, f"predictions.npz is {name} already", partial(there, make), may="link" in name)
    for name, change in {
        "of another size": lambda columns: columns.update(obs=columns["obs"][:, :2], next_obs=columns["next_obs"][:, :2]),
        "of another action": lambda columns: columns.update(action=np.zeros((len(columns["obs"]), 2), np.float32)),
        "with actions beyond": lambda columns: columns.update(action=columns["action"] + 50),
        "without rows": lambda columns: columns.update({name: column[:0] for name,
        column in columns.items() if column.ndim}),
        "with NaN": lambda columns: columns.update(obs=columns["obs"] * np.nan),
        "without rewards": lambda columns: columns.pop("reward"),
    }.items():  # fmt: skip
        yield Input(KIND, f"rows {name}", partial(rows, change), may=name == "without rewards")
