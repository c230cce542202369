"""bf16 by our recipe: matrix products in bf16, weights, heads, losses and optimisers in float32."""

from __future__ import annotations

from torch import nn

from mbrl.errors import UnsupportedError
from mbrl.spec import Configurable


def use_bf16(module: nn.Module) -> None:
    """Selects bf16 products in every part of `module` that offers them, and in their specs.

    Raises:
        UnsupportedError: if no part has a `precision` setting.
    """
    parts = [part for part in module.modules() if isinstance(part, Configurable) and "precision" in part.spec["init_args"]]
    if not parts:
        raise UnsupportedError(
            f"trainer.precision: expected a part with a precision setting, got {type(module).__name__}; leave it out."
        )
    for part in parts:
        setattr(part, "precision", "bf16")  # noqa: B010 - the parts have it, their common base has not
        part.spec["init_args"]["precision"] = "bf16"
