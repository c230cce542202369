"""Weight decay of stacked networks: λ of each layer, and the parameter groups with which Adam applies it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from torch import nn

from mbrl.arguments import check_shape
from mbrl.errors import ConfigError
from mbrl.networks import StackedMLP

DecayForm = Literal["half", "full", "adam"]


def layer_decay(who: str, weight_decay: float | Sequence[float] | None, form: DecayForm, layers: int) -> list[float]:
    """λ of each layer's weights.

    Args:
        who: names the argument in messages.
        weight_decay: one number, or one a layer; None gives 2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4 (for other depths: those for
            the first, second, further and last layer).
        form: how it is applied; `"adam"` takes one number for all parameters.
        layers: of the network.

    Raises:
        ConfigError: if the numbers don't fit form or layers.
    """
    if form == "adam" and not isinstance(weight_decay, (int, float)):
        raise ConfigError(f"{who}: expected a number beside decay_form='adam', got {weight_decay!r}; try 1e-5.")
    if weight_decay is None:
        return [*[2.5e-5, 5e-5, *[7.5e-5] * layers][: layers - 1], 1e-4]
    numbers = [weight_decay] * layers if isinstance(weight_decay, (int, float)) else weight_decay
    decay = [float(number) for number in numbers]
    check_shape(
        who, decay, (layers,), "give one number per hidden layer and one for the output, or one for all", ConfigError
    )
    return decay


def decayed_groups(
    parameters: Iterable[nn.Parameter], networks: Sequence[StackedMLP], decay: Sequence[float], form: DecayForm
) -> list[dict[str, Any]]:
    """Adam's parameter groups: the layers of `networks`, which have a decay each, and all other parameters without one.

    Args:
        parameters: all of them.
        networks: with the same number of layers.
        decay: from `layer_decay`.
        form: `"half"`: a gradient of λ W; `"full"`: twice that; `"adam"`: λ of the first layer for all parameters but the
            limits that constraints learn.
    """
    if form == "adam":
        limits = [limit for network in networks if network.constrained for limit in network.constrained.parameters()]
        free = {id(limit) for limit in limits}
        rest = {"params": limits, "weight_decay": 0.0}
        return [
            {"params": [p for p in parameters if id(p) not in free], "weight_decay": decay[0]},
            *([rest] if limits else []),
        ]
    times = 2.0 if form == "full" else 1.0
    layers = list(zip(*(network.weights for network in networks), strict=True))
    groups: list[dict[str, Any]] = [
        {"params": list(weights), "weight_decay": times * number} for weights, number in zip(layers, decay, strict=True)
    ]
    decayed = {id(weight) for weights in layers for weight in weights}
    groups.append({"params": [p for p in parameters if id(p) not in decayed], "weight_decay": 0.0})
    return groups
