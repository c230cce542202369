"""Lightning's flags of precision: which the Trainer takes, and what those do."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import mbrl
from benchmarks.gpu.section import Row, Setting
from mbrl.errors import MbrlError
from mbrl.models import GaussianEnsemble
from mbrl.planners import Dyna
from mbrl.policies import SAC
from mbrl.training.precision import use_bf16

FLAGS: tuple[str | int, ...] = (
    "32-true", 32, "bf16-mixed", "bf16-true", "16-mixed", "16-true", 16, "64-true", 64, "transformer-engine",
    "transformer-engine-float16",
)  # fmt: skip


def precision(setting: Setting) -> Iterator[Row]:
    """What each flag does to an ensemble and SAC; texts, whatever the device."""
    for flag in FLAGS:
        yield Row(f"precision {flag!r}", effect(flag, setting))


def effect(flag: str | int, setting: Setting) -> str:
    """One sentence of what the flag does."""
    planner = Dyna(GaussianEnsemble(), SAC())
    try:
        with tempfile.TemporaryDirectory() as folder:
            accelerator = "gpu" if setting.measures else "cpu"
            trainer = mbrl.Trainer(folder, precision=flag, accelerator=accelerator, progress=False, tensorboard=False)
    except MbrlError as error:
        return f"refused: {error}"
    if trainer.bf16:
        use_bf16(planner)
    products = {planner.dynamics.precision, planner.learner.precision}
    return f"taken: products of ensemble and SAC in {' and '.join(sorted(products))}, all else in fp32"
