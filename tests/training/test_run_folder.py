from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from pytorch_lightning import Callback

from mbrl.errors import ConfigError, RunFolderError
from mbrl.training.run_folder import default_folder, inside, make_folder, refuse_used, settings_until, write_config
from mbrl.training.yaml_text import read_mapping
from tests.training.toy import ToyPlanner, data, trainer


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


class Refuses(Callback):
    """Fails before the first step, when loggers have begun."""

    def __init__(self, write: Path | None = None) -> None:
        self.write = write

    def on_fit_start(self, trainer: Any, module: Any) -> None:
        if self.write is not None:
            self.write.write_text("mine")
        raise ConfigError("no")


def test_a_run_that_fails_before_it_wrote_leaves_no_folder(tmp_path: Path) -> None:
    def refused(folder: Path, write: Path | None = None) -> None:
        with pytest.raises(ConfigError, match="no"):
            trainer(folder, callbacks=[Refuses(write)]).fit(ToyPlanner(), data(20))

    refused(tmp_path / "runs/name/seed0")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "runs/name/seed1").mkdir(parents=True)
    refused(tmp_path / "runs/name/seed0")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["runs", "runs/name", "runs/name/seed1"]
    refused(tmp_path / "runs/name/seed1")
    assert (tmp_path / "runs/name/seed1").is_dir(), "it was there"
    refused(tmp_path / "other/run", tmp_path / "other/run/note")
    assert (tmp_path / "other/run/note").read_text() == "mine", "of a callback"
    trainer(tmp_path / "runs/name/seed0").fit(ToyPlanner(), data(10))
    assert (tmp_path / "runs/name/seed0/metrics.jsonl").is_file()


def test_config_is_written_once_and_a_resume_beside_it(tmp_path: Path) -> None:
    for steps in (1, 2, 3):
        write_config(tmp_path, {"data": {"steps": steps}})
    names = ["config.yaml", "config.resume-1.yaml", "config.resume-2.yaml"]
    assert [yaml.safe_load((tmp_path / name).read_text())["data"]["steps"] for name in names] == [1, 2, 3]


def settings(folder: Path) -> dict[str, float]:
    """The learning rate by file, `resume` aside."""
    return {
        path.name: read_mapping(path.read_text(), path.name)["model"]["init_args"]["lr"]
        for path in sorted(folder.glob("config*.yaml"))
        if "resume" not in path.name
    }


def fit(folder: Path, lr: float, steps: int, path: Path | str | None = "last", crash_at: int = -1, **options: bool) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "going on with settings")
        trainer(folder).fit(ToyPlanner(lr, crash_at=crash_at), data(steps), ckpt_path=path, **options)


def test_what_holds_after_an_override_is_on_disk_and_what_held_before(tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit(run, 0.1, 10, None)
    fit(run, 0.1, 20)
    assert settings(run) == {"config.yaml": 0.1}
    fit(run, 0.2, 30, override=True)
    assert settings(run) == {"config.until-20.yaml": 0.1, "config.yaml": 0.2}
    fit(run, 0.2, 40)
    with pytest.raises(ConfigError, match=r"lr was 0\.2 and is 0\.1 now"):
        fit(run, 0.1, 50)
    fit(run, 0.3, 50, override=True)
    assert settings(run) == {"config.until-20.yaml": 0.1, "config.until-40.yaml": 0.2, "config.yaml": 0.3}
    assert [path.name for path in settings_until(run).values()] == ["config.until-20.yaml", "config.until-40.yaml"]


def test_a_finished_run_does_not_say_that_it_goes_on(tmp_path: Path) -> None:
    fit(tmp_path, 0.1, 10, None)
    trainer(tmp_path).fit(ToyPlanner(0.2), data(10), ckpt_path="last", override=True)  # warnings are errors
    assert settings(tmp_path) == {"config.yaml": 0.1}
    with pytest.raises(ConfigError, match=r"lr was 0\.1 and is 0\.2 now"):
        fit(tmp_path, 0.2, 10)


def test_an_attempt_that_changed_settings_and_reached_no_checkpoint_leaves_none(tmp_path: Path) -> None:
    fit(tmp_path, 0.1, 10, None)
    with pytest.raises(RuntimeError, match="crash"):
        fit(tmp_path, 0.2, 20, crash_at=15, override=True)
    assert settings(tmp_path) == {"config.until-10.yaml": 0.1, "config.yaml": 0.2}
    fit(tmp_path, 0.1, 20)
    assert settings(tmp_path) == {"config.yaml": 0.1}
    with pytest.raises(RuntimeError, match="crash"):
        fit(tmp_path, 0.2, 30, crash_at=25, override=True)
    fit(tmp_path, 0.3, 30, override=True)
    assert settings(tmp_path) == {"config.until-20.yaml": 0.1, "config.yaml": 0.3}, "0.2 never held"


def test_a_run_that_goes_on_elsewhere_takes_its_settings_along(tmp_path: Path) -> None:
    fit(tmp_path / "a", 0.1, 10, None)
    fit(tmp_path / "a", 0.2, 20, override=True)
    fit(tmp_path / "b", 0.3, 30, tmp_path / "a", override=True)
    assert settings(tmp_path / "b") == {"config.until-10.yaml": 0.1, "config.until-20.yaml": 0.2, "config.yaml": 0.3}
    assert settings(tmp_path / "a") == {"config.until-10.yaml": 0.1, "config.yaml": 0.2}
    fit(tmp_path / "c", 0.3, 40, tmp_path / "b")
    assert settings(tmp_path / "c") == settings(tmp_path / "b")


@pytest.mark.parametrize("below", ["", "/checkpoints/ckpt-10", "/checkpoints/ckpt-10/model.pt"])
def test_inside(below: str) -> None:
    assert inside(f"runs/a/seed0{below}") == Path("runs/a/seed0")
