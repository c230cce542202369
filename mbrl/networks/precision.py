"""`Precision`: the number format in which stacked networks multiply."""

from __future__ import annotations

from typing import Literal

Precision = Literal["fp32", "bf16"]  # parameters, heads, losses and optimisers are float32 either way
