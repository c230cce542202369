"""NextObsNetwork: sizes and loss as published, units of any kind, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from mbrl.data import Task, Transitions, make_generator
from mbrl.errors import ConfigError, ShapeError, UnsupportedError
from mbrl.models import NextObsNetwork
from mbrl.testing import linear_task

LINEAR = linear_task()


def task(size: int, actions: int) -> Task:
    return Task("", size, actions, (-1.0,) * actions, (1.0,) * actions)


def system(rows: int = 256, scale: float = 1.0) -> Transitions:
    """Rows of a linear system whose first dim is in units of `scale`, and whose last never moves."""
    generator = make_generator("cpu", "rows")
    obs, action = torch.randn(rows, 3, generator=generator), torch.rand(rows, 1, generator=generator) * 2 - 1
    obs[:, 2] = 7.0
    following = torch.stack((0.9 * obs[:, 0] + 0.2 * action[:, 0], obs[:, 1] - 0.1 * obs[:, 0], obs[:, 2]), 1)
    unit = torch.tensor([scale, 1.0, 1.0])
    flags = torch.zeros(rows, dtype=torch.bool)
    return Transitions(obs * unit, action, torch.zeros(rows), following * unit, flags, flags)


@pytest.mark.parametrize(("size", "actions", "count"), [(3, 1, 123_203), (11, 3, 129_611), (376, 17, 391_076)])
def test_it_has_the_published_number_of_parameters(size: int, actions: int, count: int) -> None:
    model = NextObsNetwork()
    model.build(task(size, actions))
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_the_loss_is_the_mean_squared_error_of_the_next_observation() -> None:
    model, rows = NextObsNetwork([8]), system()
    model.build(task(3, 1))
    loss, metrics = model.loss(rows)
    said = model.predict(rows.obs, rows.action)
    assert said.mean.shape == (1, 256, 3) and not bool(said.var.any())
    torch.testing.assert_close(loss, (said.mean[0] - rows.next_obs).square().mean())
    torch.testing.assert_close(metrics["mse"], loss.detach())
    changes = NextObsNetwork([8], delta=True)
    changes.build(task(3, 1))
    torch.testing.assert_close(changes.predict(rows.obs, rows.action).mean[0], rows.obs + said.mean[0])


@pytest.mark.parametrize("delta", [False, True])
def test_normalised_it_learns_alike_in_all_units(delta: bool) -> None:
    said = []
    for scale in (1.0, 1000.0):
        model, rows = NextObsNetwork([32, 32], delta, True, lr=3e-3, batch_size=32, max_epochs=60), system(scale=scale)
        model.build(task(3, 1))
        report = model.refit(rows, make_generator("cpu", "fit"))
        assert report["explained"] > 0.9
        _, metrics = model.loss(rows)
        error = (model.predict(rows.obs, rows.action).mean[0] - rows.next_obs).square().mean()
        torch.testing.assert_close(metrics["mse"], error.detach(), rtol=1e-3, atol=1e-9)
        said.append(model.predict(rows.obs, rows.action).mean[0] / torch.tensor([scale, 1.0, 1.0]))
    assert (said[0] - said[1]).abs().mean() < 0.02  # the same but for rounding that many updates amplify


def test_what_it_cannot_do_is_refused() -> None:
    model = NextObsNetwork([8])
    model.build(replace(LINEAR, known_reward=None))
    with pytest.raises(UnsupportedError, match="reward"):
        model.check_known()
    with pytest.raises(ShapeError):
        model.predict(torch.zeros(3, 5), torch.zeros(3, 1))
    wrong: tuple[dict[str, Any], ...] = ({"hidden": []}, {"lr": 0.0}, {"delta": 1}, {"normalize": "yes"})
    for options in wrong:
        with pytest.raises(ConfigError, match=next(iter(options))):
            NextObsNetwork(**options)
