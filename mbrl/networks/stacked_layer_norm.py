"""`StackedLayerNorm`: layer normalisation of the hidden layers of several networks of one shape at once [Ba2016].

Ba2016: "Layer normalization" (arXiv 1607.06450, equation 4).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbrl.arguments import Count, Widths, checked


class StackedLayerNorm(nn.Module):
    """Each row of each network as g · (x − mean x) / √(var x + 1e-5) + b, over the units of its layer.

    Every network has gains g and shifts b of its own, which begin at 1 and 0. Rows don't depend on each other.

    Args:
        copies: `J`, how many networks.
        widths: units of each hidden layer.
    """

    @checked
    def __init__(self, copies: Count, widths: Widths) -> None:
        super().__init__()
        shapes = [(copies, 1, units) for units in widths]
        self.gains = nn.ParameterList(nn.Parameter(torch.ones(*shape, dtype=torch.float32)) for shape in shapes)
        self.shifts = nn.ParameterList(nn.Parameter(torch.zeros(*shape, dtype=torch.float32)) for shape in shapes)

    def affine(self) -> Sequence[tuple[Tensor, Tensor]]:
        """Gains and shifts of each layer, `J x 1 x units` each."""
        return list(zip(self.gains, self.shifts, strict=True))


def layer_norm(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """Rows `J x B x units`, normalised over their units, with a gain and a shift `J x 1 x units` for each network."""
    return torch.addcmul(shift.to(x.dtype), F.layer_norm(x, x.shape[-1:]), gain.to(x.dtype))
