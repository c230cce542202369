"""Every model under every planner, from YAML, for three ticks: runs, or is refused with the sentence in docs/pairs.md."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import mbrl.models
import mbrl.planners
from mbrl.cli import main
from mbrl.envs import collect, make_task
from mbrl.models import DynamicsModel
from mbrl.names import import_name
from mbrl.planners import Planner

SHORT = {"env_id": "Pendulum-v1", "env_kwargs": {"max_episode_steps": 20}, "steps": 23, "eval_episodes": 1}
SMALL = {"members": 2, "elites": 2, "hidden": [8], "max_epochs": 1}
LINEAR = {"class_path": "mbrl.networks.Library", "init_args": {"degree": 1}}
DOMAIN = [
    {"class_path": "mbrl.models.UnitCircle", "init_args": {"pairs": [[0, 1]]}},
    {"class_path": "mbrl.models.Box", "init_args": {"low": [None, None, -8.5], "high": [None, None, 8.5]}},
]
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # row: (the model, changes to the data)
    "`mbrl.models.GaussianEnsemble`: probabilistic": (
        {"class_path": "mbrl.models.GaussianEnsemble", "init_args": SMALL},
        {},
    ),
    "`mbrl.models.GaussianEnsemble`: deterministic": (
        {"class_path": "mbrl.models.GaussianEnsemble", "init_args": {**SMALL, "deterministic": True}},
        {},
    ),
    "`mbrl.models.GaussianEnsemble`: one member": (
        {"class_path": "mbrl.models.GaussianEnsemble", "init_args": {**SMALL, "members": 1, "elites": 1}},
        {},
    ),
    "`mbrl.models.GaussianEnsemble`: reward and termination learned": (
        {"class_path": "mbrl.models.GaussianEnsemble", "init_args": SMALL},
        {"reward": "learned", "terminated": "learned"},
    ),
    "`mbrl.models.GaussianEnsemble`: constrained (`mbrl.networks.SpectralClip`)": (
        {
            "class_path": "mbrl.models.GaussianEnsemble",
            "init_args": {**SMALL, "constraint": {"class_path": "mbrl.networks.SpectralClip"}},
        },
        {},
    ),
    "`mbrl.models.GaussianEnsemble`: a value-aware loss (`mbrl.models.VaGraM`)": (
        {
            "class_path": "mbrl.models.GaussianEnsemble",
            "init_args": {**SMALL, "loss": {"class_path": "mbrl.models.VaGraM"}},
        },
        {},
    ),
    "`mbrl.models.NextObsNetwork`": (
        {"class_path": "mbrl.models.NextObsNetwork", "init_args": {"hidden": [8], "max_epochs": 1}},
        {},
    ),
    "`mbrl.models.Blend`: between a learned and an exact model": (
        {
            "class_path": "mbrl.models.Blend",
            "init_args": {
                "first": {"class_path": "mbrl.models.GaussianEnsemble", "init_args": SMALL},
                "second": {"class_path": "mbrl.models.Pendulum"},
            },
        },
        {},
    ),
    "`mbrl.models.GaussianProcess`": (
        {
            "class_path": "mbrl.models.GaussianProcess",
            "init_args": {"members": 5, "max_rows": 30, "newest": 5, "updates": 10},
        },
        {},
    ),
    "`mbrl.models.SINDy`: members": (
        {"class_path": "mbrl.models.SINDy", "init_args": {"members": 3, "library": LINEAR}},
        {},
    ),
    "`mbrl.models.SINDy`: one member, reward learned, in a box": (
        {
            "class_path": "mbrl.models.SINDy",
            "init_args": {"members": 1, "library": LINEAR, "reward_library": LINEAR, "domain": DOMAIN},
        },
        {"reward": "learned"},
    ),
    "`mbrl.testing.LinearModel`: fixed, exact": (
        {
            "class_path": "mbrl.testing.LinearModel",
            "init_args": {"state_matrix": [[0.9, 0, 0], [0, 0.9, 0], [0, 0, 0.9]], "action_matrix": [[0.1], [0.1], [0.1]]},
        },
        {},
    ),
    "`mbrl.models.Pendulum`: exact": ({"class_path": "mbrl.models.Pendulum"}, {}),
    "`mbrl.models.CartPole`: exact, reward summed over an action repeat": (
        {"class_path": "mbrl.models.CartPole"},
        {"env_id": "dm_control/cartpole-swingup-v0", "action_repeat": 4},
    ),
    "`mbrl.models.LinearQuadratic`: exact": (
        {
            "class_path": "mbrl.models.LinearQuadratic",
            "init_args": {"state_matrix": [[0.9, 0, 0], [0, 0.9, 0], [0, 0, 0.9]], "action_matrix": [[0.1], [0.1], [0.1]]},
        },
        {"reward": "learned"},
    ),
    "`mbrl.models.SimulatorModel`: exact, from the simulator's state": (
        {"class_path": "mbrl.models.SimulatorModel", "init_args": {"threads": 1}},
        {"env_id": "Walker2d-v5"},
    ),
}
SEQUENCES = {"class_path": "mbrl.policies.SequenceSAC", "init_args": {"length": 3, "hidden": [8, 8]}}
OFFLINE = "OfflineDyna (`mbrl.planners.OfflineDyna`)"
PLANNERS: dict[str, dict[str, Any]] = {
    "Dyna (`mbrl.planners.Dyna`)": {
        "class_path": "mbrl.planners.Dyna",
        "init_args": {
            "learner": {"class_path": "mbrl.policies.SAC", "init_args": {"hidden": [8, 8]}},
            "warmup_steps": 20, "refit_every": 2, "rollouts_per_step": 4, "updates_per_step": 1, "batch_size": 16,
        },
    },
    "Dyna with UP-MPC in both selectors (COPlanner)": {
        "class_path": "mbrl.planners.Dyna",
        "init_args": {
            "learner": {"class_path": "mbrl.policies.SAC", "init_args": {"hidden": [8, 8]}},
            "rollout_selector": {"class_path": "mbrl.planners.UPMPC", "init_args": {"rate": -2.0}},
            "explore_selector": {"class_path": "mbrl.planners.UPMPC", "init_args": {"rate": 1.0}},
            "warmup_steps": 20, "refit_every": 2, "rollouts_per_step": 4, "updates_per_step": 1, "batch_size": 16,
        },
    },
    "PETS (`mbrl.planners.PETS`), iCEM": {
        "class_path": "mbrl.planners.PETS",
        "init_args": {
            "optimizer": {"class_path": "mbrl.planners.ICEM", "init_args": {"candidates": 6, "elites": 2}},
            "horizon": 3, "warmup_steps": 20, "refit_every": 2,
        },
    },
    "PETS, gradient shooting": {
        "class_path": "mbrl.planners.PETS",
        "init_args": {
            "optimizer": {"class_path": "mbrl.planners.GradientShooting", "init_args": {"candidates": 2, "updates": 2}},
            "horizon": 3, "warmup_steps": 20, "refit_every": 2,
        },
    },
    "SRL (`mbrl.planners.SRL`)": {
        "class_path": "mbrl.planners.SRL",
        "init_args": {"learner": SEQUENCES, "warmup_steps": 20, "refit_every": 2, "batch_size": 16},
    },
    "SRL, `model_target: false`": {
        "class_path": "mbrl.planners.SRL",
        "init_args": {
            "learner": SEQUENCES, "warmup_steps": 20, "refit_every": 2, "batch_size": 16, "model_target": False,
        },
    },
    "ModelRolled (`mbrl.planners.ModelRolled`)": {
        "class_path": "mbrl.planners.ModelRolled",
        "init_args": {"policy": {"class_path": "mbrl.policies.SAC", "init_args": {"hidden": [8, 8]}}},
    },
    OFFLINE: {
        "class_path": "mbrl.planners.OfflineDyna",
        "init_args": {
            "learner": {"class_path": "mbrl.policies.SAC", "init_args": {"hidden": [8, 8]}},
            "rollout_batch": 4, "rollout_length": 2, "rollout_every": 2, "batch_size": 16,
        },
    },
}  # fmt: skip


def table() -> dict[tuple[str, str], str]:
    """The cells of docs/pairs.md by row and column."""
    lines = [line for line in Path("docs/pairs.md").read_text().splitlines() if line.startswith("|")]
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {(row[0], column): cell for row in rows for column, cell in zip(head[1:], row[1:], strict=True)}


def concrete(module: Any, base: type) -> set[str]:
    """Names of the classes that `module` exports and that can be made."""
    found = (getattr(module, name) for name in module.__all__)
    classes = (item for item in found if isinstance(item, type) and issubclass(item, base))
    return {f"{module.__name__}.{item.__name__}" for item in classes if not inspect.isabstract(item)}


def test_every_model_and_planner_has_its_cells() -> None:
    cells = table()
    assert {row for row, _ in cells} == set(MODELS) and {column for _, column in cells} == set(PLANNERS)
    assert all(cells.values()) and len(cells) == len(MODELS) * len(PLANNERS)
    assert concrete(mbrl.models, DynamicsModel) <= {model["class_path"] for model, _ in MODELS.values()}
    asking = {
        name for name in concrete(mbrl.planners, Planner) if "dynamics" in inspect.signature(import_name(name)).parameters
    }
    assert asking <= {planner["class_path"] for planner in PLANNERS.values()}


def online(data: dict[str, Any]) -> dict[str, Any]:
    """The environment itself."""
    return {"class_path": "mbrl.envs.OnlineData", "init_args": data}


def recorded(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Random steps in it as a dataset, and three updates."""
    of_task = {name: data[name] for name in ("env_id", "env_kwargs", "action_repeat") if name in data}
    collect(make_task(**of_task), str(folder / "steps.npz"), steps=data["steps"])
    known = {name: data[name] for name in ("reward", "terminated") if name in data}
    settings = {"path": str(folder / "steps.npz"), "steps": 3, "eval_episodes": 1, **of_task, **known}
    return {"class_path": "mbrl.envs.OfflineData", "init_args": settings}


@pytest.mark.parametrize(("row", "column"), list(table()))
def test_a_pair_does_what_its_cell_says(row: str, column: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model, data), planner = MODELS[row], PLANNERS[column]
    config = {
        "seed_everything": 0,
        "model": {**planner, "init_args": {**planner["init_args"], "dynamics": model}},
        "data": recorded({**SHORT, **data}, tmp_path) if column == OFFLINE else online({**SHORT, **data}),
        "trainer": {"folder": str(tmp_path / "run"), "tensorboard": False, "progress": False},
    }
    path = tmp_path / "pair.yaml"
    path.write_text(yaml.safe_dump(config))
    code = main(["fit", "--config", str(path)])
    said = capsys.readouterr()
    if table()[row, column] == "runs":
        assert code == 0, said.err
    else:
        sentence = table()[row, column].removeprefix("refused: ")
        assert code == 2 and re.search(re.escape(sentence), said.err)
