from __future__ import annotations

from torch import nn

from mbrl.training.callbacks.run_clock import evaluating


def test_every_part_gets_its_mode_back() -> None:
    module = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Linear(1, 1), nn.Dropout()))
    module[1][1].eval()
    before = [part.training for part in module.modules()]
    with evaluating(module):
        assert not any(part.training for part in module.modules())
    assert [part.training for part in module.modules()] == before
