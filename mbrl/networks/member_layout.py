"""`MemberLayout`: rows that each ask one member, laid out as one batch per member.

A rollout asks one drawn member for each row. Sorting the rows by member makes that one batched product, in which no
member is evaluated for a row that doesn't read it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True)
class MemberLayout:
    """Places of `B` rows in a `G x C` table whose line `g` belongs to one member.

    Attributes:
        members: `G` int64, the member of each line, or None if the lines are all members in order.
        index: `G x C` int64, the row in each place; spare places repeat row 0.
        place: `B` int64, each row's place in the flattened table.
    """

    members: Tensor | None
    index: Tensor
    place: Tensor

    def gather(self, rows: Tensor) -> Tensor:
        """Rows `B x …` as a table `G x C x …`."""
        return rows[self.index]

    def restore(self, table: Tensor) -> Tensor:
        """A table `G x C x …` as rows `B x …`."""
        return table.flatten(0, 1)[self.place]


def layout(member: Tensor, members: int) -> MemberLayout:
    """The layout for `member` (`B` int64): exact counts on the CPU, a fixed size elsewhere, where reading one would wait.

    Args:
        member: the member that each row asks.
        members: `E`.
    """
    return padded_layout(member, members) if member.device.type == "cpu" else block_layout(member, members)


def padded_layout(member: Tensor, members: int) -> MemberLayout:
    """One line for each member that is asked at all, as long as the busiest needs. Its shapes depend on the counts."""
    order = torch.argsort(member, stable=True)  # B
    ends = torch.bincount(member, minlength=members).cumsum(0)  # E
    groups = order.tensor_split(ends[:-1])  # E index vectors, one per member
    present = [m for m, group in enumerate(groups) if len(group)]
    lines = [groups[m] for m in present]
    index = pad_sequence(lines, batch_first=True) if lines else order.view(1, 0)  # G x C
    longest = index.shape[1]
    slots = [torch.arange(g * longest, g * longest + len(line)) for g, line in enumerate(lines)]
    place = torch.empty_like(order)
    place[order] = torch.cat(slots) if slots else order
    return MemberLayout(None if len(present) == members else torch.tensor(present or [0], dtype=torch.int64), index, place)


def block_layout(member: Tensor, members: int, blocks_per_member: int = 8) -> MemberLayout:
    """Blocks of equal size, each of one member, as many as the worst case needs. Shapes depend on `B` alone.

    Whatever the counts, sum of ceil(count / size) is at most B / size + E, so nothing overflows and nothing is read back.

    Args:
        member: `B` int64.
        members: `E`.
        blocks_per_member: blocks per member if counts are equal; more waste less and copy more weights.
    """
    rows, device = member.shape[0], member.device
    size = max(1, -(-rows // (members * blocks_per_member)))
    blocks = -(-rows // size) + members
    counts = torch.zeros(members, dtype=torch.int64, device=device).scatter_add_(0, member, torch.ones_like(member))  # E
    needed = (counts + size - 1) // size  # E
    ends = needed.cumsum(0)  # E
    order = torch.argsort(member, stable=True)  # B
    sorted_member = member[order]  # B
    rank = torch.arange(rows, device=device) - (counts.cumsum(0) - counts)[sorted_member]  # B
    slot = (ends - needed)[sorted_member] * size + rank  # B
    index = torch.zeros(blocks * size, dtype=torch.int64, device=device).scatter_(0, slot, order)
    place = torch.empty_like(order).scatter_(0, order, slot)
    owner = torch.searchsorted(ends, torch.arange(blocks, device=device), right=True).clamp_(max=members - 1)  # G
    return MemberLayout(owner, index.view(blocks, size), place)
