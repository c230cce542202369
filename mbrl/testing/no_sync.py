"""`NoScalarReadback`: finds code that reads a value back to the host, where a GPU would have to wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# The size of their result depends on values, which the host must then know.
_VALUE_SIZED = (
    "aten.nonzero", "aten.masked_select", "aten._unique", "aten.unique_", "aten.equal", "aten.bincount",
)  # fmt: skip
_TO_HOST = (Tensor.tolist, Tensor.numpy, Tensor.cpu)


class ReadbackError(AssertionError):
    """Code that should stay on the device read a value back."""


class NoScalarReadback(TorchDispatchMode):
    """A context in which `.item()`, `bool(tensor)`, `.tolist()` and their like raise, on any device.

    Args:
        value_sized: also refuse operations whose result's size depends on values (`nonzero`, boolean-mask indexing, …),
            which wait on a GPU too. False for code that takes a CPU-only path with them.

    Raises:
        ReadbackError: inside the context, naming the operation.

    Example:
        >>> with NoScalarReadback():
        ...     batch = buffer.sample(256, generator)
    """

    def __init__(self, *, value_sized: bool = True) -> None:
        super().__init__()
        self.value_sized = value_sized
        self._methods = _NoHostMethods()

    def __enter__(self) -> NoScalarReadback:
        self._methods.__enter__()
        super().__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        super().__exit__(kind, error, trace)
        self._methods.__exit__(kind, error, trace)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = str(func)
        if func is torch.ops.aten._local_scalar_dense.default:
            raise ReadbackError("expected no scalar read back to the host, got .item() or its like; keep it a tensor.")
        if self.value_sized:
            masked = name.startswith(("aten.index.", "aten.index_put")) and any(
                isinstance(index, Tensor) and index.dtype is torch.bool for index in args[1]
            )
            if masked or name.startswith(_VALUE_SIZED):
                raise ReadbackError(
                    f"expected no operation whose result's size depends on values, got {name}; use a mask of fixed width."
                )
        return func(*args, **(kwargs or {}))


class _NoHostMethods(TorchFunctionMode):
    """Refuses what copies to the host without passing the dispatcher."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func in _TO_HOST:
            raise ReadbackError(f"expected no scalar read back to the host, got Tensor.{func.__name__}(); keep it a tensor.")
        return func(*args, **(kwargs or {}))
