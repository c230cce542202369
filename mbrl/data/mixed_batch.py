"""`mixed_batch`: rows of several replay buffers as one batch.

Janner2019: "When to trust your model: model-based policy optimization" (MBPO: batches of real and model rows).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from mbrl.data.replay_buffer import ReplayBuffer
from mbrl.data.row_layout import RowLayout
from mbrl.data.transitions import Transitions
from mbrl.errors import ConfigError


def mixed_batch(
    parts: Sequence[tuple[ReplayBuffer, int]], generator: torch.Generator, fill: Mapping[str, float] | None = None
) -> Transitions:
    """Rows from several buffers as one batch, gathered into one matrix: MBPO's 12 real and 244 model rows [Janner2019].

    Args:
        parts: buffers of the same sizes and device, and how many rows to draw from each (as its `sample` does); a
            buffer of which no rows are drawn may be empty.
        generator: draws for the parts in their order.
        fill: extras that the batch has in any case, by name, and the number that rows have whose buffer lacks one.

    Returns:
        The rows in the order of `parts`, with the extras of `fill` and those that all buffers that give rows keep alike.
        `row` is there only if one buffer gives all, since two buffers' numbers would clash.

    Raises:
        ConfigError: if no rows are asked for.
        DataError: if a buffer that should give rows is empty.
    """
    fill = fill or {}
    drawn = [(buffer, n) for buffer, n in parts if n > 0]
    if not drawn:
        raise ConfigError("mixed_batch: expected a positive number of rows, got none from any buffer; ask for some.")
    if len(drawn) == 1:
        rows = drawn[0][0].sample(drawn[0][1], generator)
        lacking = {name: rows.obs.new_full((len(rows), 1), fill[name]) for name in fill if name not in rows.extras}
        rows.extras.update(lacking)
        return rows
    for buffer, _ in drawn:
        buffer.layout.check_mixes(drawn[0][0].layout)
    layout = RowLayout.shared([buffer.layout for buffer, _ in drawn], fill)
    packed = torch.empty(sum(n for _, n in drawn), layout.width, device=drawn[0][0].device, dtype=torch.float32)
    done = 0
    for buffer, n in drawn:
        matrix, out = buffer._allocated()[0], packed[done : done + n]
        slots = buffer._slots(buffer._draw(n, generator))
        if buffer.layout == layout:
            torch.index_select(matrix, 0, slots, out=out)
        else:
            layout.copy(matrix.index_select(0, slots), buffer.layout, out, fill)
        done += n
    return layout.unpack(packed)
