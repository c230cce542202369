"""`--seeds` and `--workers`: what they take, and what they don't go with."""

from __future__ import annotations

import pytest

from mbrl.errors import ConfigError
from mbrl.options.fit import parse
from mbrl.options.seeds import cores, seeds_of


def test_seeds_are_a_list_or_a_range() -> None:
    assert seeds_of("0..4") == [0, 1, 2, 3, 4]
    assert seeds_of("0,3,7") == [0, 3, 7]
    assert seeds_of("2, 5..6") == [2, 5, 6]
    assert seeds_of("9") == [9] and seeds_of("4294967295") == [2**32 - 1]


@pytest.mark.parametrize("text", ["", "a", "4..0", "-1", "0...4", "0..", "1,,2", "4294967296", "0-4", "1.5", "٣"])
def test_what_names_no_seeds_is_refused(text: str) -> None:
    with pytest.raises(
        ConfigError, match=r"--seeds: expected whole numbers from 0 to 4294967295, such as 0\.\.4 or 0,3,7, got"
    ):
        seeds_of(text)


def test_seeds_that_come_twice_or_are_too_many_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected each seed once, got 0\.\.2,1"):
        seeds_of("0..2,1")
    for many in ("0..1000", "0..999,1000", "0..4000000000"):
        with pytest.raises(ConfigError, match="expected at most 1000 seeds"):
            seeds_of(many)
    assert len(seeds_of("0..999")) == 1000


def test_the_options_are_taken_off_wherever_they_stand() -> None:
    given = parse("fit", ["--seeds", "0..1", "--config", "a.yaml", "--workers=1", "--name", "b"])
    assert given.arguments == ["--config", "a.yaml", "--name", "b"]
    assert (given.seeds, given.workers, given.module) == ([0, 1], 1, "mbrl.analysis.commands.seeds")
    alone = parse("fit", ["--config", "a.yaml"])
    assert alone.arguments == ["--config", "a.yaml"] and not hasattr(alone, "seeds") and not hasattr(alone, "module")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--workers", "1"], "--workers: expected --seeds beside it"),
        (
            ["--seeds", "0", "--workers", "0"],
            f"--workers: expected a whole number from 1 to {cores()}, the cores here, got 0",
        ),
        (["--seeds", "0", "--workers", str(cores() + 1)], f"got {cores() + 1}; each seed takes a core"),
        (["--seeds", "0", "--workers"], "got nothing"),
        (["--seeds"], "got nothing"),
        (["--seeds", "0", "--seeds=1"], "--seeds: expected it once, got it twice"),
        (["--seeds", "0", "--ckpt_path", "last"], "expected no --ckpt_path beside it, which is of one run; leave it out"),
        (["--seeds", "0", "--trainer.folder=x"], "expected no --trainer.folder beside it, which is of one run; give --name"),
        (["--seeds", "0", "--seed_everything", "1"], "expected no --seed_everything beside it"),
        (["--seeds", "0", "--data.init_args.seed", "1"], "expected no --data.init_args.seed beside it"),
        (["--seeds", "0", "--print_config"], "leave --seeds out to see the settings"),
    ],
)
def test_what_belongs_to_one_run_is_refused(arguments: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse("fit", ["--config", "a.yaml", *arguments])
    assert told in str(refused.value)


def test_help_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("fit", ["--seeds", "0", "--help"])
    said = capsys.readouterr().out
    assert "--seeds SEEDS" in said and "--workers N" in said
    with pytest.raises(SystemExit):
        parse("validate", ["--config", "a.yaml", "--help"])
    assert "--seeds" not in capsys.readouterr().out
