"""`SparseMap`: members that each are a sparse sum of the same terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mbrl.networks.sparse.library import Terms
from mbrl.networks.sparse.products import Products
from mbrl.networks.sparse.regression import Fit

_VALUES = 2**17  # values of terms computed at once without gradients, so that they stay in a core's cache


@dataclass
class _Table:
    """What a prediction needs, in one dtype and on one device."""

    products: Products
    weight: Tensor  # E x D x n
    scale: Tensor  # d x 1


class SparseMap(nn.Module):
    """Coefficients of `E` members, `p` terms and `D` targets: zeros until they are put.

    Only terms that a member uses are computed. Coefficients are float64, values of the inputs' dtype.

    Args:
        terms: the library's.
        members: `E`.
        targets: `D`.
    """

    coefficients: Tensor
    present: Tensor
    input_scale: Tensor
    target_scale: Tensor

    def __init__(self, terms: Terms, members: int, targets: int) -> None:
        super().__init__()
        self.terms = terms
        self.register_buffer("coefficients", torch.zeros(members, len(terms), targets, dtype=torch.float64))
        self.register_buffer("present", torch.ones(members, len(terms), dtype=torch.bool))
        self.register_buffer("input_scale", torch.ones(terms.inputs, dtype=torch.float64))
        self.register_buffer("target_scale", torch.ones(targets, dtype=torch.float64))
        self._tables: dict[Any, _Table] = {}

    @property
    def members(self) -> int:
        """`E`."""
        return len(self.coefficients)

    def put(self, fit: Fit, coefficients: Tensor | None = None, present: Tensor | None = None) -> None:
        """Takes what a fit found, or other coefficients in its place, such as a median's, `E x p x D` and `E x p`."""
        self.coefficients.copy_(fit.coefficients if coefficients is None else coefficients)
        self.present.copy_(fit.present if present is None else present)
        self.input_scale.copy_(fit.input_scale)
        self.target_scale.copy_(fit.target_scale)
        self._tables = {}

    def in_units(self) -> Tensor:
        """The coefficients in environment units, `E x p x D` float64."""
        inputs = self.terms.inputs
        powers = torch.tensor(
            [[factors.count(place) for place in range(inputs)] for factors in self.terms.factors],
            dtype=torch.float64,
            device=self.coefficients.device,
        )  # p x d
        scale = (self.input_scale**powers).prod(-1)  # p
        return self.coefficients * self.target_scale / scale.unsqueeze(-1)

    # values ------------------------------------------------------------------------------------------------------------

    def forward(self, z: Tensor) -> Tensor:
        """All members at the same inputs `B x d`, `E x B x D`."""
        table = self._table(z)
        members, targets, size = table.weight.shape
        weight = table.weight.flatten(0, 1)  # E·D x n
        parts = [weight @ table.products(part.T, table.scale) for part in self._parts(z, size)]
        return (parts[0] if len(parts) == 1 else torch.cat(parts, 1)).view(members, targets, -1).mT

    def of_lines(self, z: Tensor, members: Tensor | None) -> Tensor:
        """One member for each line of a table of inputs `G x C x d`, `G x C x D`.

        Args:
            z: the table.
            members: `G` int64; None: the lines are all members in order.
        """
        table = self._table(z)
        weight = table.weight if members is None else table.weight[members]  # G x D x n
        found = []
        for part in self._parts(z.transpose(0, 1), table.weight.shape[-1] * len(z)):  # C' x G x d
            values = table.products(part.transpose(0, 1).flatten(0, 1).T, table.scale)  # n x G·C'
            found.append(weight @ values.unflatten(1, (len(z), -1)).transpose(0, 1))  # G x D x C'
        return (found[0] if len(found) == 1 else torch.cat(found, 2)).mT

    @staticmethod
    def _parts(rows: Tensor, width: int) -> Sequence[Tensor]:
        if torch.is_grad_enabled() or rows.device.type != "cpu":
            return [rows]
        return rows.split(max(_VALUES // max(width, 1), 64)) or [rows]

    def _table(self, like: Tensor) -> _Table:
        """Made when first asked for, since which terms are used has to be read."""
        key = (like.dtype, like.device)
        if key not in self._tables:
            with torch.no_grad(), torch.inference_mode(False):
                used = (self.coefficients != 0).any(0).any(-1).nonzero()[:, 0].tolist()
                products = Products(self.terms, used, like)
                weight = torch.zeros(*self.coefficients.mT.shape[:2], products.size, dtype=torch.float64, device=like.device)
                weight[..., products.columns] = (self.coefficients * self.target_scale).mT[..., used].to(like.device)
                scale = self.input_scale.to(like).unsqueeze(-1)
                self._tables[key] = _Table(products, weight.to(like.dtype), scale)
        return self._tables[key]

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self._tables = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tables": {}}
