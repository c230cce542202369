"""`--preset`: shipped settings by name, with their base, and what is said of names that don't fit."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest
import yaml

from mbrl.cli import main
from mbrl.errors import ConfigError
from mbrl.options.presets import FOLDER, evidence, first_line, names, needs, searches, shipped, with_presets
from mbrl.options.search import parse
from mbrl.search.file.search_file import read_search_file

ROOT = Path(__file__).parents[2]


def files(*arguments: str) -> list[str]:
    """The presets in the place of arguments, as paths below the folder."""
    return [argument.removeprefix(f"{FOLDER}/") for argument in with_presets(arguments)]


def test_a_preset_finds_its_base() -> None:
    assert files("--preset", "mbpo/pendulum") == ["--config", "base/mbpo.yaml", "--config", "mbpo/pendulum.yaml"]
    assert files("--preset=mbpo/pendulum") == files("--preset", "mbpo/pendulum")
    assert files("--preset", "ensemble/dataset") == ["--config", "ensemble/dataset.yaml"], "one that stands alone"
    assert files("--preset", "offline") == ["--config", "base/offline.yaml"], "a base for a task of one's own"
    chain = ["base/mbpo.yaml", "mbpo/pendulum.yaml", "sindy/dyna_pendulum.yaml"]
    assert files("--preset", "sindy/dyna_pendulum")[1::2] == chain, "a base that has one"


def test_what_goes_over_it_and_its_place_among_arguments() -> None:
    later = ("--config", "mine.yaml", "--data.init_args.seed", "3")
    given = files("--name", "a", "--preset", "mbpo/hopper,coplanner/both", *later)
    assert given == [
        "--name", "a", "--config", "base/mbpo.yaml", "--config", "mbpo/hopper.yaml", "--config", "coplanner/both.yaml",
        "--config", "mine.yaml", "--data.init_args.seed", "3",
    ]  # fmt: skip
    assert files("--preset", "mbpo/hopper", "--preset", "debug")[-1] == "debug.yaml"
    assert files("--preset", "mbpo, debug")[1::2] == ["base/mbpo.yaml", "debug.yaml"]
    assert files("--config", "mine.yaml", "--preset", "models/single")[-1] == "models/single.yaml", "over one's own"
    assert files("--config", "a.yaml", "--x") == ["--config", "a.yaml", "--x"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("mbpo/hoper", r"got mbpo/hoper; did you mean mbpo/hopper"),
        ("hopper", r"got hopper; did you mean .*mbpo/hopper"),
        ("nonsense", r"got nonsense; mbrl presets lists them"),
        ("", "got nothing"),
        ("mbpo/hopper,", "got nothing"),
        ("../setup", r"expected the name of a preset, got \.\./setup"),
        ("search/offline", "expected the name of a preset, got search/offline"),
        ("presets", "expected the name of a preset, got presets"),
        ("coplanner/both", r"goes over, of mbpo/… or mbpo_dmc/…, got none; give --preset mbpo/\w+,coplanner/both, say"),
        ("pets/pendulum,coplanner/both", r"of mbpo/… or mbpo_dmc/…, got pets/pendulum; give --preset mbpo/"),
        ("mbpo/hopper,models/blend", r"of mbpo/pendulum or pets/pendulum or pets/pendulum_20hz, got mbpo/hopper"),
        (
            "coplanner/both,mbpo/hopper",
            r"coplanner/both: expected a preset before it that it .*, got none before mbpo/hopper; "
            r"give --preset mbpo/hopper,coplanner/both\.$",
        ),
        ("debug,sac,mbpo", r"debug: .*got none before mbpo; give --preset mbpo,debug\.$"),
        ("coplanner/both,pets/pendulum", r"got none; give --preset mbpo/\w+,coplanner/both, say"),
        ("mbpo/hopper,mbpo/pendulum", r"mbpo/pendulum: expected one preset, and what goes over it, got mbpo/hopper before"),
    ],
)
def test_names_that_do_not_fit(asked: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=told):
        with_presets(["--preset", asked])
    assert main(["fit", "--preset", asked]) == 2
    assert capsys.readouterr().err.startswith("mbrl: --preset")


def test_the_right_order_of_several_options_is_said() -> None:
    with pytest.raises(ConfigError, match=r"got none before mbpo/hopper; give --preset mbpo/hopper,sac\.$"):
        with_presets(["--preset=sac", "--name", "a", "--preset", "debug,mbpo/hopper"])
    with pytest.raises(ConfigError, match=r"got none before --config; put --preset sac behind it\.$"):
        with_presets(["--preset", "sac", "--config=mine.yaml"])


def test_every_file_is_listed_described_and_shipped() -> None:
    shipped = configparser.ConfigParser()
    shipped.read(ROOT / "setup.cfg")
    patterns = [line for line in shipped["options.package_data"]["mbrl"].split() if line.startswith("configs/")]
    travelling = {path for pattern in patterns for path in FOLDER.parent.glob(pattern)}
    assert set(FOLDER.rglob("*")) - {path for path in FOLDER.rglob("*") if path.is_dir()} == travelling
    assert len(names()) == len({*names()}) == len(travelling) - len(list(FOLDER.glob("search/*"))) - 1
    for name in names():
        assert 5 < len(first_line(name)) < 200, name
        assert files("--config", "mine.yaml", "--preset", name)[-1].endswith(f"{name}.yaml")


def test_the_table_names_what_there_is() -> None:
    table = yaml.safe_load((FOLDER / "presets.yaml").read_text())
    assert set(table) == {"needs", "evidence"} and set(table["evidence"]) <= set(names())
    for name, wanted in table["needs"].items():
        assert name in names() or (FOLDER / name).is_dir()
        for each in [wanted["base"]] if "base" in wanted else wanted["over"]:
            assert each.removeprefix("base/") in names() or (FOLDER / each).is_dir()
    for name in names():
        folder = name.partition("/")[0]
        alone = "/" not in name or folder == "ensemble"
        assert alone or needs(name), f"{name}: say what is under it"
        if over := needs(name).get("over"):
            first = next(each for each in names() if each == over[0] or each.startswith(f"{over[0]}/"))
            assert files("--preset", f"{first},{name}")[-1] == f"{name}.yaml"


def test_the_page_of_runs_lists_every_preset_with_its_evidence() -> None:
    page = (Path(__file__).parents[2] / "benchmarks/learning/README.md").read_text()
    rows = page.partition("## Every preset")[2].strip().splitlines()[4:]
    assert rows == [f"| `{name}` | {evidence(name)} |" for name in names()]


def test_the_list_says_evidence_or_that_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n{name}\n" in f"\n{text}" for name in names())
    assert "seeds 0 to 2: -171, -140, -137 in 4.3, 3.9, 5.1 core-minutes" in text and "not run" in text
    assert evidence("mbpo/ant") == "not run"
    assert main(["presets", "pets"]) == 0
    assert "mbpo/" not in capsys.readouterr().out
    assert main(["presets", "petz"]) == 2
    assert "expected a folder of presets, got petz; choose of " in capsys.readouterr().err


def test_a_run_by_name_is_that_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a folder without any of them."""
    monkeypatch.chdir(tmp_path)
    small = {
        "model": {"init_args": {"learner": {"init_args": {"hidden": [4]}}, "warmup_steps": 30, "updates_per_step": 1}},
        "data": {"init_args": {"steps": 40, "eval_episodes": 1}},
        "trainer": {"tensorboard": False, "progress": False, "folder": "run"},
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(small))
    assert main(["fit", "--preset", "mbpo/pendulum,sac", "--config", "small.yaml"]) == 0
    made = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert made["data"]["init_args"]["env_id"] == "Pendulum-v1" and made["model"]["init_args"]["dynamics"] is None
    assert main(["test", "--ckpt_path", "run", "--episodes", "1"]) == 0


def test_shipped_searches_need_no_clone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for asked in ("mbpo_pendulum", "configs/search/mbpo_pendulum.yaml"):
        found = read_search_file(parse("search check", [asked]).search)
        paths = [argument for argument in found.argv(found.space.start(), 0, "run") if argument.endswith(".yaml")]
        assert paths == [str(FOLDER / "base/mbpo.yaml"), str(FOLDER / "mbpo/pendulum.yaml")]
        assert found.config == ("configs/base/mbpo.yaml", "configs/mbpo/pendulum.yaml"), "a study holds the names"
    (tmp_path / "mbpo_pendulum").write_text("mine")
    assert parse("search run", ["mbpo_pendulum"]).search == "mbpo_pendulum", "one's own comes first"
    (tmp_path / "configs/base").mkdir(parents=True)
    (tmp_path / "configs/base/mbpo.yaml").write_text("model: {}")
    assert shipped("configs/base/mbpo.yaml") == "configs/base/mbpo.yaml"
    assert main(["search", "check", "no_such"]) == 2
    assert "no_such: expected a YAML file" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse("search check", ["--help"])
    told = capsys.readouterr().out
    assert all(name in told for name in searches())
