"""`torch.set_default_dtype(torch.float64)`, which BoTorch's users put at the top of their notebooks, changes no number."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mbrl
from mbrl.analysis import Result, report
from mbrl.data import Prediction, Transitions, ValueFunction, make_generator
from mbrl.envs import OfflineData, OnlineData, VectorExperience, collect, make_task
from mbrl.models import (
    CartPole,
    Differentiable,
    DynamicsModel,
    GaussianEnsemble,
    GradientModel,
    LinearQuadratic,
    ModelEnv,
    ModelVectorEnv,
    Pendulum,
    SimulatorModel,
)
from mbrl.planners import (
    CEM,
    ICEM,
    MPPI,
    PETS,
    UPMPC,
    Dyna,
    GradientShooting,
    RandomShooting,
    UncertaintyPenalty,
    evaluate,
)
from mbrl.policies import SAC
from mbrl.testing import LinearModel, linear_task
from mbrl.testing.clauses import some_actions, some_obs, some_rows
from mbrl.testing.linear import ACTION_MATRIX, STATE_MATRIX
from mbrl.uncertainty import MeanDisagreement
from tests.training.toy import lines, trainer

PACKAGE = Path(mbrl.__file__).parent
SHORT: dict[str, Any] = {"env_kwargs": {"max_episode_steps": 12}}
FITS: dict[str, Any] = {"warmup_steps": 16, "refit_every": 8}


class Linear(GradientModel, Differentiable):
    """A user's model, of torch's own layers."""

    def make_parameters(self, task: Any, generator: torch.Generator) -> None:
        self.net = nn.Linear(task.obs_size + task.action_size, task.obs_size)

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        mean = obs + self.net(torch.cat([obs, action], -1))
        mean = mean[None] if member is None else mean
        return Prediction(mean, torch.zeros_like(mean))

    def loss(self, batch: Transitions, value: ValueFunction | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        error = self.predict(batch.obs, batch.action, batch.row).mean - batch.next_obs
        return error.square().mean(), {}


def ensemble(**options: Any) -> GaussianEnsemble:
    settings = {"members": 3, "elites": 2, "hidden": [8], "weight_decay": 0.0, "max_epochs": 2, "batch_size": 8}
    return GaussianEnsemble(**{**settings, **options})


def dyna(model: DynamicsModel, **options: Any) -> Dyna:
    settings = {"rollouts_per_step": 2, "updates_per_step": 1, "batch_size": 8, "real_ratio": 0.25, **FITS}
    learner = SAC(hidden=[8], normalize_obs=True)
    return Dyna(model, learner, rollout_length=[0, 1, 2, 2], epoch_steps=8, **{**settings, **options})


def pets(optimizer: Any, model: DynamicsModel | None = None, **options: Any) -> PETS:
    return PETS(model or ensemble(), optimizer, horizon=3, **{**FITS, **options})


def trained(planner: Any, folder: Path, env_id: str = "Pendulum-v1", **data: Any) -> dict[str, Any]:
    """All numbers of a run, of what is loaded of it, and of its evaluation."""
    online = OnlineData(env_id, steps=24, eval_episodes=1, test_episodes=2, **{**SHORT, **data})
    run = trainer(folder)
    run.fit(planner, online)
    run.test(planner, online)
    loaded: Any = mbrl.load(folder, allow=["tests"])
    experience = VectorExperience(loaded.task, 2, seed=5)
    returns = evaluate(loaded, experience, 2, seed=6)
    obs = experience.obs
    experience.close()
    snapshot = {} if experience.snapshot is None else {"snapshot": experience.snapshot}
    return {
        "lines": lines(folder),
        "state": planner.state_dict(),
        "loaded": loaded.state_dict(),
        "rows": vars(planner.real_buffer.all()),
        "returns": [returns.returns, returns.lengths],
        "predicted": loaded.predict(obs, **snapshot),
        "test": (folder / "test.json").read_text(),
    }


def of_model(model: DynamicsModel, task: Any, folder: Path) -> dict[str, Any]:
    """All numbers of a model: fit, predictions, steps, and what it is as an environment."""
    model.build(task, 0)
    rows = some_rows(task)
    told = model.refit(rows, make_generator("cpu", "fit")) if model.fitting != "fixed" else {}
    state = model.start(rows, make_generator("cpu", "start"))
    said = vars(model.predict(rows.obs, rows.action))
    found: dict[str, Any] = {"told": told, "state": model.state_dict(), "prediction": said}
    for number in range(3):
        step = model.step(state, some_actions(task, len(rows)))
        state = step.state
        found[f"step {number}"] = [step.next_obs, step.reward, step.terminated]
    env, vector = ModelEnv(model, rows), ModelVectorEnv(model, rows, 3)
    first, second = env.reset(seed=0)[0], vector.reset(seed=0)[0]
    found["env"] = [first, *env.step(env.action_space.low)[:3], second, *vector.step(vector.action_space.low)[:3]]
    return found


def of_learner(folder: Path) -> dict[str, Any]:
    task = linear_task()
    learner = SAC(hidden=[8])
    learner.build(task, 0)
    learner.make_optimizers()
    noise = make_generator("cpu", "noise")
    told = [learner.update(some_rows(task), noise) for _ in range(3)]
    obs = some_obs(task, 5)
    said = [learner.value(obs), *learner.policy.sample(obs, noise)]
    return {"told": told, "state": learner.state_dict(), "said": said}


def offline(model: DynamicsModel, folder: Path) -> dict[str, Any]:
    """A model fitted alone on a recorded dataset, tested, and reported."""
    path = str(folder / "data.npz")
    folder.mkdir()
    collect(make_task("Pendulum-v1", SHORT["env_kwargs"]), path, steps=96, num_envs=2)
    data = OfflineData(path, env_id="Pendulum-v1", **SHORT)
    run = trainer(folder / "run", max_epochs=2)
    run.fit(model, data)
    told = {}
    if isinstance(model, GaussianEnsemble):
        parts = report(mbrl.load(folder / "run"), data.transitions, horizon=6, quick=True).parts
        told = {part.name: part.summary() for part in parts if isinstance(part, Result)}
    return {"state": model.state_dict(), "lines": lines(folder / "run", "epoch"), "told": told}


EXPLORES = {"rollout_selector": UPMPC(rate=-2.0), "explore_selector": UPMPC(rate=1.0)}
PENALISED = {"rollout_hooks": [UncertaintyPenalty(MeanDisagreement(), 1.0, target=0.1)]}
LEARNED = {"reward": "learned", "terminated": "learned"}
LEARNING = {"learner": SAC(hidden=[8]), "terminal_value": "min"}
FLOWS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "Dyna": lambda folder: trained(dyna(ensemble(), **PENALISED), folder),
    "Dyna, all learned": lambda folder: trained(dyna(ensemble()), folder, **LEARNED),
    "Dyna, a user's layers": lambda folder: trained(dyna(Linear(max_epochs=2)), folder),
    "Dyna, simulator": lambda folder: trained(dyna(SimulatorModel(threads=1)), folder, "InvertedPendulum-v5"),
    "COPlanner": lambda folder: trained(dyna(ensemble(), **EXPLORES), folder),
    "PETS, CEM": lambda folder: trained(pets(CEM(candidates=8, elites=2, iterations=2), particles=3, **LEARNING), folder),
    "PETS, iCEM": lambda folder: trained(pets(ICEM(candidates=8, elites=2, iterations=2), particles=4), folder),
    "PETS, MPPI": lambda folder: trained(pets(MPPI(candidates=8, iterations=2)), folder),
    "PETS, random": lambda folder: trained(pets(RandomShooting(candidates=8), propagation="expectation"), folder),
    "PETS, moments": lambda folder: trained(pets(RandomShooting(candidates=8), propagation="mm"), folder),
    "PETS, gradient": lambda folder: trained(pets(GradientShooting(candidates=2, updates=2), Pendulum()), folder),
    "ensemble": lambda folder: of_model(ensemble(), linear_task(), folder),
    "deterministic ensemble": lambda folder: of_model(ensemble(deterministic=True, bounds="frozen"), linear_task(), folder),
    "Pendulum": lambda folder: of_model(Pendulum(), make_task("Pendulum-v1"), folder),
    "CartPole": lambda folder: of_model(CartPole(), make_task("dm_control/cartpole-swingup-v0", action_repeat=4), folder),
    "LinearQuadratic": lambda folder: of_model(LinearQuadratic(STATE_MATRIX, ACTION_MATRIX), linear_task(), folder),
    "LinearModel": lambda folder: of_model(LinearModel(noise=0.1, members=3, spread=0.2), linear_task(), folder),
    "SAC": of_learner,
    "offline ensemble": lambda folder: offline(ensemble(), folder),
    "offline, a user's layers": lambda folder: offline(Linear(max_epochs=2), folder),
}


@pytest.fixture
def in_float64() -> Any:
    def run(flow: Callable[[], Any]) -> Any:
        torch.set_default_dtype(torch.float64)
        try:
            return flow()
        finally:
            torch.set_default_dtype(torch.float32)

    return run


def differing(one: Any, other: Any, where: str = "") -> list[str]:
    """Where two results differ by a bit or a dtype."""
    if isinstance(one, Tensor):
        one, other = one.detach().numpy(), other.detach().numpy()
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        return [name for key in one for name in differing(one[key], other[key], f"{where}/{key}")]
    if isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        return [name for i, pair in enumerate(zip(one, other, strict=True)) for name in differing(*pair, f"{where}/{i}")]
    if isinstance(one, np.ndarray):
        same = one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
        return [] if same else [f"{where} ({one.dtype}, {other.dtype})"]
    return [] if one == other or (one != one and other != other) else [f"{where}: {one!r}, {other!r}"]


@pytest.mark.parametrize("name", FLOWS)
def test_no_number_depends_on_it(name: str, tmp_path: Path, in_float64: Any) -> None:
    plain = FLOWS[name](tmp_path / "float32")
    told = in_float64(lambda: FLOWS[name](tmp_path / "float64"))
    assert differing(plain, told) == []


def test_building_puts_the_default_back(in_float64: Any) -> None:
    def built() -> torch.dtype:
        ensemble().build(linear_task(), 0)
        return torch.get_default_dtype()

    assert in_float64(built) is torch.float64


# where tensors are made ----------------------------------------------------------------------------------------------

_MAKERS = {"zeros", "ones", "empty", "full", "eye", "rand", "randn", "linspace", "logspace", "tensor", "scalar_tensor"}


def without_dtype(source: str) -> list[int]:
    """The lines that make a tensor and leave its dtype to torch's default."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "torch"
        and ((node.func.attr in _MAKERS and not _says_dtype(node)) or (node.func.attr == "finfo" and not node.args))
    ]


def _says_dtype(call: ast.Call) -> bool:
    items = getattr(call.args[0], "elts", [None])
    whole = all(isinstance(item, ast.Constant) and isinstance(item.value, int) for item in items)
    return whole or any(keyword.arg == "dtype" for keyword in call.keywords)  # whole numbers have a dtype of their own


def test_every_tensor_is_made_with_a_dtype() -> None:
    found = {str(path.relative_to(PACKAGE)): without_dtype(path.read_text()) for path in PACKAGE.rglob("*.py")}
    assert {path: numbers for path, numbers in found.items() if numbers} == {}


@pytest.mark.parametrize("line", ["torch.zeros(3)", "torch.tensor([0.5])", "torch.rand(2, generator=g)", "torch.finfo()"])
def test_a_tensor_without_one_is_found(line: str) -> None:
    assert without_dtype(line) == [1]
    assert without_dtype("torch.tensor([0, 2]), torch.zeros(3, dtype=torch.float32), torch.finfo(x.dtype)") == []
