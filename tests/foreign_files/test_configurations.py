"""Configurations that came with a study make nothing that isn't trusted; a user's own still may."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mbrl.cli import main
from mbrl.errors import UntrustedNameError
from mbrl.search.file.search_file import SearchFile
from mbrl.search.study import study as studies
from mbrl.training.commands.parsed import parsed

BASE: dict[str, Any] = {
    "model": {"class_path": "tests.training.toy.ToyPlanner"},
    "data": {"class_path": "mbrl.envs.OnlineData", "init_args": {"env_id": "Pendulum-v1", "steps": 20, "eval_episodes": 1}},
    "trainer": {"progress": False, "tensorboard": False},
}
LOGGER = {"class_path": "CSVLogger", "init_args": {"save_dir": "."}}


def changed(part: str, **changes: Any) -> dict[str, Any]:
    return {**BASE, part: {**BASE[part], **changes}}


def data(**changes: Any) -> dict[str, Any]:
    return changed("data", init_args={**BASE["data"]["init_args"], **changes})


# what a configuration would do, and what of it is refused
PAYLOADS: dict[str, tuple[dict[str, Any], str]] = {
    "an undotted logger": (changed("trainer", logger=LOGGER), "pytorch_lightning"),
    "an undotted logger in a list": (changed("trainer", logger=[LOGGER]), "pytorch_lightning"),
    "a callback as a text": (changed("trainer", callbacks="ModelCheckpoint"), "pytorch_lightning"),
    "an undotted callback": (
        changed("trainer", callbacks=[{"class_path": "ModelCheckpoint", "init_args": {"dirpath": ".", "filename": "x"}}]),
        "pytorch_lightning",
    ),
    "a dotted callback": (
        changed("trainer", callbacks=[{"class_path": "pytorch_lightning.callbacks.OnExceptionCheckpoint"}]),
        "pytorch_lightning",
    ),
    "a chain out of a module of ours": (
        changed("trainer", callbacks=[{"class_path": "mbrl.training.trainer.pl.Callback"}]),
        "pytorch_lightning",
    ),
    "a strategy": (changed("trainer", strategy={"class_path": "SingleDeviceStrategy"}), "pytorch_lightning"),
    "a profiler": (changed("trainer", profiler={"class_path": "AdvancedProfiler"}), "pytorch_lightning"),
    "a module of its own": ({**BASE, "model": {"class_path": "payload.Planner"}}, "payload"),
    "a module of its own, as a text": ({**BASE, "model": "payload.Planner"}, "payload"),
    "a module of data": ({**BASE, "data": {"class_path": "payload.Data"}}, "payload"),
    "a module behind an id": (data(env_id="payload:Odd-v0"), "payload"),
    "a module with a dash behind an id": (data(env_id="payload-with-dash:Odd-v0"), "payload-with-dash"),
    "an id among arguments": (data(env_id="GymV26Environment-v0", env_kwargs={"env_id": "payload:Odd-v0"}), "payload"),
    "a callable among arguments": (
        data(env_kwargs={"env_fn": [{"callable": "mbrl.spec.os.system"}]}),
        "mbrl.spec.os.system",
    ),
    "a reward": (data(reward="payload.reward"), "payload"),
    "a reward of ours that is none": (data(reward="mbrl.cli.main"), "mbrl.cli.main"),
}


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the import of `payload` would write; the current folder, where the payloads stand, is the path's first."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("payload", "payload-with-dash"):
        Path(f"{name}.py").write_text("open('marker', 'w').close()\n")
    Path("metrics.csv").write_text("mine\n")
    return tmp_path / "marker"


@pytest.mark.parametrize("what", PAYLOADS)
def test_a_foreign_configuration_makes_nothing_untrusted(
    what: str, marker: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, named = PAYLOADS[what]
    Path("base.yaml").write_text(yaml.safe_dump(config))
    for form in (["--config", "base.yaml"], [f"--config={yaml.safe_dump(config)}"]):
        assert main(["--allow", "tests", "fit", "--foreign", *form, "--trainer.folder", "run"]) == 2
        assert named in capsys.readouterr().err
        assert not marker.exists() and not Path("run/metrics.jsonl").exists() and Path("metrics.csv").read_text() == "mine\n"


@pytest.mark.parametrize("what", [name for name, (config, _) in PAYLOADS.items() if config["data"] == BASE["data"]])
def test_the_parser_of_a_search_refuses_them_too(what: str, marker: Path) -> None:
    config, named = PAYLOADS[what]
    with pytest.raises(UntrustedNameError, match=named):
        parsed(["fit", "--foreign", f"--config={yaml.safe_dump(config)}"], ["tests"])
    assert not marker.exists()


def test_a_foreign_configuration_of_trusted_names_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(yaml.safe_dump(changed("trainer", progress=False, tensorboard=False, callbacks=[])))
    assert main(["--allow", "tests", "fit", "--foreign", "--config", "base.yaml", "--trainer.folder", "run"]) == 0
    logged = changed("trainer", progress=False, tensorboard=False, logger=LOGGER)
    Path("base.yaml").write_text(yaml.safe_dump(logged))
    command = ["--allow", "tests", "--allow", "pytorch_lightning", "fit", "--foreign", "--config", "base.yaml"]
    assert main([*command, "--trainer.folder", "other"]) == 0


def test_a_users_own_configuration_may_name_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(yaml.safe_dump(changed("trainer", logger=LOGGER, progress=False, tensorboard=False)))
    assert main(["fit", "--config", "base.yaml", "--trainer.folder", "run"]) == 0


def test_what_comes_from_a_study_is_foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = yaml.safe_dump(
        {
            "study": "theirs",
            "config": ["base.yaml"],
            "objectives": [{"metric": "eval/return", "direction": "maximize"}],
            "space": {"model.init_args.lr": {"float": [0.1, 1.0]}},
            "budget": {"trials": 1},
        }
    )
    Path("base.yaml").write_text(yaml.safe_dump(changed("trainer", callbacks="ModelCheckpoint")))
    own = SearchFile.from_text(text)
    chosen = {"model.init_args.lr": 0.5}
    assert "--foreign" not in own.argv(chosen, 0, "run")
    studies.open_study(own, "sqlite:///study.db")
    _, theirs = studies.join_study("theirs", "sqlite:///study.db", ["tests"])
    arguments = theirs.argv(chosen, 0, "run")
    assert arguments[:2] == ["fit", "--foreign"] and theirs.hash == own.hash
    with pytest.raises(UntrustedNameError, match="ModelCheckpoint"):
        parsed(arguments, ["tests"])
