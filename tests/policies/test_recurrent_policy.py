"""RecurrentPolicy: sizes, the recurrence itself, sequences and their log-probabilities."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mbrl.data import make_generator
from mbrl.errors import ConfigError, ShapeError
from mbrl.networks import Normalizer
from mbrl.policies import RecurrentPolicy
from mbrl.policies.tanh_gaussian_policy import tanh_gaussian_log_prob

S, A, B = 3, 2, 5


def made(**options: Any) -> RecurrentPolicy:
    return RecurrentPolicy(S, A, make_generator("cpu", "weights"), **{"hidden": (16, 12), **options})


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=make_generator("cpu", "rows", *shape), dtype=torch.float32)


@pytest.mark.parametrize(("obs_size", "action_size", "count"), [(3, 1, 266_242), (11, 3, 270_854), (376, 17, 382_242)])
def test_it_has_the_published_number_of_parameters(obs_size: int, action_size: int, count: int) -> None:
    policy = RecurrentPolicy(obs_size, action_size, make_generator("cpu", "weights"))
    assert sum(parameter.numel() for parameter in policy.parameters()) == count


@pytest.mark.check("srl-9.1")
@pytest.mark.parametrize(
    ("u", "mean", "sd", "scale", "expected"),
    [
        (0, 0, 1, 1, -0.9189395332),
        (0, 0, 1, 2, -1.6120862138),
        (0.5, 0.2, 0.5, 1, -0.1655636103),
        (0.5, 0.2, 0.5, 0.4, 0.7507252143),
    ],
)
def test_densities_are_the_published_ones_without_their_1e_6(
    u: float, mean: float, sd: float, scale: float, expected: float
) -> None:
    at, sigma = torch.tensor([u], dtype=torch.float64), torch.tensor([sd], dtype=torch.float64)
    found = tanh_gaussian_log_prob(at, (at - mean) / sigma, sigma.log(), scale)
    slope = scale * (1 - torch.tanh(at).square())  # the authors add 1e-6 to it inside the logarithm
    assert (found - torch.log1p(1e-6 / slope).sum()).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("cell", "layer"), [("gru", nn.GRUCell), ("rnn", nn.RNNCell)])
def test_first_weights_are_torchs_own_of_a_cell_and_xaviers_of_layers(cell: Any, layer: Any) -> None:
    policy, theirs = made(hidden=(64, 100), cell=cell), layer(A, 100)
    pairs = [
        (policy.input_weight, theirs.weight_ih),
        (policy.hidden_weight, theirs.weight_hh),
        (policy.input_bias, theirs.bias_ih),
    ]
    for ours, own in [*pairs, (policy.hidden_bias, theirs.bias_hh)]:
        assert ours.shape == own.shape and 0.09 < ours.abs().max() <= 0.1
    for weight, fans in ((policy.state_weight, 64 + 100), (policy.head_weight, 100 + A)):  # mean and log σ are two layers
        assert 0.97 < weight.abs().max() / (6 / fans) ** 0.5 <= 1
    assert not bool(policy.state_bias.any()) and not bool(policy.head_bias.any())


def by_torch_layers(policy: RecurrentPolicy, obs: Tensor, prev_action: Tensor, length: int) -> Tensor:
    """The deterministic sequence by torch's own GRU cell and layers with the policy's weights."""
    cell = nn.GRUCell(A, 12)
    cell.load_state_dict(
        {
            "weight_ih": policy.input_weight,
            "weight_hh": policy.hidden_weight,
            "bias_ih": policy.input_bias,
            "bias_hh": policy.hidden_bias,
        }
    )
    assert policy.encoder is not None
    first = torch.relu(obs @ policy.encoder.weights[0][0] + policy.encoder.biases[0][0])
    state, action, found = first @ policy.state_weight.T + policy.state_bias, prev_action, []
    for _ in range(length):
        state = cell(action, state)
        action = torch.tanh((state @ policy.head_weight.T + policy.head_bias)[:, :A])
        found.append(action)
    return torch.stack(found, 1)


def test_the_previous_action_is_the_first_input_and_each_action_the_next() -> None:
    policy, obs, before = made(), drawn(B, S), drawn(B, A).tanh()
    torch.testing.assert_close(policy.mode_sequence(obs, before, 4), by_torch_layers(policy, obs, before, 4))
    assert not torch.equal(policy.mode(obs, before), policy.mode(obs))
    assert torch.equal(policy.mode(obs), policy.mode(obs, torch.zeros(B, A)))


@pytest.mark.check("srl-9.3")
@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_a_shorter_deterministic_sequence_is_the_beginning_of_a_longer_one(cell: Any) -> None:
    policy, obs, before = made(cell=cell), drawn(B, S), drawn(B, A).tanh()
    longer = policy.mode_sequence(obs, before, 16)
    for length in (1, 3, 15):
        assert torch.equal(policy.mode_sequence(obs, before, length), longer[:, :length])
    assert torch.equal(policy.mode_sequence(obs, before, 16), longer)


@pytest.mark.check("srl-9.3")
def test_means_of_a_drawn_sequence_differ_from_the_second_action_on() -> None:
    policy, obs = made(log_sigma_range=(-3.0, -2.9)), drawn(B, S)
    actions, _ = policy.sequence(obs, None, 3, make_generator("cpu", "noise"))
    with torch.no_grad():
        second = policy._step(actions[:, 0], policy._step(*policy._begin(obs, None, False), False)[2], False)[0]
    assert not torch.allclose(torch.tanh(second), policy.mode_sequence(obs, None, 2)[:, 1], atol=1e-5)


def test_log_probabilities_are_of_each_action_given_those_before_it() -> None:
    policy, obs, before = made().double(), drawn(B, S).double(), drawn(B, A).tanh().double()
    actions, log_prob = policy.sequence(obs, before, 3, make_generator("cpu", "noise"))
    action, state = policy._begin(obs, before, False)
    for place in range(3):
        mean, log_sigma, state = policy._step(action, state, False)
        action = actions[:, place]
        normal = torch.distributions.Normal(mean, log_sigma.exp()).log_prob(action.atanh())
        expected = (normal - torch.log1p(-action.square())).sum(-1)
        torch.testing.assert_close(log_prob[:, place], expected)


def test_gradients_run_back_through_states_and_fed_back_actions() -> None:
    policy, obs = made(), drawn(B, S)
    for blind in (False, True):
        policy.zero_grad()
        with torch.no_grad():
            policy.hidden_weight.fill_(0.0)  # the states carry nothing on but the actions
            if blind:
                policy.input_weight.fill_(0.0)
        before = drawn(B, A).requires_grad_()
        policy.sequence(obs, before, 3, make_generator("cpu", "noise"))[0][:, -1].sum().backward()
        assert before.grad is not None and bool(before.grad.any()) is not blind


@pytest.mark.check("srl-9.2")
def test_without_input_weights_it_does_not_ask_the_action_before() -> None:
    policy, obs = made(), drawn(B, S)
    with torch.no_grad():
        policy.input_weight.zero_()
    assert torch.equal(policy.mode_sequence(obs, drawn(B, A), 3), policy.mode_sequence(obs, None, 3))


def test_one_layer_leading_dims_and_units() -> None:
    assert made(hidden=(7,)).mode_sequence(drawn(2, 4, S), drawn(2, 4, A), 3).shape == (2, 4, 3, A)
    normalizer = Normalizer(S)
    plain, seen = made(), made(normalizer=normalizer)
    far = drawn(50, S) * torch.tensor([1e6, 1.0, 0.0]) + torch.tensor([0.0, 5.0, 7.0])
    normalizer.fit(far)
    assert torch.equal(seen.mode(far), plain.mode(normalizer(far)))


def test_wrong_input_is_refused() -> None:
    policy = made()
    with pytest.raises(ShapeError, match="build the policy for the task"):
        policy.mode(drawn(B, S + 1))
    with pytest.raises(ShapeError, match="give the action before each observation"):
        policy.mode(drawn(B, S), drawn(B, A + 1))
    with pytest.raises(ConfigError, match="cell"):
        made(cell="lstm")
