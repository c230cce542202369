from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from mbrl.errors import RunFolderError
from mbrl.training.metrics_file import MetricsFile


@pytest.fixture
def metrics(tmp_path: Path) -> MetricsFile:
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    for step in (10, 20, 30):
        metrics.append({"env_steps": step, "model/loss": step / 10})
    return metrics


def test_appends_a_line_of_json(metrics: MetricsFile) -> None:
    assert metrics.path.read_text().splitlines()[0] == '{"env_steps": 10, "model/loss": 1.0}'


def test_numbers_survive_bit_for_bit(metrics: MetricsFile) -> None:
    value = 0.1 + 0.2
    metrics.append({"env_steps": 40, "x": value})
    assert metrics.read()[-1]["x"] == value


def test_not_finite_is_null(metrics: MetricsFile) -> None:
    metrics.append({"env_steps": 40, "a": math.nan, "b": math.inf})
    assert metrics.read()[-1] == {"env_steps": 40, "a": None, "b": None}
    json.loads(metrics.path.read_text().splitlines()[-1], parse_constant=pytest.fail)


def test_cut_keeps_the_lines_up_to_the_checkpoint(metrics: MetricsFile) -> None:
    metrics.cut(20)
    assert [line["env_steps"] for line in metrics.read()] == [10, 20]
    metrics.append({"env_steps": 30, "model/loss": 3.0})
    assert [line["env_steps"] for line in metrics.read()] == [10, 20, 30]


def test_a_half_written_line_is_left_out(metrics: MetricsFile) -> None:
    with open(metrics.path, "a") as file:
        file.write('{"env_steps": 40, "model')
    assert len(metrics.read()) == 3
    metrics.cut(30)
    assert metrics.path.read_text().endswith('"model/loss": 3.0}\n')


def test_csv_has_a_column_a_metric(metrics: MetricsFile, tmp_path: Path) -> None:
    metrics.append({"env_steps": 40, "eval/return": 1.5})
    metrics.write_csv(tmp_path / "metrics.csv")
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["env_steps", "model/loss", "eval/return"]
    assert rows[-1] == {"env_steps": "40", "model/loss": "", "eval/return": "1.5"}


def test_a_disk_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"expected room for a line in .*resume with --ckpt_path last"):
        MetricsFile(tmp_path / "missing" / "metrics.jsonl").append({"env_steps": 1})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe{\x00}\x00", "expected metric lines in .*, got .utf-8. codec can.t decode"),
        (b'{"env_steps": "ten"}\n', "expected numbers in line 1 of .*, got 'ten' as env_steps"),
        (b'{"env_steps": 1}\n{"env_steps": 2, "a": {}}\n', "expected numbers in line 2 of .*, got {} as a"),
        (b'{"env_steps": null}\n', "got None as env_steps"),
    ],
)
def test_what_holds_no_numbers_is_told(content: bytes, message: str, metrics: MetricsFile) -> None:
    metrics.path.write_bytes(content)
    with pytest.raises(RunFolderError, match=message):
        metrics.read()


def test_lines_without_an_end_are_left_out(metrics: MetricsFile) -> None:
    metrics.path.write_text("[" * 100_000 + '\n{"env_steps": 1}\n')
    assert metrics.read() == [{"env_steps": 1}]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_told_and_not_waited_for(make: Any, tmp_path: Path) -> None:
    make(tmp_path / "metrics.jsonl")
    with pytest.raises(RunFolderError, match=r"expected a file of metric lines, got .*, which is none; move it away"):
        MetricsFile(tmp_path / "metrics.jsonl").read()
