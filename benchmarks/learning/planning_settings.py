"""The ways to plan that `planning.py` compares: from PETS' own settings down to the cheapest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CONFIGS = Path(__file__).parents[2] / "configs"
TASKS = {"pendulum": "Pendulum-v1", "cartpole_swingup": "dm_control/cartpole-swingup-v0, action repeat 4"}
HORIZONS = {"pendulum": 20, "cartpole_swingup": 30}  # of the settings that are varied in a learned model
# of the starts: the exact part's settings were chosen on seed 10, and the training runs have those of 0 to 10
SEEDS = {"exact": 0, "learned": 20}

Spec = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """A way to plan.

    Attributes:
        label: its name in tables.
        planner: those of PETS' arguments that say how to plan.
        warm_start: whether a decision begins at the last one's plan.
        starts: episodes that are enough to say what it reaches.
    """

    label: str
    planner: Spec
    warm_start: bool = True
    starts: int = 10

    @property
    def text(self) -> str:
        """All of it as JSON, the key of its row."""
        return json.dumps({**self.planner, "warm_start": self.warm_start}, sort_keys=True)


def optimizer(name: str, **arguments: Any) -> Spec:
    """The spec of one of `mbrl.planners`' optimisers."""
    return {"class_path": f"mbrl.planners.{name}", "init_args": arguments}


def read_config(name: str) -> Spec:
    """A file of `configs/`, by its path there."""
    return yaml.safe_load((CONFIGS / name).read_text())


def fast_preset(task: str) -> Spec:
    """Planner settings of the task's preset at 20 Hz: optimizer, horizon and particles."""
    arguments = read_config(f"pets/{task}_20hz.yaml")["model"]["init_args"]
    return {name: arguments[name] for name in ("optimizer", "horizon", "particles")}


def exact_settings(task: str) -> list[Setting]:
    """The reference, the presets of `configs/mpc`, and what the preset at 20 Hz would do with an exact model."""
    settings = [
        Setting("reference", {"optimizer": optimizer("CEM", candidates=1000, elites=100, iterations=10), "horizon": 60}),
    ]
    base = read_config("base/mpc.yaml")["model"]["init_args"]
    files = {"iCEM": None} | {path.stem: path for path in sorted((CONFIGS / "mpc" / "optimizers").glob("*.yaml"))}
    for label, path in files.items():
        own = {} if path is None else read_config(f"mpc/optimizers/{path.name}")["model"]["init_args"]
        chosen = {**base, **own}
        settings.append(Setting(label, {name: chosen[name] for name in ("optimizer", "horizon")}))
    fast = fast_preset(task)
    settings.append(Setting("20 Hz preset", {name: fast[name] for name in ("optimizer", "horizon")}))
    return settings


def learned_settings(task: str) -> list[Setting]:
    """Settings from PETS' own down to the cheapest; each differs from one above it in one respect."""
    cem = optimizer("CEM", candidates=400, elites=40, iterations=5)
    small_cem = optimizer("CEM", candidates=100, elites=10, iterations=3)
    long, noise = HORIZONS[task], 2.0

    def icem(candidates: int, iterations: int, exponent: float) -> Spec:
        elites = min(10, candidates // 2)
        return optimizer("ICEM", candidates=candidates, elites=elites, iterations=iterations, exponent=exponent)

    def planned(search: Spec, horizon: int, particles: int, **more: Any) -> Spec:
        return {"optimizer": search, "horizon": horizon, "particles": particles, **more}

    usual = icem(40, 3, noise)
    return [
        Setting("iCEM 40 x 3, 5 particles", planned(usual, long, 5)),
        Setting("iCEM 40 x 3, 5 particles, no warm start", planned(usual, long, 5), warm_start=False),
        Setting("iCEM 40 x 3, 1 particle", planned(usual, long, 1)),
        Setting("iCEM 40 x 3, expectation", planned(usual, long, 1, propagation="expectation")),
        Setting("iCEM 40 x 3, 5 particles, quick noise", planned(icem(40, 3, 0.25), long, 5)),
        Setting("iCEM 40 x 2, 5 particles", planned(icem(40, 2, noise), long, 5)),
        Setting("iCEM 20 x 2, 5 particles", planned(icem(20, 2, noise), long, 5)),
        *(
            Setting(f"iCEM 40 x 3, 5 particles, {horizon} steps", planned(usual, horizon, 5))
            for horizon in (30, 20, 15, 10)
            if horizon != long
        ),
        Setting("MPPI 100 x 1, 5 particles", planned(optimizer("MPPI", candidates=100, iterations=1), long, 5)),
        Setting("MPPI 60 x 3, 5 particles", planned(optimizer("MPPI", candidates=60, iterations=3), long, 5)),
        Setting("iCEM 40 x 3, 20 particles", planned(usual, long, 20)),
        Setting("CEM 100 x 3, 5 particles", planned(small_cem, 25, 5)),
        Setting("CEM 100 x 3, 5 particles, no warm start", planned(small_cem, 25, 5), warm_start=False),
        Setting("CEM 400 x 5, 5 particles", planned(cem, 25, 5), starts=5),
        Setting("CEM 400 x 5, 20 particles (PETS)", planned(cem, 25, 20), starts=5),
    ]
