"""`SINDy` as a model: its contract, its fits, its runs, and what it refuses or warns of."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import mbrl
from mbrl.data import Task, Transitions, make_generator
from mbrl.envs import OfflineData, collect, make_task
from mbrl.errors import ConfigError, DataError, MbrlWarning, ShapeError, UnsupportedError
from mbrl.models import Box, SINDy
from mbrl.networks import Library, PySINDyOptimizer
from mbrl.planners import ICEM, PETS
from mbrl.testing import check_dynamics_model
from mbrl.testing.no_sync import NoScalarReadback
from mbrl.training.commands.parsed import parsed
from tests.models.linear_task import TASK, linear_rows
from tests.test_metrics_doc import documented
from tests.training.test_kill_and_resume import same_run
from tests.training.toy import KillAt, data, in_child, trainer

KNOWN = replace(TASK, known_reward="tests.models.linear_task.reward")


NO_BIAS = Library(bias=False)  # since the pendulum's cosine and sine make one


def noise(name: str = "fit") -> torch.Generator:
    return make_generator("cpu", 0, "sindy", name)


def fitted(rows: Transitions | None = None, **options: Any) -> tuple[SINDy, dict[str, float]]:
    model = SINDy(**{"members": 4, **options})
    model.build(TASK)
    report = model.refit(linear_rows(200) if rows is None else rows, noise())
    return model, {name: float(value) for name, value in report.items()}


@pytest.mark.parametrize(
    "options",
    [
        {"members": 1},
        {"members": 3, "drop_terms": 1},
        {"members": 3, "aggregate": "median"},
        {"members": 3, "aggregate": "mean", "target": "next_obs", "threshold": 1e-3},
        {"members": 2, "domain": [Box([-2.0, None, None], [2.0, None, None])]},
    ],
)
def test_it_keeps_the_contract(options: dict[str, Any]) -> None:
    check_dynamics_model(lambda: SINDy(**options), TASK)


def test_it_keeps_the_contract_where_the_reward_is_known() -> None:
    check_dynamics_model(lambda: SINDy(members=2), KNOWN)


def test_before_a_fit_nothing_changes() -> None:
    for options in ({}, {"target": "next_obs"}):
        model = SINDy(**options)
        model.build(TASK)
        rows = linear_rows(5)
        said = model.predict(rows.obs, rows.action)
        assert torch.equal(said.mean, rows.obs.expand(20, 5, 3)) and (said.var == 0).all()


def test_a_fit_explains_and_reports() -> None:
    model, report = fitted()
    told = {name.removeprefix("model/") for name in documented("A sparse model's fit")}
    assert set(report) == told - {"outside"}  # which comes with a box
    assert report["explained"] > 0.98 and report["reward_explained"] > 0.98 and report["loss"] == 1 - report["explained"]
    assert report["sound"] == 4 and report["redundant"] == 0 and 1 < report["terms"] < 10
    assert re.match(r"Δx0 = \(0\.[12]\d* ± 0\.00\d+\) u0 \+ \(0\.[01]\d* ± 0\.00\d+\) x2", str(model.equations()))


def test_equations_are_in_units_and_as_the_user_calls_things() -> None:
    task = make_task("Pendulum-v1")
    obs = torch.randn(300, 3, generator=noise("obs"))
    action = torch.rand(300, 1, generator=noise("action")) * 2 - 1
    rows = Transitions.from_obs(obs, 1)
    rows.action, rows.next_obs = action, obs + 0.05 * torch.cat((-obs[:, 1:2] * obs[:, 2:], 0 * obs[:, :1], 6 * action), 1)
    model = SINDy(members=1)
    model.build(task)
    model.refit(rows, noise())
    names = ["cosθ", "sinθ", "θ'", "u"]
    assert str(model.equations(names)) == "Δcosθ = -0.05 sinθ θ'\nΔsinθ = 0\nΔθ' = 0.15 u"  # u in N m, ±2
    assert str(model.equations(names, dt=0.05)).splitlines()[2] == "dθ'/dt = 3 u"
    assert "\\Delta x_{0} &= -0.05 x_{1} x_{2} \\\\" in model.equations().latex()
    assert "\\dot{x_{2}} &= 3 u_{0}" in model.equations(dt=0.05).latex()
    with pytest.raises(ConfigError, match=r"equations\(names=…\): expected shape 4, got 1; name observations and actions"):
        model.equations(["x"])


def test_units_count_for_nothing() -> None:
    rows = linear_rows(200)
    scale = torch.tensor([1e4, 1.0, 1e-3])
    scaled = replace(rows, obs=rows.obs * scale, next_obs=rows.next_obs * scale, reward=1e4 * rows.reward)
    (one, report), (other, again) = fitted(rows), fitted(scaled)
    for name, value in report.items():
        assert again[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    said, theirs = (model.predict(r.obs, r.action) for model, r in ((one, rows), (other, scaled)))
    torch.testing.assert_close(theirs.mean / scale, said.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(theirs.reward_mean / 1e4, said.reward_mean, rtol=1e-3, atol=1e-3)


def test_a_constant_observation_stays_and_offsets_do_no_harm() -> None:
    rows = linear_rows(200)
    rows.obs[:, 1] = rows.next_obs[:, 1] = 273.15
    rows.next_obs[:, 2] = rows.obs[:, 2] + 1.0
    of_changes, of_rewards = (
        rf"SINDy\({which}=…\): expected terms none of which" for which in ("library", "reward_library")
    )
    with pytest.warns(MbrlWarning, match=of_changes), pytest.warns(MbrlWarning, match=of_rewards):
        model, report = fitted(rows)
    said = model.predict(rows.obs, rows.action).mean
    assert torch.equal(said[..., 1], rows.obs[:, 1].expand(4, -1)) and report["redundant"] == 6
    torch.testing.assert_close(said[..., 2], rows.next_obs[:, 2].expand(4, -1), rtol=1e-4, atol=1e-3)


def test_unsound_members_are_not_drawn() -> None:
    model, _ = fitted(members=5, screen_steps=0)
    assert model.drawn_members.tolist() == [0, 1, 2, 3, 4]
    from mbrl.models.sindy.screening import sound_members

    model.map.coefficients[2, 1] += 5.0
    model.map.coefficients[3] = torch.nan
    model.map._tables = {}
    assert sound_members(model, 5, linear_rows(200), 10, noise()).tolist() == [True, True, False, False, True]


def test_predictions_read_nothing_back_once_it_is_fitted() -> None:
    (model, _), rows = fitted(), linear_rows(9)
    model.predict(rows.obs, rows.action)
    with torch.no_grad(), NoScalarReadback():
        model.predict(rows.obs, rows.action)
        assert len(model.drawn_members) == 4


def test_wrong_sizes_and_unknown_ends_are_refused() -> None:
    (model, _), rows = fitted(), linear_rows(4)
    with pytest.raises(ShapeError, match=r"predict\(obs\)"):
        model.predict(rows.obs[:, :2], rows.action)
    with pytest.raises(ShapeError, match=r"predict\(member\)"):
        model.predict(rows.obs, rows.action, torch.zeros(3, dtype=torch.int64))
    other = SINDy()
    other.build(replace(TASK, known_terminated=None))
    with pytest.raises(UnsupportedError, match="SINDy predicts no termination and the task has no known one"):
        other.check_known()
    with pytest.raises(ConfigError, match=r"Library\(inputs=…\): expected places from 0 to 4, of 3 states and 2 controls"):
        SINDy(library=Library(inputs=[7])).build(TASK)


def test_options_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"SINDy\(optimizer=…\): expected threshold, alpha and unbias among the options of SR3"
    ):
        SINDy(optimizer=PySINDyOptimizer(), threshold=0.1)
    with pytest.raises(ConfigError, match=r"expected arguments of pysindy.SSR, got {'wrong': 1} \(.*\); look them up there"):
        fitted(optimizer=PySINDyOptimizer("SSR", {"wrong": 1}))


# bad rows ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["obs", "action", "next_obs", "reward"])
def test_rows_that_are_not_finite_are_refused(column: str) -> None:
    rows = linear_rows(60)
    getattr(rows, column)[4] = torch.inf
    with pytest.raises(DataError, match="expected finite rows, got 1 with NaN or infinity, first at 4; remove them"):
        fitted(rows)


def test_fewer_rows_than_terms_are_refused() -> None:
    sentence = (
        r"SINDy\(library=…\): expected at least as many rows as the library has terms, 21, got 20; collect more before"
    )
    with pytest.raises(DataError, match=sentence):
        fitted(linear_rows(20))


def test_a_threshold_that_leaves_nothing_is_told_with_the_numbers() -> None:
    with pytest.warns(MbrlWarning, match=r"got 30, which leaves observations \[0, 1, 2\] without a term \(largest: \d"):
        _, report = fitted(threshold=30.0, reward_threshold=0.1)
    assert report["terms"] == 0 and report["explained"] == 0
    with pytest.warns(MbrlWarning, match=r"SINDy\(reward_library=…\): .* got 30, which leaves the reward without a term"):
        fitted(reward_threshold=30.0)
    with pytest.warns(
        MbrlWarning, match=r"below the time step times the coefficients of the change, got 0.3, which leaves obs"
    ):
        fitted(threshold=0.3, target="next_obs", reward_threshold=0.1)


# runs --------------------------------------------------------------------------------------------------------------------


def planner() -> PETS:
    model = SINDy(members=3, library=NO_BIAS, reward_library=NO_BIAS, drop_terms=1, learn_reward=True)
    return PETS(model, ICEM(candidates=6, elites=2, iterations=1), horizon=3, particles=4, warmup_steps=22, refit_every=4)


def test_resumed_equals_unbroken_and_loads_in_a_fresh_process(tmp_path: Path) -> None:
    torch.set_num_threads(1)

    def fit(folder: str, ckpt_path: str | None = None, **more: Any) -> None:
        run = trainer(tmp_path / folder, log_every=1, eval_every=100, checkpoint_every=1, **more)
        run.fit(planner(), data(34), ckpt_path=ckpt_path)

    fit("whole")
    assert in_child(lambda: fit("parts", callbacks=[KillAt(31)])) == -signal.SIGKILL
    fit("parts", "last")
    assert same_run(tmp_path / "whole", tmp_path / "parts") == []
    loaded = mbrl.load(tmp_path / "whole")
    said = str(loaded.dynamics.equations())
    code = "import sys, mbrl; print(mbrl.load(sys.argv[1]).dynamics.equations())"
    arguments = [sys.executable, "-c", code, str(tmp_path / "whole")]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == said


def test_mbrl_fit_of_it_alone(tmp_path: Path) -> None:
    task = make_task("Pendulum-v1")
    seen, fresh = (collect(task, str(tmp_path / f"{seed}.npz"), steps=200, seed=seed) for seed in (0, 1))
    model = SINDy(members=4, library=Library(bias=False))
    trainer(tmp_path / "run").fit(model, OfflineData(str(seen), env_id="Pendulum-v1"))
    tested = trainer(tmp_path / "run").test(model, OfflineData(str(fresh), env_id="Pendulum-v1"))
    assert tested["test/mse"] < 0.01


@pytest.mark.parametrize("preset", ["base/pets pets/pendulum_20hz", "base/mbpo mbpo/pendulum"])
@pytest.mark.parametrize("overlay", ["sindy", "sindy_median"])
def test_overlays_go_over_any_preset(preset: str, overlay: str) -> None:
    files = [f"configs/{name}.yaml" for name in (*preset.split(), f"models/{overlay}")]
    found = parsed(["fit", *(word for file in files for word in ("--config", file))])["model"]["init_args"]["dynamics"]
    assert found["class_path"] == "mbrl.models.SINDy"
    assert found["init_args"]["aggregate"] == ("median" if "median" in overlay else "drawn")


@pytest.mark.parametrize(
    "files",
    [
        "base/pets pets/cartpole_swingup_20hz sindy/pets_cartpole_swingup",
        "base/mbpo mbpo/pendulum sindy/dyna_pendulum",
    ],
)
def test_presets_make_their_planners(files: str) -> None:
    given = [word for name in files.split() for word in ("--config", f"configs/{name}.yaml")]
    found = parsed(["fit", *given])["model"]["init_args"]["dynamics"]
    assert found["class_path"] == "mbrl.models.SINDy" and len(found["init_args"]["domain"]) == 2


def test_importing_the_models_leaves_pysindy_alone() -> None:
    code = "import sys, mbrl.models; m = mbrl.models.SINDy(); assert 'pysindy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)


# a domain ----------------------------------------------------------------------------------------------------------------


LINE = Task("", 1, 1, (-1.0,), (1.0,), known_terminated="mbrl.envs.terminations.never")


def walled() -> Transitions:
    """x' = 0.9 x + 0.2 u up to a wall at 1, where it bounces."""
    generator = make_generator("cpu", 3)
    obs = torch.rand(300, 1, generator=generator, dtype=torch.float64) * 2.4 - 1.2
    action = torch.rand(300, 1, generator=generator, dtype=torch.float64) * 2 - 1
    led = torch.where(obs.abs() > 1, -0.5 * obs, 0.9 * obs + 0.2 * action)
    return Transitions(obs, action, torch.zeros(300, dtype=torch.float64), led, *torch.zeros(2, 300, dtype=torch.bool))


def test_rows_outside_of_the_domain_bend_nothing() -> None:
    rows, found = walled(), []
    for domain in ([], [Box([-1.0], [1.0])]):
        model = SINDy(1, Library(degree=1, bias=False), threshold=0.0, domain=domain)
        model.build(LINE)
        report = model.refit(rows, make_generator("cpu", 0))
        found.append((model.map.in_units()[0, :, 0].tolist(), report))
    assert found[0][0][0] < -0.3 and "outside" not in found[0][1]
    assert found[1][0] == pytest.approx([-0.1, 0.2], abs=1e-6)
    assert float(found[1][1]["explained_least"]) > 0.999999 > 0.9 > float(found[0][1]["explained_least"])
    share = ((rows.obs.abs() >= 1) | (rows.next_obs.abs() >= 1)).double().mean()
    assert float(found[1][1]["outside"]) == pytest.approx(float(share)) and 0.1 < share < 0.3


def test_too_few_rows_inside_are_refused_and_nan_rows_are_never_passed_over() -> None:
    model = SINDy(1, Library(degree=2), domain=[Box([-0.01], [0.01])])
    model.build(LINE)
    with pytest.raises(
        DataError, match=r"SINDy\(domain=…\): expected at least as many rows inside as the library has terms, 6"
    ) as told:
        model.refit(walled(), make_generator("cpu", 0))
    both = torch.cat((walled().obs, walled().next_obs))
    assert f"of 300, which reach from {float(both.min()):g} to {float(both.max()):g}; widen the box" in str(told.value)
    far = walled().select(slice(0, 3))
    far.obs, far.next_obs = far.obs.sign(), far.next_obs.sign()
    with pytest.raises(DataError, match="terms, 6, got 0 of 3"):
        model.refit(far, make_generator("cpu", 0))
    rows = walled()
    rows.next_obs[7] = torch.nan
    with pytest.raises(DataError, match="finite"):
        model.refit(rows, make_generator("cpu", 0))
