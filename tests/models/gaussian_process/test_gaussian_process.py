"""`GaussianProcess` as a model: its contract, its rows, its fits, and what it refuses."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import mbrl
from mbrl.data import Task, Transitions, make_generator
from mbrl.envs import OfflineData, collect, make_task
from mbrl.errors import ShapeError, UnsupportedError
from mbrl.models import GaussianProcess
from mbrl.models.gaussian_process.kernels import Hyperparameters
from mbrl.models.gaussian_process.marginal_likelihood import curb, find_hyperparameters
from mbrl.models.gaussian_process.row_choice import choose_rows
from mbrl.planners import ICEM, PETS
from mbrl.testing import check_dynamics_model
from mbrl.testing.no_sync import NoScalarReadback
from mbrl.training.commands.parsed import parsed
from tests.models.linear_task import TASK, linear_rows
from tests.test_metrics_doc import documented
from tests.training.test_kill_and_resume import same_run
from tests.training.toy import KillAt, data, in_child, trainer

SPARSE = {"inference": "sparse", "inducing_points": 20}


def built(seed: int = 0, task: Task = TASK, **options: Any) -> GaussianProcess:
    model = GaussianProcess(**{"members": 5, "updates": 20, **options})
    model.build(task, seed)
    return model


def noise(name: str = "fit") -> torch.Generator:
    return make_generator("cpu", 0, "gaussian process", name)


def fitted(rows: Transitions | None = None, **options: Any) -> tuple[GaussianProcess, dict[str, float]]:
    model = built(**options)
    report = model.refit(linear_rows(60) if rows is None else rows, noise())
    return model, {name: float(value) for name, value in report.items()}


def exact(model: GaussianProcess, rows: Transitions) -> Tensor:
    with torch.no_grad():
        return model.posterior(rows.obs, rows.action).mean


# contract ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, SPARSE, {"kernel": "matern52", "members": 1}, {"learn_reward": False}])
def test_it_keeps_the_contract(options: dict[str, Any]) -> None:
    task = TASK if options != {"learn_reward": False} else replace(TASK, known_reward="tests.models.linear_task.reward")
    check_dynamics_model(lambda: GaussianProcess(**{"members": 4, "updates": 4, **options}), task)


def test_it_answers_with_its_prior_before_any_fit() -> None:
    model, rows = built(members=2000), linear_rows(7)
    with torch.no_grad():
        said, moments = model.predict(rows.obs, rows.action), model.posterior(rows.obs, rows.action)
    assert torch.equal(moments.mean, rows.obs)  # nothing changes
    assert (moments.var == 1).all()
    assert said.mean.var(0).mean().item() == pytest.approx(1, abs=0.1)
    assert said.reward_mean is not None


def test_var_is_the_noise_alone_and_the_members_mean_is_the_posteriors() -> None:
    model, _ = fitted(linear_rows(200, noise=0.05), updates=60)
    near, far = linear_rows(20, seed=1), linear_rows(20, seed=1)
    far.obs += 1000
    spread = []
    for rows in (near, far):
        with torch.no_grad():
            said, moments = model.predict(rows.obs, rows.action), model.posterior(rows.obs, rows.action)
        torch.testing.assert_close(said.var, moments.noise.expand_as(said.var))
        torch.testing.assert_close(said.mean.mean(0), moments.mean, atol=2e-3, rtol=1e-4)
        assert said.reward_mean is not None and said.reward_var is not None
        torch.testing.assert_close(said.reward_mean.mean(0), moments.reward_mean, atol=2e-3, rtol=1e-4)
        torch.testing.assert_close(said.reward_var, moments.reward_noise.expand_as(said.reward_var))  # type: ignore[union-attr]
        spread.append(said.mean.var(0).mean(0))  # S
    assert said.var.sqrt().mean().item() == pytest.approx(0.05, rel=0.15)
    assert (spread[1] > 10 * spread[0]).all()  # far away the members disagree


def test_members_are_redrawn_by_each_fit_from_its_generator() -> None:
    model, rows = built(), linear_rows(60)
    answers = []
    for name in ("one", "two", "one"):
        model.build(TASK, 0)
        model.refit(rows, noise(name))
        answers.append(model.predict(rows.obs, rows.action).mean)
    assert torch.equal(answers[0], answers[2])
    assert not torch.allclose(answers[0], answers[1], atol=1e-5)


def test_gradients_are_those_of_differences() -> None:
    model, _ = fitted(updates=40)
    rows = linear_rows(6, seed=2)
    obs, action = rows.obs.clone().requires_grad_(), rows.action.clone().requires_grad_()
    for answer in (lambda o, a: model.predict(o, a).mean[2].sum(), lambda o, a: model.posterior(o, a).var.sum()):
        slopes = torch.autograd.grad(answer(obs, action), (obs, action))
        with torch.no_grad():
            for column, slope in ((obs, slopes[0]), (action, slopes[1])):
                step = torch.zeros_like(column)
                step[3, 1] = 1e-2
                moved = [(obs + s * step, action) if column is obs else (obs, action + s * step) for s in (1, -1)]
                difference = (answer(*moved[0]) - answer(*moved[1])) / 2e-2
                assert slope[3, 1].item() == pytest.approx(difference.item(), rel=2e-2, abs=2e-3)


def test_chunks_and_drawn_members_change_nothing() -> None:
    (model, _), rows = fitted(), linear_rows(50, seed=3)
    member = torch.arange(50) % 5
    with torch.no_grad():
        whole, drawn = model.predict(rows.obs, rows.action), model.predict(rows.obs, rows.action, member)
        model.paths.chunk_rows = model.chunk_rows = 7
        torch.testing.assert_close(model.predict(rows.obs, rows.action).mean, whole.mean)
        torch.testing.assert_close(model.predict(rows.obs, rows.action, member).mean, drawn.mean)
    torch.testing.assert_close(drawn.mean, whole.mean[member, torch.arange(50)])


def test_predictions_read_nothing_back() -> None:
    (model, _), rows = fitted(), linear_rows(9)
    with torch.no_grad(), NoScalarReadback():
        model.predict(rows.obs, rows.action, torch.zeros(9, dtype=torch.int64))
        model.predict(rows.obs, rows.action)


def test_wrong_sizes_are_refused() -> None:
    model, rows = built(), linear_rows(4)
    with pytest.raises(ShapeError, match=r"predict\(obs\)"):
        model.predict(rows.obs[:, :2], rows.action)
    with pytest.raises(ShapeError, match=r"posterior\(action\)"):
        model.posterior(rows.obs, rows.action[:3])
    with pytest.raises(ShapeError, match=r"predict\(member\)"):
        model.predict(rows.obs, rows.action, torch.zeros(3, dtype=torch.int64))


def test_a_termination_that_nobody_knows_is_refused() -> None:
    model = built(task=replace(TASK, known_terminated=None))
    rows = linear_rows(4)
    for ask in (model.check_known, lambda: model.step(model.start(rows, noise()), rows.action)):
        with pytest.raises(UnsupportedError, match="GaussianProcess predicts no termination and the task has no known one"):
            ask()


def test_importing_the_models_leaves_gpytorch_alone() -> None:
    code = "import sys, mbrl.models; m = mbrl.models.GaussianProcess(); assert 'gpytorch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)


# fits --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, SPARSE, {"kernel": "matern52"}])
def test_a_fit_explains_and_reports(options: dict[str, Any]) -> None:
    model, report = fitted(linear_rows(100), updates=60, **options)
    assert set(report) == {name.removeprefix("model/") for name in documented("A Gaussian process's fit")}
    assert report["explained"] > 0.95
    assert report["loss"] == -report["log_likelihood"]
    assert report["rows"] == 100
    assert report["equal_rows"] == report["jitter_retries"] == 0
    fresh = linear_rows(100, seed=9)
    change = (fresh.next_obs - fresh.obs).square().mean()
    assert ((exact(model, fresh) - fresh.next_obs).square().mean() / change).item() < 0.1


def test_explained_is_of_rows_that_the_answer_has_not_seen() -> None:
    rows = linear_rows(60)
    rows.next_obs = rows.obs + torch.randn(rows.obs.shape, generator=noise("nothing to learn"))
    _, report = fitted(rows, noise_floor=1e-6, updates=0)
    assert report["explained"] < 0.1  # at the rows themselves the mean is close to each


def test_the_next_fit_begins_where_the_last_ended() -> None:
    rows = linear_rows(80)
    model = built(updates=15)
    likelihoods = [float(model.refit(rows, noise())["log_likelihood"]) for _ in range(4)]
    assert likelihoods == sorted(likelihoods)
    found = model.process.hyperparameters
    model.updates = 0
    model.refit(rows, noise())
    for name, value in vars(model.process.hyperparameters).items():
        assert torch.equal(value, getattr(found, name))


def test_curbs_hold_clean_data_from_an_endless_signal_to_noise_ratio() -> None:
    z = torch.linspace(-1, 1, 40, dtype=torch.float64).unsqueeze(-1)
    found = find_hyperparameters("rbf", z, z * 1.0, Hyperparameters.initial(1, 1), updates=300, noise_floor=1e-12)
    of = found.hyperparameters
    assert (of.signal / of.noise).sqrt().item() < 2000
    assert of.lengthscale.item() < 150
    wall = Hyperparameters(
        *(torch.full(shape, v, dtype=torch.float64) for shape, v in (((1, 1), 200.0), ((1,), 4.0), ((1,), 1e-6)))
    )
    assert curb(wall).item() > 10
    assert curb(Hyperparameters.initial(1, 1)).item() < 1e-6


def test_rows_in_float64_and_in_other_units_are_fitted_alike() -> None:
    rows = linear_rows(60)
    scale = torch.tensor([1.0, 2.0**12, 2.0**-12])
    scaled = replace(rows, obs=rows.obs * scale, next_obs=rows.next_obs * scale, reward=rows.reward * 2**12)
    (model, report), (other, again) = fitted(rows), fitted(scaled)
    double, same = fitted(rows.map(lambda x: x.double() if x.is_floating_point() else x))
    assert report["explained"] == pytest.approx(again["explained"], abs=1e-6) and report == same
    torch.testing.assert_close(exact(other, scaled) / scale, exact(model, rows), rtol=1e-6, atol=1e-6)
    assert torch.equal(exact(double, rows), exact(model, rows))


def test_more_rows_than_allowed_are_thinned_to_the_newest_and_the_telling() -> None:
    of = Hyperparameters.initial(2, 1)
    z = torch.cat((torch.zeros(50, 1), torch.tensor([[5.0], [-5.0]]), torch.zeros(48, 1))).double()
    z = z + 1e-3 * torch.arange(100).double().unsqueeze(-1)
    places = choose_rows("rbf", of, z, 6, 3, noise()).tolist()
    assert places[-3:] == [97, 98, 99] and {50, 51} <= set(places)
    assert choose_rows("rbf", of, z, 100, 3, noise()).tolist() == list(range(100))
    many = torch.randn(7000, 1, generator=noise("many"), dtype=torch.float64)
    assert len(set(choose_rows("rbf", of, many, 12, 4, noise()).tolist())) == 12
    _, report = fitted(linear_rows(60), max_rows=30, newest=10)
    assert report["rows"] == 30


@pytest.mark.parametrize("options", [{}, SPARSE])
def test_resumed_equals_unbroken_and_loads_in_a_fresh_process(options: dict[str, Any], tmp_path: Path) -> None:
    torch.set_num_threads(1)

    def fit(folder: str, ckpt_path: str | None = None, **more: Any) -> None:
        model = GaussianProcess(**{"members": 4, "updates": 4, "frequencies": 32, "max_rows": 25, "newest": 5, **options})
        icem = ICEM(candidates=6, elites=2, iterations=1)
        planner = PETS(model, icem, horizon=3, particles=4, warmup_steps=22, refit_every=4)
        run = trainer(tmp_path / folder, log_every=1, eval_every=100, checkpoint_every=1, **more)
        run.fit(planner, data(34), ckpt_path=ckpt_path)

    fit("whole")
    assert in_child(lambda: fit("parts", callbacks=[KillAt(31)])) == -signal.SIGKILL
    fit("parts", "last")
    assert same_run(tmp_path / "whole", tmp_path / "parts") == []
    planner = mbrl.load(tmp_path / "whole")
    said = planner.dynamics.predict(torch.zeros(1, 3), torch.zeros(1, 1)).mean.flatten().tolist()
    code = (
        "import sys, torch, mbrl; torch.set_num_threads(1); "
        "print(mbrl.load(sys.argv[1]).dynamics.predict(torch.zeros(1, 3), torch.zeros(1, 1)).mean.flatten().tolist())"
    )
    arguments = [sys.executable, "-c", code, str(tmp_path / "whole")]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == str(said)


def test_mbrl_fit_of_it_alone(tmp_path: Path) -> None:
    task = make_task("Pendulum-v1")
    seen, fresh = (collect(task, str(tmp_path / f"{seed}.npz"), steps=100, seed=seed) for seed in (0, 1))
    model = GaussianProcess(members=4, updates=30)
    trainer(tmp_path / "run").fit(model, OfflineData(str(seen), env_id="Pendulum-v1"))
    tested = trainer(tmp_path / "run").test(model, OfflineData(str(fresh), env_id="Pendulum-v1"))
    assert tested["test/mse"] < 0.5


@pytest.mark.parametrize("preset", ["base/pets pets/pendulum_20hz", "base/mbpo mbpo/pendulum coplanner/both"])
@pytest.mark.parametrize("overlay", ["gp", "gp_sparse"])
def test_overlays_go_over_any_preset(preset: str, overlay: str) -> None:
    files = [f"configs/{name}.yaml" for name in (*preset.split(), f"models/{overlay}")]
    found = parsed(["fit", *(word for file in files for word in ("--config", file))])["model"]["init_args"]["dynamics"]
    assert found["class_path"] == "mbrl.models.GaussianProcess"
    made = found["init_args"]
    assert (made["members"], made["inference"]) == (20, "sparse" if "sparse" in overlay else "exact")
    assert made["updates"] == 60
