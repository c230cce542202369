"""`Critics`: several action-value networks, evaluated and differentiated as one batch."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mbrl.arguments import Count, ShareBelowOne, Widths, check_shape, checked
from mbrl.errors import UnsupportedError
from mbrl.networks import (
    ACTIVATION_SLOPES,
    ConstrainedLayers,
    Initial,
    LipschitzConstraint,
    Norm,
    Normalizer,
    Precision,
    ReluStack,
    uniform,
    xavier_uniform,
)


class Critics(nn.Module):
    """`J` critics Q_j(s, a) with stacked weights.

    Args:
        obs_size: `S`.
        action_size: `A`.
        generator: draws the weights (on the CPU).
        hidden: units of each hidden layer.
        count: `J`.
        precision: see `ReluStack`.
        normalizer: of observations, which it may share with others; None takes them as they are.
        constraint: keeps all layers within a Lipschitz budget; one that asks for GroupSort between layers gets it.
        initial: first weights, see `ReluStack`; `"ravl"` draws weights and biases of the last layer uniformly in ±3e-3, so
            that all values begin near 0.
        norm: of hidden layers, see `ReluStack`; none beside a constraint.
        dropout: of hidden layers, likewise.

    Raises:
        UnsupportedError: for a norm beside a constraint.
    """

    @checked
    def __init__(
        self,
        obs_size: int,
        action_size: int,
        generator: torch.Generator,
        hidden: Widths = (256, 256),
        count: Count = 2,
        precision: Precision = "fp32",
        normalizer: Normalizer | None = None,
        constraint: LipschitzConstraint | None = None,
        initial: Initial = "mbpo",
        norm: Norm = "none",
        dropout: ShareBelowOne = 0.0,
    ) -> None:
        super().__init__()
        if norm != "none" and constraint is not None:
            raise UnsupportedError(
                f"Critics(norm=…): expected none beside {type(constraint).__name__}, since a normalised layer is steeper "
                f"the less its inputs differ, got {norm!r}; leave one of the two out."
            )
        self.normalizer = normalizer
        self.obs_size = obs_size
        self.action_size = action_size
        self.count = count
        activation: Literal["relu", "groupsort"] = "relu"
        if constraint is not None and constraint.activation == "groupsort":
            activation = "groupsort"
        sizes = (obs_size + action_size, *hidden)
        self.hidden = ReluStack(count, sizes, generator, precision, activation, initial, norm, dropout)
        units = hidden[-1]
        if initial == "mbpo":
            weight = xavier_uniform((count, 1, units), units + 1, generator)
            bias = torch.zeros(count, 1, dtype=torch.float32)
        else:
            weight, bias = uniform((count, 1, units), 3e-3, generator), uniform((count, 1), 3e-3, generator)
        self.head_weight = nn.Parameter(weight)  # J x 1 x units
        self.head_bias = nn.Parameter(bias)  # J x 1
        self.constrained = None if constraint is None else constraint.constrain(self._raw_weights(), activation)

    def _raw_weights(self) -> list[Tensor]:
        """All layers' weights, `J x in x out` each."""
        return [*self.hidden.weights, self.head_weight.mT]

    def follow(self) -> None:
        """Has the constraint follow the weights after they changed (one step of power iteration); without one nothing."""
        if self.constrained is not None:
            self.constrained.advance(self._raw_weights())

    def penalty(self, obs: Tensor, action: Tensor) -> Tensor | None:
        """The constraint's charge for a batch, `B x S` and `B x A`, a scalar that the loss takes in, or None."""
        if self.constrained is None:
            return None

        def network(x: Tensor) -> Tensor:  # J x B x in → J x B x 1
            *used, head = self.constrained(self._raw_weights())  # type: ignore[misc]
            return self.hidden(x, weights=used) @ head + self.head_bias.unsqueeze(-1)

        seen = obs if self.normalizer is None else self.normalizer(obs)
        return self.constrained.penalty(network, torch.cat((seen, action), -1).expand(self.count, -1, -1))

    def lipschitz_bound(self) -> Tensor:
        """Upper bounds of |Q_j(x) − Q_j(y)| / |x − y|, `J`, x being [obs, action] as the networks see them (L2 norm).

        Raises:
            UnsupportedError: for critics with a norm, whose weights bound nothing.
        """
        if self.hidden.norm is not None:
            raise UnsupportedError(
                "Critics.lipschitz_bound: expected critics without a norm, whose weights bound their slopes, got layer; "
                "build them with norm none."
            )
        layers = self.constrained
        if layers is None:
            layers = ConstrainedLayers(self._raw_weights(), ACTIVATION_SLOPES[self.hidden.activation], 1, None)
        return layers.bound(self._raw_weights())

    def slopes(self, obs: Tensor, action: Tensor) -> Tensor:
        """Gradients of all values in the observation, `J x B x S`, constants, of `obs` `B x S` and `action` `B x A`.

        Each critic gets rows of its own, so that one backward pass serves all.
        """
        with torch.enable_grad():
            at = obs.detach().expand(self.count, *obs.shape).clone().requires_grad_()  # J x B x S
            values = self(at, action.detach().expand(self.count, *action.shape), frozen=True, own_rows=True)  # J x B
            (found,) = torch.autograd.grad(values.sum(), at)
        return found

    def action_slopes(self, obs: Tensor, action: Tensor) -> Tensor:
        """Gradients of all values in the action, `J x B x A`, differentiable in the parameters.

        Args:
            obs: `B x S`.
            action: `B x A` in [−1, 1].
        """
        if not self.hidden.is_linear_in_pieces:
            at = action.detach().expand(self.count, *action.shape).clone().requires_grad_()  # J x B x A
            values = self(obs.expand(self.count, *obs.shape), at, own_rows=True)  # J x B
            (found,) = torch.autograd.grad(values.sum(), at, create_graph=True)
            return found
        seen = obs if self.normalizer is None else self.normalizer(obs)
        both = torch.cat((seen, action), -1).detach()  # B x (S+A)
        used, head = None, self.head_weight  # J x 1 x units
        if self.constrained is not None:
            *used, head = self.constrained(self._raw_weights())
            head = head.mT
        hidden = self.hidden.activations(both, used)
        along = head.expand(-1, len(both), -1)  # J x B x units
        return self.hidden.pulled_back(along, hidden, used)[..., self.obs_size :].to(both.dtype)

    def forward(
        self,
        obs: Tensor,
        action: Tensor,
        *,
        frozen: bool = False,
        own_rows: bool = False,
        members: Tensor | None = None,
        masks: torch.Generator | None = None,
    ) -> Tensor:
        """Values of all critics.

        Args:
            obs: `B x S`, any leading dims; with `own_rows` `J x B x S`.
            action: `B x A` in [−1, 1]; with `own_rows` `J x B x A`.
            frozen: whether to treat the parameters as constants, so that a gradient reaches only obs and action.
            own_rows: whether each critic has rows of its own, instead of all sharing the same. So the gradient in
                `action.expand(J, B, A)` holds that of every critic, from one backward pass.
            members: `G` int64, the critics to ask; None for all (`G` = `J`). Not with `own_rows`.
            masks: draws dropout's masks, see `ReluStack`; None drops nothing.

        Returns:
            `G x B`.

        Raises:
            ShapeError: if the last dims are not `S` and `A`, or the leading dims differ or aren't those above.
        """
        advice = "build the learner for the batch's task"
        check_shape("Critics(obs)", obs, (self.count, "B", self.obs_size) if own_rows else ("B", self.obs_size), advice)
        check_shape("Critics(action)", action, (*obs.shape[:-1], self.action_size), advice)
        seen = obs if self.normalizer is None else self.normalizer(obs)
        both = torch.cat((seen, action), -1)  # B x (S+A), or J x B x (S+A)
        rows = both if own_rows or both.ndim == 2 else both.reshape(-1, both.shape[-1])
        head: Tensor = self.head_weight
        used: list[Tensor] | None = None
        if self.constrained is not None:
            raw = self._raw_weights()
            *used, head = self.constrained([weight.detach() for weight in raw] if frozen else raw)
            head = head.mT
        hidden = self.hidden(rows, frozen=frozen, weights=used, members=members, masks=masks)  # G x B x units
        weight: Tensor = head.detach() if frozen else head
        bias: Tensor = self.head_bias.detach() if frozen else self.head_bias
        if members is not None:
            weight, bias = weight[members], bias[members]
        # One output: at B = 256 a sum of products takes 0.53 (J = 2), 0.40 (J = 10) and 0.67 times (J = 50) as long as a
        # batched product where a gradient follows, and 1.3, 1.7 and 2.5 times without one (an AMD EPYC, one thread, torch
        # 2.13, medians of 9 alternating rounds, 256 units). Updates are mostly the former.
        return (torch.sum(hidden * weight, -1) + bias).view(len(hidden), *obs.shape[int(own_rows) : -1])  # G x B
