"""Returns by decision length, from Python and by `mbrl test --frequencies`."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import stats

import mbrl
from mbrl.analysis import decision_frequencies, fas
from mbrl.analysis.commands.test import _lengths
from mbrl.analysis.frequencies.fas import STANDARD_LENGTHS
from mbrl.cli import main
from mbrl.data import derived_seed
from mbrl.envs import VectorExperience, make_task
from mbrl.errors import ConfigError, NotBuiltError
from mbrl.models import NextObsNetwork
from mbrl.models.closed_form import Pendulum
from mbrl.planners import PETS, SRL, Dyna, FixedPolicy, RandomShooting, evaluate
from mbrl.policies import SAC, SequenceSAC
from mbrl.testing import linear_task
from tests.training.toy import data, trainer

TASK = make_task("Pendulum-v1", {"max_episode_steps": 25})


def policy(task: Any = TASK) -> FixedPolicy:
    planner = FixedPolicy(SAC(hidden=[8]))
    planner.build(task, 3)
    return planner


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "frequencies.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_length_has_its_return_decisions_and_times() -> None:
    assert list(decision_frequencies(policy(), range(2, 4), episodes=1).returns()) == [2, 3]
    found = decision_frequencies(policy(), [8, 1, 3], random=(2, 4), episodes=3)
    table = found.table()
    assert table["steps_per_decision"] == [1, 3, 8, "2:4"]
    assert table["decisions"][:3] == [25, 9, 4] and 25 / 4 <= table["decisions"][3] <= 13  # 25 isn't a multiple of 3 or 8
    once, longer = decision_frequencies(policy(), [25, 1000], episodes=3).returns().values()
    assert once == longer  # one decision in an episode
    assert table["length_steps"] == [25] * 4 and table["beyond_training"] == [False, True, True, True]
    assert all(took > 0 for took in table["ms_per_decision"][:3]) and table["ms_per_decision"][3] is None
    assert table["ms_per_action"][2] == table["ms_per_decision"][2] / 8
    assert len(set(table["return"])) == 4 and list(found.returns()) == [1, 3, 8]
    scale = (1350.0, 1550.0)
    assert found.score() is None  # these aren't the lengths that it is defined on
    span: Any = "span"
    assert found.score(span=True) == fas([1, 3, 8], table["return"][:3], *scale, divisor=span)
    assert found.summary()["random_return"] == table["return"][3]
    assert found.notes[-1] == "Beyond training: 3, 8, 2:4; a decision spans 1 primitive step in training."
    again = decision_frequencies(policy(), [3], episodes=3)
    assert again.returns()[3] == found.returns()[3]  # the same episodes, alone too
    assert again.notes[0] == "No score: it takes two lengths at least."


@pytest.mark.parametrize("episodes", [3, 12])
def test_lengths_are_compared_with_a_look_at_each_step_episode_by_episode(episodes: int) -> None:
    """Of more than ten episodes an environment plays the next where one ends, here at one time for all lengths."""
    found = decision_frequencies(policy(), [5, 1, 25], random=(2, 4), episodes=episodes)
    table = found.table()
    once = found.frequencies[0].episodes.returns
    assert [table[name][0] for name in ("difference", "difference_low", "difference_high")] == [None] * 3
    assert found.random is not None
    for place, one in enumerate((*found.frequencies[1:], found.random), 1):
        gaps = one.episodes.returns - once
        low, high = stats.t.interval(0.95, episodes - 1, gaps.mean(), stats.sem(gaps))
        assert table["difference"][place] == pytest.approx(table["return"][place] - table["return"][0], abs=1e-9)
        assert (table["difference_low"][place], table["difference_high"][place]) == pytest.approx((low, high), abs=1e-9)
    said = found.lines()
    assert said[0].count("95 % interval") == 2 and "- r(1)" in said[0] and max(map(len, said)) <= 80
    alone = decision_frequencies(policy(), [5, 25], episodes=2).table()
    assert alone["difference"] == [None, None], "nothing looked at each step"


def test_all_lengths_of_the_score_have_one_and_each_scale_is_ones_own() -> None:
    found = decision_frequencies(policy(), episodes=1)
    r = found.returns()
    assert tuple(r) == STANDARD_LENGTHS
    assert found.score() == fas(list(r), list(r.values()), 1350.0, 1550.0)
    assert found.score(span=True) == pytest.approx(found.score() * 30 / 29)  # type: ignore[operator]
    assert "fas_span" in found.in_short()[0] and "returns + 1550 in units of 1350" in found.in_short()[0]
    own = decision_frequencies(policy(), [1, 2], episodes=1, max_return=10.0, offset=-2.0)
    assert own.score(span=True) == pytest.approx(sum(own.returns().values()) / 20 - 0.2)
    walk = linear_task()
    nobodys = decision_frequencies(policy(walk), [1, 2], episodes=1)
    assert nobodys.score(span=True) is None and "no known scale of returns; give max_return" in nobodys.notes[0]


@pytest.mark.parametrize("repeat", [1, 4])
def test_lengths_count_primitive_steps_whatever_the_training_repeated(repeat: int) -> None:
    """A held action is the same action, held by training's environments or by this evaluation: one clock for both."""
    task = make_task("Pendulum-v1", {"max_episode_steps": 25}, action_repeat=repeat)
    found = decision_frequencies(policy(task), [1, 4], episodes=2, seed=7)
    alone = decision_frequencies(policy(), [1, 4], episodes=2, seed=7)
    assert found.returns() == alone.returns()
    assert found.trained_length == repeat and found.table()["length_steps"] == [25, 25]
    assert found.table()["beyond_training"] == [False, repeat < 4]


def test_an_episode_that_nothing_ends_is_cut_at_the_limit_in_primitive_steps() -> None:
    endless = linear_task(ends=False, time_limit=None)
    short = replace(endless, env_kwargs={"ends": False, "max_episode_steps": -1}, action_repeat=2, known_reward=None)
    for task in (endless, short):
        assert decision_frequencies(policy(task), [3], episodes=1, limit=20).table()["length_steps"] == [20]


def test_pets_plays_its_plan_and_is_marked_beyond_its_horizon() -> None:
    planner = PETS(Pendulum(), RandomShooting(4), horizon=3, warmup_steps=0)
    planner.build(TASK)
    found = decision_frequencies(planner, [3, 4], episodes=1)
    assert found.trained_length == 3 and found.table()["beyond_training"] == [False, True]
    assert found.table()["decisions"] == [9, 7]


def test_srl_plays_its_sequences_and_its_own_length_is_its_test() -> None:
    planner = SRL(NextObsNetwork(hidden=[4]), SequenceSAC(length=4, hidden=[8, 8]))
    planner.build(TASK, 3)
    found = decision_frequencies(planner, [1, 4, 6], episodes=2)
    assert found.table()["beyond_training"] == [False, False, True] and found.table()["decisions"] == [25, 7, 5]
    experience = VectorExperience(TASK, 2, seed=0)
    plain = evaluate(planner, experience, 2, derived_seed(3, "test"))
    experience.close()
    assert plain.returns.mean().item() == found.returns()[4]
    assert plain.decisions is not None and plain.decisions.tolist() == [7, 7]  # it looks as often on its own


def test_the_planner_is_left_as_it_was() -> None:
    planner = Dyna(None, SAC(hidden=[8]))
    planner.build(TASK)
    planner.train()
    before = {name: value.clone() for name, value in planner.named_parameters()}
    decision_frequencies(planner, [2], random=[1, 2], episodes=1)
    assert planner.training and planner.env_steps == 0
    assert all(torch.equal(value, before[name]) for name, value in planner.named_parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lengths": [0]}, r"lengths=…\): expected a list of at least 1, each a whole number from 1 to 100000"),
        ({"lengths": [1, 2.5]}, r"lengths=…\): expected a list of at least 1, each a whole number from 1 to 100000"),
        ({"lengths": [1, 100_001]}, r"lengths=…\): expected a list of at least 1, each a whole number from 1 to 100000"),
        ({"lengths": []}, r"lengths=…\): expected"),
        ({"lengths": [2, 2]}, r"lengths=…\): expected no two alike, got \[2, 2\]; name each once"),
        ({"random": [4, 3]}, r"random=…\): expected a shortest and a longest length, got 4 and 3, .* there is none; swap"),
        ({"random": [0, 3]}, r"random=…\): expected"),
        ({"random": [3]}, r"random=…\): expected"),
        ({"episodes": 0}, r"episodes=…\): expected a whole number of at least 1"),
        ({"limit": 0}, r"limit=…\): expected a whole number of at least 1"),
        ({"seed": -1}, r"seed=…\): expected"),
        ({"max_return": -1.0}, r"max_return=…\): expected a finite number above 0"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_played(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        decision_frequencies(policy(), **options)


def test_planners_that_cant_act_are_refused() -> None:
    with pytest.raises(NotBuiltError):
        decision_frequencies(FixedPolicy(SAC(hidden=[8])))
    with pytest.raises(ConfigError, match="expected a planner whose task names an environment"):
        decision_frequencies(policy(replace(TASK, env_id="", env_kwargs={}, known_reward=None)))
    with pytest.raises(ConfigError, match=r"expected max_return beside it, got none; set both"):
        decision_frequencies(policy(linear_task()), [1], offset=1.0)


def test_dots_go_on_by_the_last_step() -> None:
    assert _lengths("1,2,4,…,30") == _lengths("1, 2, 4, ..., 30") == list(STANDARD_LENGTHS)
    assert _lengths("2,5,...,12,20") == [2, 5, 8, 11, 12, 20] and _lengths("7") == [7]
    for text in ("1,...,4", "...,4", "1,2,...", "1,,2", "", "1;2", "2,2,...,4", "1.5", "1e3"):
        with pytest.raises(ConfigError, match="--frequencies: expected whole numbers between commas"):
            _lengths(text)
    with pytest.raises(ConfigError, match=r"expected an end above 3 after '...', got 2; write"):
        _lengths("1,2,3,...,2")


def test_a_run_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    trainer(run).fit(FixedPolicy(SAC(hidden=[4])), data(1))
    assert main(["test", str(run)]) == 0
    plain = json.loads((run / "test.json").read_text())
    assert main(["test", str(run), "--frequencies", "1,6", "--random", "1:3"]) == 0
    said = capsys.readouterr().out
    assert "6*" in said and "1:3*" in said and "ms each" in said and "fas_span" in said
    written = rows(run)
    assert [row["steps_per_decision"] for row in written] == ["1", "6", "1:3"]
    assert float(written[0]["return"]) == pytest.approx(plain["test/return"], rel=1e-7)  # one step per decision is mbrl test
    assert [row["beyond_training"] for row in written] == ["False", "True", "True"]
    assert (run / "frequencies.png").read_bytes()[:4] == b"\x89PNG"
    summary = json.loads((run / "frequencies.json").read_text())["summary"]
    assert summary["fas"] is None and math.isfinite(summary["fas_span"]) and summary["env_id"] == "Pendulum-v1"
    python = decision_frequencies(mbrl.load_policy(run), [6], episodes=2)
    assert python.returns()[6] == float(written[1]["return"])
    other = tmp_path / "elsewhere"
    assert main(["test", "--ckpt_path", str(run), "--frequencies=2", "--episodes", "1", "--folder", str(other)]) == 0
    assert rows(other)[0]["return_low"] == "" and len(rows(run)) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--frequencies", "0,1"],
            "(lengths=…): expected a list of at least 1, each a whole number from 1 to 100000",
        ),
        (["--frequencies", "1,x"], "--frequencies: expected whole numbers between commas, got '1,x'; write 1,2,4,8, say."),
        (["--frequencies", "1", "--random", "5:4"], "got 5 and 4, between which there is none; swap them"),
        (["--frequencies", "1", "--random", "5"], "--random: expected a shortest and a longest length, got '5'; write 1:16"),
        (["--frequencies", "1", "--episodes", "0"], "episodes=…): expected a whole number of at least 1, got 0"),
        (["--frequencies", "1", "--ckpt_path", "RUN"], "expected one run, got none or two; name it first: mbrl test RUN"),
    ],
)
def test_wrong_options_write_nothing(
    run: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", str(run), *(str(run) if option == "RUN" else option for option in options)]) == 2
    assert message in capsys.readouterr().err
    assert not (run / "frequencies.csv").exists()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frequencies") / "run"
    trainer(folder).fit(FixedPolicy(SAC(hidden=[4])), data(1))
    return folder


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--random", "1:4"], "--random"),
        (["--random=1:4"], "--random"),
        (["--max_return", "3"], "--max_return"),
        (["--offset=1", "--max_return=3"], "--max_return and --offset"),
    ],
)
def test_options_of_frequencies_alone_name_what_is_missing(
    run: Path, options: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["test", str(run), *options]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"mbrl: mbrl test: expected --frequencies beside {named}, got none; add it, with steps per")
    assert said.count("\n") == 1, "one sentence, no usage"
