"""`RecurrentPolicy`: a sequence of actions from one observation, by a network that is fed its own actions [Patel2025].

    h_0 = W_2 relu(W_1 s + b_1) + b_2
    h_{j+1} = cell(a_{j−1}, h_j),  (μ_j, log σ_j) = W h_{j+1} + b,  a_j = tanh(μ_j + σ_j·ε_j)

The observation is the cell's first state and nothing more; from then on it sees only the action before. So the policy is
π(a | s, a_{−1}), and the first n actions of a longer deterministic sequence are those of a shorter one.

Patel2025: "Overcoming slow decision frequencies in continuous control: model-based sequence reinforcement learning for
model-free control" (SRL, ICLR 2025, arXiv 2410.08979, and the authors' code).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbrl.arguments import Range, Widths, check_shape, checked
from mbrl.data import Generator
from mbrl.networks import Normalizer, Precision, ReluStack, uniform, xavier_uniform
from mbrl.policies.base import Policy
from mbrl.policies.tanh_gaussian_policy import bounded_log_sigma, squashed_log_prob, squashed_sample

Cell = Literal["gru", "rnn"]


class RecurrentPolicy(Policy):
    """A recurrent network whose state begins with the observation and whose input is the action before.

    An unknown previous action (None) counts as zeros, as where an episode begins.

    Args:
        obs_size: `S`.
        action_size: `A`.
        generator: draws the weights (on the CPU).
        hidden: units of the layers that make the cell's first state; the last is the size of that state, and has no ReLU.
        cell: `"gru"` [Patel2025], or `"rnn"`, a plain tanh cell with a third of its weights.
        log_sigma: as in `TanhGaussianPolicy`.
        log_sigma_range: smallest and largest log σ.
        precision: of the layers before the cell, see `ReluStack`.
        normalizer: of observations, which it may share with others; None takes them as they are.

    Raises:
        ConfigError: if an option is not one of those above.
    """

    @checked
    def __init__(
        self,
        obs_size: int,
        action_size: int,
        generator: torch.Generator,
        hidden: Widths = (256, 256),
        cell: Cell = "gru",
        log_sigma: Literal["clip", "tanh"] = "clip",
        log_sigma_range: Range = (-20.0, 2.0),
        precision: Precision = "fp32",
        normalizer: Normalizer | None = None,
    ) -> None:
        super().__init__()
        self.obs_size, self.action_size = obs_size, action_size
        self.normalizer = normalizer
        self.cell: Cell = cell
        self.log_sigma = log_sigma
        self.log_sigma_range = (float(log_sigma_range[0]), float(log_sigma_range[1]))
        *before, units = hidden
        self.encoder = ReluStack(1, (obs_size, *before), generator, precision) if before else None
        seen = before[-1] if before else obs_size
        gates = units * (3 if cell == "gru" else 1)
        bound = 1 / math.sqrt(units)  # torch's own first weights of a cell
        self.state_weight = nn.Parameter(xavier_uniform((units, seen), seen + units, generator))  # units x seen
        self.state_bias = nn.Parameter(torch.zeros(units, dtype=torch.float32))
        self.input_weight = nn.Parameter(uniform((gates, action_size), bound, generator))  # gates x A
        self.hidden_weight = nn.Parameter(uniform((gates, units), bound, generator))  # gates x units
        self.input_bias = nn.Parameter(uniform((gates,), bound, generator))
        self.hidden_bias = nn.Parameter(uniform((gates,), bound, generator))
        # two layers of A outputs each, as the authors draw them
        self.head_weight = nn.Parameter(xavier_uniform((2 * action_size, units), units + action_size, generator))
        self.head_bias = nn.Parameter(torch.zeros(2 * action_size, dtype=torch.float32))  # 2A

    # one action ------------------------------------------------------------------------------------------------------

    def distribution(self, obs: Tensor, prev_action: Tensor | None = None, *, frozen: bool = False) -> tuple[Tensor, Tensor]:
        """The Gaussian of the first action before the squashing.

        Args:
            obs: `B x S`, any leading dims.
            prev_action: `B x A`, or None.
            frozen: whether to treat the parameters as constants.

        Returns:
            Mean and log standard deviation, `B x A` each.

        Raises:
            ShapeError: if the last dims are not `S` and `A`, or the leading dims differ.
        """
        mean, log_sigma, _ = self._step(*self._begin(obs, prev_action, frozen), frozen)
        dims = obs.shape[:-1]
        return mean.view(*dims, -1), log_sigma.view(*dims, -1)

    def sample(self, obs: Tensor, generator: Generator, prev_action: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return squashed_sample(*self.distribution(obs, prev_action), generator)

    def mode(self, obs: Tensor, prev_action: Tensor | None = None) -> Tensor:
        return torch.tanh(self.distribution(obs, prev_action)[0])

    def log_prob(self, obs: Tensor, action: Tensor, prev_action: Tensor | None = None) -> Tensor:
        """The log-probability `B` of actions `B x A`, nats, differentiable in all three; see `squashed_log_prob`."""
        return squashed_log_prob(*self.distribution(obs, prev_action), action)

    # several in a row ------------------------------------------------------------------------------------------------

    def sequence(self, obs: Tensor, prev_action: Tensor | None, length: int, generator: Generator) -> tuple[Tensor, Tensor]:
        log_probs: list[Tensor] = []

        def draw(mean: Tensor, log_sigma: Tensor) -> Tensor:
            action, log_prob = squashed_sample(mean, log_sigma, generator)
            log_probs.append(log_prob)
            return action

        actions = self._unrolled(obs, prev_action, length, draw)
        return actions, torch.stack(log_probs, -1).view(*obs.shape[:-1], length)

    def mode_sequence(self, obs: Tensor, prev_action: Tensor | None, length: int) -> Tensor:
        return self._unrolled(obs, prev_action, length, lambda mean, log_sigma: torch.tanh(mean))

    def _unrolled(
        self, obs: Tensor, prev_action: Tensor | None, length: int, choose: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """Actions `B x length x A`, each chosen from its Gaussian and fed to the next, with its gradient."""
        action, state = self._begin(obs, prev_action, frozen=False)
        actions: list[Tensor] = []
        for _ in range(length):
            mean, log_sigma, state = self._step(action, state, frozen=False)
            action = choose(mean, log_sigma)  # B x A
            actions.append(action)
        return torch.stack(actions, -2).view(*obs.shape[:-1], length, self.action_size)

    # the network -----------------------------------------------------------------------------------------------------

    def _begin(self, obs: Tensor, prev_action: Tensor | None, frozen: bool) -> tuple[Tensor, Tensor]:
        """The cell's first input `B x A` and first state `B x units`, `B` flat."""
        check_shape("RecurrentPolicy(obs)", obs, ("B", self.obs_size), "build the policy for the task of obs")
        rows = obs.reshape(-1, self.obs_size)  # B x S
        if prev_action is None:
            action = rows.new_zeros(len(rows), self.action_size)  # B x A
        else:
            dims = (*obs.shape[:-1], self.action_size)
            check_shape("RecurrentPolicy(prev_action)", prev_action, dims, "give the action before each observation")
            action = prev_action.reshape(-1, self.action_size)
        seen = rows if self.normalizer is None else self.normalizer(rows)
        if self.encoder is not None:
            seen = self.encoder(seen, frozen=frozen)[0]
        return action, F.linear(seen, *_constant(frozen, self.state_weight, self.state_bias))

    def _step(self, action: Tensor, state: Tensor, frozen: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and log σ `B x A` of the next action, and the state `B x units` after it."""
        cell = torch.gru_cell if self.cell == "gru" else torch.rnn_tanh_cell
        weights = (self.input_weight, self.hidden_weight, self.input_bias, self.hidden_bias)
        state = cell(action, state, *_constant(frozen, *weights))
        heads = F.linear(state, *_constant(frozen, self.head_weight, self.head_bias))  # B x 2A
        mean, raw = heads.split(self.action_size, -1)
        return mean, bounded_log_sigma(raw, self.log_sigma, self.log_sigma_range), state


def _constant(frozen: bool, *weights: Tensor) -> tuple[Tensor, ...]:
    return tuple(weight.detach() for weight in weights) if frozen else weights
