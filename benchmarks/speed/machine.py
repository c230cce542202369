"""Facts of the machine that figures of speed depend on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

_CPU_FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16")


def machine(device: torch.device) -> dict[str, Any]:
    """Facts that the figures depend on: processor, instructions, threads, versions."""
    info = Path("/proc/cpuinfo")
    lines = [line.split(":", 1) for line in info.read_text().splitlines() if ":" in line] if info.exists() else []
    fields = {key.strip(): value.strip() for key, value in reversed(lines)}
    flags = set(fields.get("flags", "").split())
    return {
        "cpu": fields.get("model name", platform.processor()),
        "cpu_flags": [flag for flag in _CPU_FLAGS if flag in flags],
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        **{name.replace("-", "_"): _version(name) for name in ("gymnasium", "mujoco", "stable-baselines3")},
    }


def _version(name: str) -> str | None:
    """A package's version; None where it isn't installed, as peers may be."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def has_bf16(device: torch.device) -> bool:
    """Says whether bfloat16 products have instructions of their own here."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    info = Path("/proc/cpuinfo")
    return info.exists() and any(flag in info.read_text() for flag in ("avx512_bf16", "amx_bf16"))
