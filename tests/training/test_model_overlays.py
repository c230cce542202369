"""The overlays of configs/models put another model under any preset, and change nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from mbrl.cli import main
from mbrl.errors import UnsupportedError
from mbrl.models import GaussianEnsemble, VaGraM
from mbrl.networks import Orthogonal, SpectralClip
from mbrl.training.commands.fit import MbrlCLI

OVERLAYS = ["lipschitz", "lipschitz_orthogonal", "single", "single_probabilistic", "vagram"]
PRESETS = ["mbpo/hopper", "pets/cartpole_swingup"]  # those of mpc are for exact models, which nothing fits


def parsed(monkeypatch: pytest.MonkeyPatch, preset: str, *overlays: str) -> MbrlCLI:
    """What `mbrl fit` would train, parsed and made by the real command, which then stops."""
    made: list[MbrlCLI] = []
    monkeypatch.setattr(MbrlCLI, "fit", lambda self, **arguments: made.append(self))
    names = [f"base/{preset.split('/')[0]}", preset, *(f"models/{overlay}" for overlay in overlays)]
    assert main(["fit", *(argument for name in names for argument in ("--config", f"configs/{name}.yaml"))]) == 0
    return made[-1]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_fits_any_preset(overlay: str, preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, cli = parsed(monkeypatch, preset), parsed(monkeypatch, preset, overlay)
    assert cli.trainer.variant == overlay.replace("_", "-")
    planner: Any = cli.model
    model = planner.dynamics
    assert isinstance(model, GaussianEnsemble)
    before, after = plain.model.spec["init_args"], planner.spec["init_args"]
    assert {name: value for name, value in before.items() if name != "dynamics"} == {
        name: value for name, value in after.items() if name != "dynamics"
    }
    one = overlay.startswith("single")
    assert (model.members == 1) == one
    if one:
        assert model.deterministic == (overlay == "single")
    if overlay.startswith("lipschitz"):
        assert isinstance(model.constraint, Orthogonal if overlay.endswith("orthogonal") else SpectralClip)
        assert model.constraint.budget is None and model.normalize_targets
    if overlay == "vagram":
        assert isinstance(model.model_loss, VaGraM) and model.deterministic
        if preset.startswith("pets"):
            with pytest.raises(UnsupportedError, match="its fit asks for values, and there is no learner to say them"):
                planner.build(cli.datamodule.task, 0)
            return
    planner.build(cli.datamodule.task, 0)


def test_overlays_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    planner: Any = parsed(monkeypatch, "mbpo/pendulum", "single", "lipschitz").model
    assert planner.dynamics.members == 1 and isinstance(planner.dynamics.constraint, SpectralClip)
