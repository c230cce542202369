"""What offline learning makes of data: the rows of a batch, the rollouts that are kept, and where they begin and end."""

from __future__ import annotations

from pathlib import Path

import pytest

from mbrl.planners.rollouts.schedule import real_rows
from tests.planners.test_offline_dyna import began


@pytest.mark.check("ravl-9.6")
@pytest.mark.parametrize(("ratio", "rows"), [(0.05, 12), (0.5, 128), (0.0, 0), (1.0, 256), (0.999, 255)])
def test_a_share_of_real_rows_is_cut_to_a_whole_number(ratio: float, rows: int, tmp_path: Path) -> None:
    assert real_rows(0, ratio, 256) == rows
    if ratio == 0.05:
        planner = began(tmp_path, batch_size=256, real_ratio=ratio)
        planner.tick()
        batch, model_rows = planner.learning.batch()
        assert (batch.extras["rollout"][:, 0] < 0).sum() == rows and model_rows == slice(rows, 256)


@pytest.mark.check("ravl-9.6")
def test_the_buffer_holds_exactly_the_newest_rounds(tmp_path: Path) -> None:
    """An update that keeps the first rows in place of the last would fail."""
    planner = began(tmp_path, rollout_every=1, retain=5)
    rounds: list[set[tuple[float, ...]]] = []
    for epoch in range(9):
        before = {tuple(row) for row in planner.model_buffer.all().next_obs.tolist()}
        planner.tick()
        after = {tuple(row) for row in planner.model_buffer.all().next_obs.tolist()}
        rounds.append(after - before)
        assert len(rounds[-1]) == 8 * 2
        assert after == set().union(*rounds[max(epoch - 4, 0) :])


@pytest.mark.check("ravl-9.6")
def test_rollouts_begin_in_the_dataset_and_are_no_longer_than_asked(tmp_path: Path) -> None:
    planner = began(tmp_path, rollout_batch=20, rollout_length=4)
    planner.tick()
    rows = planner.model_buffer.all()
    depth = rows.extras["depth"][:, 0]
    assert len(rows) <= 20 * 4 and set(depth.tolist()) == {0.0, 1.0, 2.0, 3.0}
    recorded = {tuple(row) for row in planner.real_buffer.all().obs.tolist()}
    assert {tuple(row) for row in rows.obs[depth == 0].tolist()} <= recorded
    reached = {tuple(row) for row in rows.next_obs[~rows.terminated].tolist()}
    assert {tuple(row) for row in rows.obs[depth > 0].tolist()} <= reached, "nothing goes on from an end"
