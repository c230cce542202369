"""`Conservative`: its value by hand for a linear critic, which rows it takes, and who gets a gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from mbrl.data import Transitions, draw_normal, make_generator
from mbrl.errors import ConfigError, UnsupportedError
from mbrl.policies import Conservative, CriticContext

ROWS = 4


class Linear(nn.Module):
    """Q_j(s, a) = w_j s + u_j a, of one state and one action."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.u = nn.Parameter(torch.tensor([1.0, -2.0])), nn.Parameter(torch.tensor([0.5, 3.0]))

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        ones = (1,) * (obs.ndim - 1)
        return self.w.view(-1, *ones) * obs[..., 0] + self.u.view(-1, *ones) * action[..., 0]


class Echo(nn.Module):
    """Always acts a = s / 10, at a stated log-density of −s."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.1))

    def sample(self, obs: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return self.gain * obs, -obs[..., 0]


def batch() -> Transitions:
    obs = torch.tensor([[1.0], [2.0], [-1.0], [0.5]])
    flags = torch.zeros(ROWS, dtype=torch.bool)
    return Transitions(obs, torch.tensor([[0.3], [-0.2], [0.9], [0.0]]), torch.zeros(ROWS), obs + 1, flags, flags)


def context(critics: nn.Module, model_rows: slice, policy: nn.Module | None = None) -> CriticContext:
    place = (model_rows, make_generator("cpu", 5), lambda metrics: None)
    return CriticContext(critics, critics, policy or Echo(), torch.tensor(0.1), 0.99, *place)  # type: ignore[arg-type]


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("states", ["mix", "model"])
def test_value_by_hand_over_all_thirty_actions(states: str, temperature: float) -> None:
    columns = 4 if states == "mix" else 2
    normal = draw_normal(make_generator("cpu", 5), 10 * columns, 1, torch.zeros(1)).view(10, columns, 1)
    uniform = torch.erf(normal / math.sqrt(2))
    total = 0.0
    for w, u in ((1.0, 0.5), (-2.0, 3.0)):
        soft = []
        for column, row in enumerate(range(4) if states == "mix" else range(2, 4)):
            s = batch().obs[row, 0].item()
            t = s + 1
            terms = [math.exp((w * s + u * 0.1 * s) / temperature + s)] * 10
            terms += [math.exp((w * t + u * 0.1 * t) / temperature + t)] * 10
            terms += [math.exp((w * s + u * uniform[k, column, 0].item()) / temperature + math.log(2)) for k in range(10)]
            soft.append(temperature * math.log(sum(terms)))
        real = ((w * 1.0 + u * 0.3) + (w * 2.0 + u * -0.2)) / 2
        total += sum(soft) / len(soft) - real
    term = Conservative(0.7, temperature, states=states)  # type: ignore[arg-type]
    assert term(batch(), context(Linear(), slice(2, 4))).item() == pytest.approx(0.7 * total, rel=1e-5)


def test_pushes_tried_actions_down_and_leaves_the_actor() -> None:
    critics, policy = Linear(), Echo()
    Conservative()(batch(), context(critics, slice(2, 4), policy)).backward()
    data = torch.tensor([0.3, -0.2]).mean()
    assert policy.gain.grad is None
    assert critics.u.grad is not None
    assert (critics.u.grad + data).abs().min() > 1e-3  # more than the data's part alone


def test_rows_before_the_models_and_after_it_are_real() -> None:
    said = Conservative(actions=1)(batch(), context(Linear(), slice(1, 3)))
    other = Conservative(actions=1)(batch(), context(Linear(), slice(0, 0)))
    values = Linear()(batch().obs, batch().action)
    assert (said - other).item() == pytest.approx((values.mean(1) - values[:, [0, 3]].mean(1)).sum().item(), abs=1e-5)


def test_refuses_batches_that_it_cannot_weigh() -> None:
    with pytest.raises(UnsupportedError, match="real_ratio"):
        Conservative()(batch(), context(Linear(), slice(0, 4)))
    with pytest.raises(UnsupportedError, match="states: mix"):
        Conservative(states="model")(batch(), context(Linear(), slice(0, 0)))
    with pytest.raises(UnsupportedError, match="states: mix"):
        Conservative(states="model").check(None, None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="temperature"):
        Conservative(temperature=0.0)
