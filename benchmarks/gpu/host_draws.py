"""`host_draws`: random numbers of a GPU that are those of the CPU, so that the two can be compared at all.

A generator of CUDA draws other numbers than one of the CPU with the same seed. Inside the block, generators that are made
for any device are the CPU's, and only say that they are elsewhere; what draws from them draws on the CPU and moves the
result. That is slow, and changes nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class _HostGenerator(torch.Generator):
    """A generator of the CPU that says that it is one of another device."""

    def __new__(cls, device: torch.device | str = "cpu") -> _HostGenerator:
        made = super().__new__(cls, device="cpu")
        made._claimed = torch.device(device)
        return made

    def __init__(self, device: torch.device | str = "cpu") -> None:
        pass

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self._claimed


class _DrawOnTheHost(TorchDispatchMode):
    """Runs what draws from the CPU's generator for another device on the CPU."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.get("generator") is None:
            return func(*args, **kwargs)
        tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        device = tensors[0].device if tensors else torch.device(kwargs.get("device") or "cpu")
        if device.type == "cpu":
            return func(*args, **kwargs)
        if "device" in kwargs:
            kwargs["device"] = torch.device("cpu")
        drawn = func(*map(_on_host, args), **{name: _on_host(value) for name, value in kwargs.items()})
        if func.__name__.split(".")[0].endswith("_"):  # in place
            return args[0].copy_(drawn)
        return drawn.to(device)


def _on_host(value: Any) -> Any:
    return value.cpu() if isinstance(value, Tensor) else value


@contextmanager
def host_draws() -> Iterator[None]:
    """Has generators that are made in this block, for whatever device, draw what those of the CPU draw."""
    with patch.object(torch, "Generator", _HostGenerator), _DrawOnTheHost():
        yield
