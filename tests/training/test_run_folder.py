from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mbrl.errors import RunFolderError
from mbrl.training.run_folder import default_folder, inside, make_folder, refuse_used, write_config


def test_default_folder() -> None:
    assert default_folder("mbpo-hopper", 3) == Path("runs/mbpo-hopper/seed3")


def test_a_used_folder_is_refused_naming_both_ways_out(tmp_path: Path) -> None:
    refuse_used(tmp_path)
    make_folder(tmp_path)
    refuse_used(tmp_path)  # made, and nothing in it
    (tmp_path / "metrics.jsonl").touch()
    with pytest.raises(RunFolderError, match=r"holds a run; resume it with --ckpt_path last, or give another"):
        refuse_used(tmp_path)


def test_an_unwritable_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match=r"expected a folder that can be written, but .*trainer\.folder"):
        make_folder(tmp_path / "file" / "run")


def test_config_is_written_once_and_a_resume_beside_it(tmp_path: Path) -> None:
    for steps in (1, 2, 3):
        write_config(tmp_path, {"data": {"steps": steps}})
    names = ["config.yaml", "config.resume-1.yaml", "config.resume-2.yaml"]
    assert [yaml.safe_load((tmp_path / name).read_text())["data"]["steps"] for name in names] == [1, 2, 3]


@pytest.mark.parametrize("below", ["", "/checkpoints/ckpt-10", "/checkpoints/ckpt-10/model.pt"])
def test_inside(below: str) -> None:
    assert inside(f"runs/a/seed0{below}") == Path("runs/a/seed0")
