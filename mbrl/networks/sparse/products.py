"""`Products`: the values of library terms at many inputs, each a product that shares what it can with others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mbrl.networks.sparse.library import Terms


class Products:
    """Computes terms as products of one more factor with a term that is one shorter, all of one length at once.

    Terms lie along the first dim and inputs along the last, so that each product runs over memory in order.

    Args:
        terms: the library's.
        wanted: places of the terms that are asked for; others are computed where a longer one needs them.
        like: a tensor of the inputs' dtype and device.

    Attributes:
        columns: `len(wanted)` int64, where each of them lies among the values.
        size: how many values there are.
    """

    def __init__(self, terms: Terms, wanted: Sequence[int], like: Tensor) -> None:
        asked = [terms.factors[place] for place in wanted]
        needed = {factors[:length] for factors in asked for length in range(1, len(factors) + 1)}
        constant = () in asked
        self.levels: list[tuple[Tensor, Tensor]] = []  # parents in the level before, factors
        order: list[tuple[int, ...]] = [()] if constant else []
        before: list[tuple[int, ...]] = []
        for length in range(1, max(map(len, asked), default=0) + 1):
            level = sorted(factors for factors in needed if len(factors) == length)
            parents = [before.index(factors[:-1]) for factors in level] if before else []
            index = [torch.tensor(each, dtype=torch.int64, device=like.device) for each in (parents, [f[-1] for f in level])]
            self.levels.append((index[0], index[1]))
            order += level
            before = level
        places = {factors: place for place, factors in enumerate(order)}
        self.columns = torch.tensor([places[factors] for factors in asked], dtype=torch.int64, device=like.device)
        self.size = len(order)
        self.constant = constant
        self.waved = torch.tensor([place for place, _ in terms.waves], dtype=torch.int64, device=like.device)
        self.rates = torch.tensor([rate for _, rate in terms.waves], dtype=like.dtype, device=like.device).unsqueeze(-1)

    def __call__(self, z: Tensor, scale: Tensor) -> Tensor:
        """Values `size x B` at inputs `d x B`, of which monomials are divided by `scale` (`d x 1`) and waves are not."""
        base = z / scale
        if len(self.rates):
            angle = z[self.waved] * self.rates  # w x B
            waves = torch.stack((torch.sin(angle), torch.cos(angle)), 1).flatten(0, 1)  # 2w x B
            base = torch.cat((base, waves))
        found = [torch.ones_like(base[:1]) if self.constant else base[:0]]
        for number, (parents, factors) in enumerate(self.levels):
            found.append(base[factors] if number == 0 else found[-1][parents] * base[factors])
        return torch.cat(found)
