"""Runs on the hub, which is a folder here: what goes there, what comes back, and that loading runs nothing."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import pickle
import shutil
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import HfApi

import mbrl
from mbrl.cli import main
from mbrl.envs import OfflineData
from mbrl.errors import CheckpointError, ConfigError, HubError, RunFolderError, UntrustedNameError
from mbrl.models import GaussianEnsemble
from mbrl.training import Trainer
from mbrl.training.hub import from_hub, pack, pull, push_to_hub
from tests.training.toy import ToyPlanner, data, trainer

ALLOW = "tests.training.toy"


class LocalHub:
    """A folder that takes and gives files as the hub does, asked as `HfApi` is."""

    def __init__(self, root: Path, *, linked: bool = False) -> None:
        self.root = root
        self.linked = linked  # the hub's own cache holds links to files elsewhere
        self.private: bool | None = None

    def _check(self, method: str, *arguments: Any, **options: Any) -> None:
        inspect.signature(getattr(HfApi, method)).bind(self, *arguments, **options)

    def create_repo(self, *arguments: Any, **options: Any) -> str:
        self._check("create_repo", *arguments, **options)
        assert options["exist_ok"]
        self.private = options["private"]
        (self.root / arguments[0]).mkdir(parents=True, exist_ok=True)
        return f"https://hub/{arguments[0]}"

    def upload_folder(self, **options: Any) -> None:
        self._check("upload_folder", **options)
        place, source = self.root / options["repo_id"], Path(options["folder_path"])
        for path in [path for path in place.rglob("*") if path.is_file()]:
            if any(fnmatch(str(path.relative_to(place)), pattern) for pattern in options["delete_patterns"]):
                path.unlink()
        shutil.copytree(source, place, dirs_exist_ok=True)

    def snapshot_download(self, *arguments: Any, **options: Any) -> str:
        self._check("snapshot_download", *arguments, **options)
        source = self.root / arguments[0]
        if not source.is_dir():
            raise FileNotFoundError(f"404: no {arguments[0]}")
        place = Path(options["local_dir"] or self.root / "cache" / arguments[0])
        for path in [path for path in source.rglob("*") if path.is_file()]:
            name = path.relative_to(source)
            if any(fnmatch(str(name), pattern) for pattern in options["allow_patterns"]):
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                if self.linked and not (place / name).exists():
                    (place / name).symlink_to(path)
                elif not self.linked:
                    shutil.copyfile(path, place / name)
        return str(place)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "seed0"
    planner, source = ToyPlanner(), data(40)
    own = trainer(folder)
    own.fit(planner, source)
    own.test(planner, source, ckpt_path="last")
    return folder


@pytest.fixture
def hub(tmp_path: Path) -> LocalHub:
    return LocalHub(tmp_path / "hub")


def action(planner: Any) -> Any:
    return planner.predict(np.array([0.5, 0.1, 0.2], dtype=np.float32))


@pytest.mark.parametrize("linked", [False, True])
def test_what_is_pushed_acts_as_the_run_does(run: Path, tmp_path: Path, linked: bool) -> None:
    hub = LocalHub(tmp_path / "hub", linked=linked)
    assert push_to_hub(run, "user/toy", allow=ALLOW, client=hub) == "https://hub/user/toy"
    assert hub.private is False
    expected = action(mbrl.load_policy(run, ALLOW))
    assert np.array_equal(action(from_hub("user/toy", allow=ALLOW, client=hub)), expected)
    assert np.array_equal(action(from_hub("user/toy", folder=tmp_path / "here", allow=ALLOW, client=hub)), expected)
    assert mbrl.push_to_hub is push_to_hub and mbrl.from_hub is from_hub


def test_a_packed_run_acts_as_the_run_does_and_says_how(run: Path, hub: LocalHub, tmp_path: Path) -> None:
    push_to_hub(run, "user/toy", allow=ALLOW, client=hub)
    place = pack(run, tmp_path / "new" / "toy", allow=ALLOW)
    pushed = hub.root / "user/toy"
    names = sorted(str(path.relative_to(pushed)) for path in pushed.rglob("*") if path.is_file())
    assert sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()) == names
    for name in set(names) - {"README.md"}:
        assert (place / name).read_bytes() == (pushed / name).read_bytes()
    text = (place / "README.md").read_text()
    assert f'policy = mbrl.load("toy", allow=[{ALLOW!r}])' in text and "`mbrl play toy`" in text
    assert "hub" not in text.split("# ToyPlanner")[1]
    assert np.array_equal(action(mbrl.load_policy(place, ALLOW)), action(mbrl.load_policy(run, ALLOW)))
    with pytest.raises(RunFolderError, match=r"a new folder to pack a run into, but .*toy is there; give another"):
        pack(run, place, allow=ALLOW)
    with pytest.raises(UntrustedNameError):
        pack(run, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_command_packs(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--allow", ALLOW, "hub", "pack", str(run), str(tmp_path / "packed")]) == 0
    assert str(tmp_path / "packed") in capsys.readouterr().err
    assert (tmp_path / "packed" / "checkpoints" / "ckpt-40" / "model.pt").is_file()


def test_needed_files_only(run: Path, hub: LocalHub) -> None:
    push_to_hub(run, "user/toy", private=True, allow=ALLOW, client=hub)
    place = hub.root / "user/toy"
    assert sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()) == [
        "README.md",
        "checkpoints/ckpt-40/manifest.json",
        "checkpoints/ckpt-40/model.pt",
        "config.yaml",
        "test.json",
    ]
    assert hub.private is True
    assert (place / "checkpoints/ckpt-40/model.pt").read_bytes() == (run / "checkpoints/ckpt-40/model.pt").read_bytes()
    settings = yaml.safe_load((place / "config.yaml").read_text())
    assert "folder" not in settings["trainer"] and settings["data"]["init_args"]["steps"] == 40
    for path in place.rglob("*"):
        assert path.is_dir() or str(run).encode() not in path.read_bytes(), path


def test_the_card_says_what_the_run_measured(run: Path, hub: LocalHub) -> None:
    push_to_hub(run, "user/toy", allow=ALLOW, client=hub)
    text = (hub.root / "user/toy/README.md").read_text()
    _, about, body = text.split("---\n", 2)
    test = json.loads((run / "test.json").read_text())
    said = yaml.safe_load(about)
    assert said["pipeline_tag"] == "reinforcement-learning" and "Pendulum-v1" in said["tags"]
    (result,) = said["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == test["test/return"]
    low, high = test["test/return_low"], test["test/return_high"]
    assert f"| return | {test['test/return']:.1f} over 2 test episodes, 95 % interval [{low:.1f}, {high:.1f}] |" in body
    for part in (
        "# ToyPlanner on Pendulum-v1",
        "| real steps | 40 |",
        "| seed | 0 |",
        f"torch {torch.__version__}".split("+")[0],
    ):
        assert part in body, part
    assert "mbrl.from_hub(\"user/toy\", allow=['tests.training.toy'])" in body


def test_a_test_of_another_checkpoint_is_not_quoted(run: Path, hub: LocalHub, tmp_path: Path) -> None:
    other = tmp_path / "seed0"
    shutil.copytree(run, other)
    found = json.loads((other / "test.json").read_text())
    found["checkpoint"]["sha256"] = "0" * 64
    (other / "test.json").write_text(json.dumps(found))
    push_to_hub(run, "user/toy", allow=ALLOW, client=hub)
    push_to_hub(other, "user/toy", allow=ALLOW, client=hub)
    text = (hub.root / "user/toy/README.md").read_text()
    assert "model-index" not in text and "in the last evaluation of training; not tested on episodes of its own" in text
    assert not (hub.root / "user/toy/test.json").exists()  # the former push's went


def test_a_new_push_replaces_what_was_there(run: Path, hub: LocalHub, tmp_path: Path) -> None:
    push_to_hub(run, "user/toy", allow=ALLOW, client=hub)
    trainer(tmp_path / "b").fit(ToyPlanner(), data(20, seed=3))
    push_to_hub(tmp_path / "b", "user/toy", allow=ALLOW, client=hub)
    assert np.array_equal(
        action(from_hub("user/toy", allow=ALLOW, client=hub)), action(mbrl.load_policy(tmp_path / "b", ALLOW))
    )


def test_pulling_again_renews_a_folder(run: Path, hub: LocalHub, tmp_path: Path) -> None:
    here = tmp_path / "here"
    push_to_hub(run, "user/toy", allow=ALLOW, client=hub)
    pull("user/toy", folder=here, client=hub)
    (here / "mine.txt").touch()
    trainer(tmp_path / "b").fit(ToyPlanner(), data(20, seed=3))
    push_to_hub(tmp_path / "b", "user/toy", allow=ALLOW, client=hub)  # of fewer steps, and without a test
    found = from_hub("user/toy", folder=here, allow=ALLOW, client=hub)
    assert np.array_equal(action(found), action(mbrl.load_policy(tmp_path / "b", ALLOW)))
    assert sorted(path.name for path in here.iterdir()) == [
        ".mbrl_hub", "README.md", "checkpoints", "config.yaml", "mine.txt",
    ]  # fmt: skip
    assert [path.name for path in (here / "checkpoints").iterdir()] == ["ckpt-20"]


def test_a_pull_that_breaks_off_leaves_the_folder(run: Path, hub: LocalHub, tmp_path: Path) -> None:
    class Breaks(LocalHub):
        def snapshot_download(self, *arguments: Any, **options: Any) -> str:
            super().snapshot_download(*arguments, **options)
            raise ConnectionError("gone")

    push_to_hub(run, "user/toy", allow=ALLOW, client=hub)
    with pytest.raises(HubError, match="gone"):
        pull("user/toy", folder=tmp_path / "new" / "here", client=Breaks(hub.root))
    assert not list((tmp_path / "new").iterdir())
    pull("user/toy", folder=tmp_path / "new" / "here", client=hub)


@pytest.mark.parametrize("text", ["[", "[1]", "a: \x00"])
def test_settings_that_are_none_are_not_pushed(run: Path, hub: LocalHub, tmp_path: Path, text: str) -> None:
    shutil.copytree(run, tmp_path / "seed0")
    (tmp_path / "seed0/config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml: expected (YAML|a mapping)"):
        push_to_hub(tmp_path / "seed0", "user/toy", allow=ALLOW, client=hub)
    assert not (hub.root / "user/toy").exists()


def test_the_best_checkpoint_can_be_pushed(hub: LocalHub, tmp_path: Path) -> None:
    trainer(tmp_path / "a", keep_best=True).fit(ToyPlanner(), data(60))
    (best,) = (tmp_path / "a/checkpoints").glob("best-*")
    push_to_hub(tmp_path / "a/best", "user/toy", allow=ALLOW, client=hub)
    (there,) = (hub.root / "user/toy/checkpoints").iterdir()
    assert there.name == best.name.replace("best", "ckpt")
    from_hub("user/toy", allow=ALLOW, client=hub)


def test_loading_runs_nothing(run: Path, hub: LocalHub, tmp_path: Path) -> None:
    push_to_hub(run, "user/toy", allow=ALLOW, client=hub)
    with pytest.raises(UntrustedNameError, match=r"tests\.training\.toy"):
        from_hub("user/toy", client=hub)  # whatever the card says
    with pytest.raises(UntrustedNameError):
        push_to_hub(run, "user/other", client=hub)
    assert not (hub.root / "user/other").exists()

    class Harm:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'harm'}",)

    model = next((hub.root / "user/toy").rglob("model.pt"))
    model.write_bytes(pickle.dumps(Harm(), protocol=2))
    with pytest.raises(CheckpointError, match="missing or damaged"):
        from_hub("user/toy", allow=ALLOW, client=hub)
    manifest = model.with_name("manifest.json")
    changed = json.loads(manifest.read_text())
    changed["files"]["model.pt"]["sha256"] = hashlib.sha256(model.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(changed))
    with pytest.raises(CheckpointError, match="tensors and plain data"):
        from_hub("user/toy", allow=ALLOW, client=hub)
    assert not (tmp_path / "harm").exists()


def test_other_files_of_a_repository_stay_there(run: Path, hub: LocalHub, tmp_path: Path) -> None:
    push_to_hub(run, "user/toy", allow=ALLOW, client=hub)
    (hub.root / "user/toy/evil.py").write_text("raise SystemExit")
    (hub.root / "user/toy/checkpoints/ckpt-40/evil.pt").write_text("")
    place = pull("user/toy", folder=tmp_path / "here", client=hub)
    assert not list(place.rglob("evil*"))


def test_a_copy_without_buffers_does_not_train_on(run: Path, hub: LocalHub, tmp_path: Path) -> None:
    push_to_hub(run, "user/toy", allow=ALLOW, client=hub)
    place = pull("user/toy", folder=tmp_path / "here", client=hub)
    with pytest.raises(CheckpointError, match="with its replay buffers, but it is a copy without"):
        trainer(place).fit(ToyPlanner(), data(60), ckpt_path="last")
    assert (place / "checkpoints/ckpt-40/model.pt").exists()
    metrics = trainer(place).test(ToyPlanner(), data(40), ckpt_path="last")
    assert metrics["test/return"] == json.loads((run / "test.json").read_text())["test/return"]


def test_a_folder_with_something_else_is_refused(run: Path, hub: LocalHub, tmp_path: Path) -> None:
    push_to_hub(run, "user/toy", allow=ALLOW, client=hub)
    for _ in range(2):  # a second time brings what is new
        pull("user/toy", folder=tmp_path / "here", client=hub)
    with pytest.raises(RunFolderError, match=r"expected an empty folder for user/toy, but .* holds something else"):
        pull("user/toy", folder=run, client=hub)
    push_to_hub(run, "user/second", allow=ALLOW, client=hub)
    with pytest.raises(RunFolderError, match="expected an empty folder for user/second"):
        pull("user/second", folder=tmp_path / "here", client=hub)


@pytest.mark.parametrize(
    "name", ["toy", "", "a/b/c", "../x/y", "user/..", "user/", "https://hub/a/b", 3, "a b/c", "user/t\n"]
)
def test_what_is_no_repository_is_refused(name: Any, run: Path, hub: LocalHub) -> None:
    for ask in (lambda: from_hub(name, client=hub), lambda: push_to_hub(run, name, allow=ALLOW, client=hub)):
        with pytest.raises(ConfigError, match=r"expected a repository of the hub as user/name, got"):
            ask()


def test_a_hub_that_fails_says_what_to_do(run: Path, hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HubError, match=r"expected the hub to answer for user/none, got FileNotFoundError .*hf auth login"):
        from_hub("user/none", client=hub)
    real = HfApi(endpoint="http://127.0.0.1:9", token="none")  # where nobody listens
    with pytest.raises(HubError, match=r"got ConnectError .*check name and network"):
        push_to_hub(run, "user/none", allow=ALLOW, client=real)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"expected huggingface_hub .* pip install 'mbrl-toolkit\[hub\]'"):
        from_hub("user/none")


def test_a_model_fitted_alone_goes_there_too(hub: LocalHub, tmp_path: Path) -> None:
    rows = tmp_path / "rows.npz"
    assert main(["collect", "--env_id", "Pendulum-v1", "--steps", "60", str(rows)]) == 0
    model = GaussianEnsemble(members=2, elites=2, hidden=[4])
    Trainer(tmp_path / "m", progress=False, tensorboard=False, max_epochs=1).fit(
        model, OfflineData(str(rows), env_id="Pendulum-v1")
    )
    push_to_hub(tmp_path / "m", "user/model", client=hub)
    found = from_hub("user/model", client=hub)
    assert isinstance(found, GaussianEnsemble)
    text = (hub.root / "user/model/README.md").read_text()
    assert (
        "# GaussianEnsemble on Pendulum-v1" in text and "| model | `GaussianEnsemble` |" in text and "| return |" not in text
    )


def test_the_command(
    run: Path, hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda **options: hub)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    allow = ["--allow", ALLOW]
    assert main([*allow, "hub", "push", str(run), "user/toy"]) == 0
    assert "the run is at https://hub/user/toy" in capsys.readouterr().err
    assert main([*allow, "hub", "pull", "user/toy"]) == 0
    assert "the run is in runs/toy/hub: mbrl test runs/toy/hub" in capsys.readouterr().err
    assert main([*allow, "test", "runs/toy/hub"]) == 0
    assert main(["hub", "pull", "user/toy", "--folder", "other"]) == 2
    assert "--allow" in capsys.readouterr().err
    assert main([*allow, "hub", "pull", "user/none", "--folder", "third"]) == 2
    assert main(["hub"]) == 2
