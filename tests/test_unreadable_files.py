"""No file that is empty, cut off or of another kind, and no path that isn't what was meant, ends in a traceback."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from matplotlib.figure import Figure

from mbrl.analysis.runs.aggregates import score_statistics
from mbrl.cli import main
from mbrl.envs import collect, make_task
from mbrl.training.products.curve import draw_curve
from tests.training.toy import ToyPlanner, data, trainer

CONFIG = {
    "model": {"class_path": "tests.training.toy.ToyPlanner"},
    "data": {
        "class_path": "mbrl.envs.OnlineData",
        "init_args": {
            "env_id": "Pendulum-v1", "env_kwargs": {"max_episode_steps": 25}, "steps": 30, "eval_episodes": 1,
            "test_episodes": 2,
        },
    },
    "trainer": {"progress": False, "tensorboard": False, "eval_every": 20},
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, a dataset and configurations, good and bad."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("files")
    trainer(folder / "run").fit(ToyPlanner(), data(20))
    collect(make_task("Pendulum-v1"), str(folder / "rows.npz"), steps=10)
    (folder / "good.yaml").write_text(yaml.safe_dump(CONFIG))
    (folder / "seeded.yaml").write_text(yaml.safe_dump({**CONFIG, "seed_everything": 5}))
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here/folder").mkdir()
    (tmp_path / "here/file").write_text("x")
    return tmp_path / "here"


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The sentence with which a command ends."""
    capsys.readouterr()
    assert main(["--allow", "tests", *arguments]) == 2
    written = capsys.readouterr().err
    assert "Traceback" not in written
    return written


BAD: dict[str, tuple[bytes | None, str]] = {
    "utf16": (yaml.safe_dump(CONFIG).encode("utf-16"), r"expected a YAML file in UTF-8, got .*; save it in that encoding"),
    "latin": ("name: café".encode("latin-1"), "expected a YAML file in UTF-8"),
    "broken": (b"model: [1,\n  b: }", "expected YAML, got while parsing"),
    "nul": (b"a\0b: 1", "expected YAML, got unacceptable character"),
    "list": (b"- 1\n", "expected a mapping of keys to values, got list"),
    "empty": (b"", "expected a mapping of settings, got an empty file"),
    "nothing": (None, "expected a YAML file, got bad.yaml, which is nothing that is there"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("form", ["--config", "--config="])
def test_a_bad_configuration_among_several_is_named(
    kind: str, form: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, told = BAD[kind]
    if content is not None:
        Path("bad.yaml").write_bytes(content)
    bad = [f"{form}bad.yaml"] if form.endswith("=") else [form, "bad.yaml"]
    error = refused(capsys, "fit", "--config", "good.yaml", *bad)
    assert "bad.yaml" in error and re.search(told, error)
    if content is not None:
        assert "bad.yaml" in refused(capsys, "search", "run", "bad.yaml")


def test_a_folder_in_place_of_a_configuration(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "expected a YAML file, got folder, which is a folder" in refused(capsys, "fit", "--config", "folder")


@pytest.mark.parametrize("zero", ["--data.init_args.seed=0", "--data.seed=0"])
def test_a_seed_on_the_command_line_beside_one_in_the_file(
    zero: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = "seed_everything: expected the value of data.init_args.seed, which is {}, got 5; leave one out"
    assert told.format(0) in refused(capsys, "fit", "--config", "seeded.yaml", zero)
    assert told.format(3) in refused(capsys, "fit", "--config", "seeded.yaml", "--data.init_args.seed", "3")


def test_a_forgotten_ending(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("rows", str(here / "rows")):
        assert f"did you mean {name}.npz." in refused(capsys, "predict", "--ckpt_path", "run", "--dataset", name)
    for name in ("new", "out/new", str(here / "new")):
        error = refused(capsys, "collect", name, "--env_id", "Pendulum-v1", "--steps", "5")
        assert f"{name}: expected a file that ends in .npz, or the id of a Minari dataset such as" in error


DATASETS: dict[str, Callable[[Path], Any]] = {
    "empty.npz": lambda path: path.touch(),
    "cut.npz": lambda path: path.write_bytes(Path("rows.npz").read_bytes()[:300]),
    "folder.npz": lambda path: path.mkdir(),
    "empty.hdf5": lambda path: path.touch(),
    "cut.hdf5": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 20),
    "minari-empty": lambda path: _metadata(path, b""),
    "minari-cut": lambda path: _metadata(path, b"{"),
    "minari-utf16": lambda path: _metadata(path, b"\xff\xfe"),
    "minari-list": lambda path: _metadata(path, b"[]"),
    "folder": lambda path: None,
    "file": lambda path: None,
}


def _metadata(path: Path, content: bytes) -> None:
    (path / "data").mkdir(parents=True)
    (path / "data/metadata.json").write_bytes(content)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # numpy's, of the zip that it gave up
@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_that_is_none(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    DATASETS[name](Path(name))
    assert f"{name}: expected" in refused(capsys, "predict", "--ckpt_path", "run", "--dataset", name)


CONTENTS: dict[str, Callable[[Path], Any]] = {
    "empty": lambda path: path.touch(),
    "cut": lambda path: path.write_bytes(b'{"a":'),
    "bytes": lambda path: path.write_bytes(b"\xff\xfe\0\0"),
    "lines": lambda path: path.write_bytes(b"[]\n3\nnull\n"),
    "folder": lambda path: path.mkdir(),
    "dangling": lambda path: path.symlink_to("/nonexistent"),
    "circle": lambda path: path.symlink_to(path.name),
}
OF_A_RUN = ("config.yaml", "metrics.jsonl", "summary.json", "test.json", *(
    f"checkpoints/ckpt-20/{name}" for name in ("manifest.json", "model.pt", "buffer-real.pt")
))  # fmt: skip


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("name", OF_A_RUN)
def test_a_damaged_run_folder(name: str, content: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("run", name)
    path.unlink(missing_ok=True)
    CONTENTS[content](path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lost metrics, which are told
        for arguments in (
            ["plot", "run"],
            ["test", "--ckpt_path", "run", "--episodes", "1"],
            ["fit", "--config", "good.yaml", "--trainer.folder", "run", "--ckpt_path", "last"],
        ):
            capsys.readouterr()
            code = main(["--allow", "tests", *arguments])
            told = capsys.readouterr().err
            assert code == 0 or (code == 2 and "expected" in told), (arguments[0], told)
            if arguments[0] == "fit" and name.startswith("checkpoints"):
                assert code == 2 and Path("run/metrics.jsonl").read_text().count("\n") == 2


@pytest.mark.parametrize(
    "content",
    [b"hello\nworld\n", b"\xff\xfe\n", b"{}\n[]\n3\n", b'{"op_code": 99}\n'],
    ids=["text", "bytes", "json", "code"],
)
def test_a_journal_that_is_none(content: bytes, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("notes.txt").write_bytes(content)
    error = refused(capsys, "search", "status", "x", "--storage", "journal://notes.txt")
    assert "--storage: expected Optuna's journal at journal://notes.txt, got another file" in error
    assert Path("notes.txt").read_bytes() == content


def test_a_path_that_leads_through_a_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    through = ["--ckpt_path", "run", "--dataset", "rows.npz"]
    for arguments in (
        ["fit", "--config", "good.yaml", "--trainer.folder", "file"],
        ["fit", "--config", "good.yaml", "--trainer.folder", "file/run"],
        ["collect", "file/rows.npz", "--env_id", "Pendulum-v1", "--steps", "5"],
        ["predict", *through, "--output", "file/new.npz"],
        ["test", "--ckpt_path", "run", "--folder", "file"],
        ["test", "--ckpt_path", "file"],
        ["plot", "file"],
        ["report", "--ckpt", "run", "--data", "rows.npz", "--out", "file"],
        ["search", "status", "x", "--storage", "sqlite:///folder"],
        ["search", "status", "x", "--storage", "journal://folder"],
        ["search", "run", "folder"],
    ):
        assert "expected" in refused(capsys, *arguments), arguments


# names in figures --------------------------------------------------------------------------------------------------------


def test_dollars_in_names_are_dollars(tmp_path: Path) -> None:
    """As a formula `$\\frac$` is none, and savefig would end in a traceback."""
    name = r"a$\frac$b"
    lines = [{"env_steps": 10, "eval/return": 1.0}, {"env_steps": 20, "eval/return": 2.0}]
    assert draw_curve(lines, tmp_path / "curve.png", name)
    generator = torch.Generator().manual_seed(0)
    figure: Figure = score_statistics({name: {name: [1.0, 2.0]}}, generator=generator, resamples=10).plot()
    figure.savefig(tmp_path / "aggregates.png")


def test_a_run_with_dollars_is_plotted(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", r"x$\frac$y=run", "--out", "curves.png"]) == 0
    assert Path("curves.png").stat().st_size > 1000


def test_the_control_suite_is_installed_with_a_mujoco_that_it_knows() -> None:
    setup = ConfigParser()
    setup.read(Path(__file__).parents[1] / "setup.cfg")
    assert "mujoco<4" in setup["options.extras_require"]["dmc"].split()
