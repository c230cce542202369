"""`DataSized`: a module whose buffers are as large, and as precise, as the data made them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class DataSized(nn.Module):
    """A module without parameters whose buffers take the sizes and types of a state dict that they are loaded from."""

    def put(self, **buffers: Tensor) -> None:
        """Registers buffers, or replaces those of these names, whatever their sizes and types."""
        for name, value in buffers.items():
            self.register_buffer(name, value)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        for name, buffer in self.named_buffers(recurse=False):
            saved = state_dict.get(prefix + name)
            if saved is not None and (saved.shape, saved.dtype) != (buffer.shape, buffer.dtype):
                self.put(**{name: buffer.new_empty(saved.shape, dtype=saved.dtype)})
        super()._load_from_state_dict(state_dict, prefix, *rest)
