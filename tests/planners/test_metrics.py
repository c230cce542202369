"""MetricSums: means between two log lines, that a resumed run continues."""

from __future__ import annotations

import math

import pytest
import torch

from mbrl.planners.metrics import MetricSums


def test_means_of_tensors_and_numbers_start_anew_after_each_line() -> None:
    sums = MetricSums()
    sums.add({"a": torch.tensor(1.0, requires_grad=True), "b": 2})
    sums.add({"a": torch.tensor(4.0)})
    assert sums.pop() == {"a": 2.5, "b": 2.0}
    assert sums.pop() == {}


def test_added_values_may_change_later() -> None:
    sums, value = MetricSums(), torch.tensor(1.0)
    sums.add({"a": value})
    value += 10
    assert sums.pop() == {"a": 1.0}


def test_a_metric_that_is_no_number_shows() -> None:
    sums = MetricSums()
    sums.add({"a": math.nan})
    sums.add({"a": 1.0})
    assert math.isnan(sums.pop()["a"])


def test_resumed_sums_write_the_line_of_the_unbroken_run() -> None:
    unbroken = MetricSums()
    unbroken.add({"a": torch.tensor(0.1), "b": 0.3})
    state = unbroken.state_dict()
    resumed = MetricSums()
    resumed.load_state_dict(state)
    for sums in (unbroken, resumed):
        sums.add({"a": torch.tensor(0.7)})
    assert resumed.pop() == unbroken.pop()


def test_state_is_weights_only_data(tmp_path: pytest.TempPathFactory) -> None:
    sums = MetricSums()
    sums.add({"a": torch.tensor(0.1), "b": 0.3})
    torch.save(sums.state_dict(), f"{tmp_path}/state.pt")
    again = MetricSums()
    again.load_state_dict(torch.load(f"{tmp_path}/state.pt", weights_only=True))
    assert again.pop() == sums.pop()
