"""Runs that were written before files of the library moved: they load, and they resume to the same numbers.

`tests/fixtures/{dyna,pets}` were killed at tick 46 of 60, with their last checkpoint at 40, by a version whose specs held
the file of each class (`mbrl.models.gaussian_ensemble.GaussianEnsemble`). `after.json` has the metric lines of the same runs
when nothing killed them. On the processor that wrote them, a resumed run equals these bit for bit.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import mbrl
from mbrl.cli import main
from mbrl.errors import ConfigError
from mbrl.spec import from_spec
from mbrl.training.resume import differences
from tests.training.toy import data, lines, trainer

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "tests/fixtures"


@pytest.fixture(params=["dyna", "pets"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(RUNS / request.param, tmp_path / request.param))


def check_lines(run: Path) -> None:
    expected = json.loads((run / "after.json").read_text())
    later = {"model/explained", "rollout/outside", "rollout/unmeasured", "batch/unmeasured"}
    later |= {"train/decisions_per_step", "train/actor_updates_per_step"}
    found = [{name: value for name, value in line.items() if name not in later} for line in lines(run)]
    assert [line.keys() for line in found] == [line.keys() for line in expected]
    for line, wanted in zip(found, expected, strict=True):
        assert line == pytest.approx(wanted, rel=1e-4, abs=1e-5, nan_ok=True)  # other processors round otherwise


def test_loads(run: Path) -> None:
    planner = mbrl.load(run)
    assert planner.env_steps == 40
    names = json.dumps(planner.spec)
    assert "mbrl.models.GaussianEnsemble" in names
    assert "gaussian_ensemble" not in names


def test_resumes_from_python(run: Path) -> None:
    spec = json.loads((run / "checkpoints/ckpt-40/manifest.json").read_text())["model"]
    trainer(run).fit(from_spec(spec, recorded=True), data(60, num_envs=2), ckpt_path="last")
    check_lines(run)


def test_resumes_from_its_own_config(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["trainer"]["folder"] = str(run)
    ensemble = config["model"]["init_args"]["dynamics"]["init_args"]
    path = run.parent / "today.yaml"  # a user's file says what it says today, with today's defaults
    path.write_text(yaml.safe_dump(config))
    assert main(["fit", "--config", str(path), "--ckpt_path", "last"]) == 2
    assert "dynamics.init_args.normalize_targets was False and is True now" in capsys.readouterr().err
    ensemble.update(normalize_targets=False, termination="threshold")
    path = run.parent / "again.yaml"
    path.write_text(yaml.safe_dump(config))
    assert main(["fit", "--config", str(path), "--ckpt_path", "last"]) == 0
    check_lines(run)


def test_names_are_compared_after_reading() -> None:
    old = {"class_path": "mbrl.models.gaussian_ensemble.GaussianEnsemble", "init_args": {"members": 3}}
    new = {"class_path": "mbrl.models.GaussianEnsemble", "init_args": {"members": 3}}
    assert differences({"model": old}, {"model": new}) == []
    other = {"class_path": "mbrl.models.Pendulum"}
    assert differences({"model": old}, {"model": other}) == [
        "model.class_path was 'mbrl.models.GaussianEnsemble' and is 'mbrl.models.Pendulum' now"
    ]


def test_a_file_that_moves_breaks_no_run(tmp_path: Path, run: Path) -> None:
    """In a copy of the package in which the ensemble's file has another name, a checkpoint of today loads."""
    today = tmp_path / "today"
    trainer(today).fit(from_spec(mbrl.load(run).spec), data(40, num_envs=2))
    package = Path(shutil.copytree(ROOT / "mbrl", tmp_path / "copy/mbrl", ignore=shutil.ignore_patterns("__pycache__")))
    (package / "models/gaussian_ensemble.py").rename(package / "models/moved_elsewhere.py")
    for path in package.rglob("*.py"):
        text = path.read_text()
        if "mbrl.models.gaussian_ensemble" in text:
            path.write_text(text.replace("mbrl.models.gaussian_ensemble", "mbrl.models.moved_elsewhere"))
    code = "import sys, mbrl\nfor path in sys.argv[1:]:\n    print(type(mbrl.load(path).dynamics).__module__)"
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(run), str(today)],
        cwd=tmp_path / "copy", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.stdout.split() == ["mbrl.models.moved_elsewhere"] * 2, said.stderr


def test_a_name_that_nobody_exports_is_still_refused() -> None:
    with pytest.raises(ConfigError, match=r"mbrl\.models has no no_such_file\.Gone; check the spelling"):
        from_spec({"class_path": "mbrl.models.no_such_file.Gone"})
    with pytest.raises(ConfigError, match="configurable class"):  # a package's functions are not its classes
        from_spec({"class_path": "mbrl.models.require"})
