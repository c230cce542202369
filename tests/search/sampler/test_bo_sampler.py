"""The sampler as an Optuna user meets it: stateless, in the declared space, whatever became of the trials."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from botorch.acquisition.multi_objective import logei
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from mbrl.errors import ConfigError, DataError, UnsupportedError
from mbrl.search.sampler import BOSampler, pareto, predictions, recommend
from mbrl.search.sampler.recommend import _fitted
from mbrl.search.sampler.surrogate import as_if_alone

LINE: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1)}
MIXED: dict[str, BaseDistribution] = {
    "kind": CategoricalDistribution(("a", "b")),
    "x": FloatDistribution(0, 1),
    "n": IntDistribution(1, 8),
}
MIXED_CONDITIONS = {"n": {"kind": ("b",)}}


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def suggest(trial: Trial, sampler: BOSampler) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for name, kind in sampler.codec.distributions.items():
        if sampler.codec.is_active(name, params):
            params[name] = trial._suggest(name, kind)
    return params


def step(study: Study, sampler: BOSampler, objective: Callable[[Mapping[str, Any]], float]) -> FrozenTrial:
    trial = study.ask()
    value = objective(suggest(trial, sampler))
    if math.isnan(value):
        trial.set_user_attr("outcome", "diverged")
        return study.tell(trial, state=TrialState.FAIL)
    return study.tell(trial, value)


def mixed(params: Mapping[str, Any]) -> float:
    """Diverges on the right; best at kind b, n 6, x 0.3."""
    if params["x"] > 0.9:
        return math.nan
    return -((params["x"] - 0.3) ** 2) + (0.2 - (params["n"] - 6) ** 2 / 100 if params["kind"] == "b" else 0.0)


def search(space: Mapping[str, BaseDistribution], objective: Any, trials: int, **options: Any) -> tuple[Study, BOSampler]:
    sampler = BOSampler(space, options.pop("conditions", None), **options)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for _ in range(trials):
        step(study, sampler, objective)
    return study, sampler


def test_a_stopped_search_goes_on_as_if_it_had_not_been() -> None:
    whole, _ = search(MIXED, mixed, 9, conditions=MIXED_CONDITIONS, startup=5, seed=3)
    study, _ = search(MIXED, mixed, 6, conditions=MIXED_CONDITIONS, startup=5, seed=3)
    torch.manual_seed(5)  # another process
    sampler = BOSampler(MIXED, MIXED_CONDITIONS, startup=5, seed=3)
    study.sampler = sampler
    lost = study.ask()  # a worker that dies here, whose trial is repeated
    params = suggest(lost, sampler)
    study.tell(lost, state=TrialState.FAIL)
    kinds = {name: MIXED[name] for name in params}
    study.add_trial(
        create_trial(state=TrialState.WAITING, params=params, distributions=kinds, user_attrs={"root": lost.number})
    )
    for _ in range(3):
        step(study, sampler, mixed)
    kept = [trial for trial in study.trials if trial.number != lost.number]
    assert [(trial.params, trial.values) for trial in kept] == [(trial.params, trial.values) for trial in whole.trials]
    assert "acq" in whole.trials[-1].user_attrs and "acq" not in whole.trials[4].user_attrs


def test_seeds_differ() -> None:
    one, _ = search(LINE, lambda params: params["x"], 2, seed=0)
    two, _ = search(LINE, lambda params: params["x"], 2, seed=1)
    assert one.trials[0].params != two.trials[0].params and one.trials[0].params != one.trials[1].params


def test_nobody_elses_draws_are_moved() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]  # noqa: NPY002
    _, sampler = search(MIXED, mixed, 7, conditions=MIXED_CONDITIONS, startup=5)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all() and random.getstate() == before[2]  # type: ignore[index]  # noqa: NPY002
    assert torch.get_default_dtype() == torch.float32
    assert sampler.codec.distributions == MIXED


def test_the_best_is_found_in_the_branch_that_has_it() -> None:
    study, sampler = search(MIXED, mixed, 22, conditions=MIXED_CONDITIONS, startup=8, seed=1)
    best = recommend(study, sampler)
    assert best.params["kind"] == "b" and best.params["n"] in (5, 6, 7)
    assert best.params["x"] == pytest.approx(0.3, abs=0.1)
    assert best.mean == pytest.approx(mixed(best.params), abs=0.02)
    failed = [trial.number for trial in study.trials if trial.state == TrialState.FAIL]
    assert len([number for number in failed if number >= 8]) <= 2

    told = predictions(study, sampler, points=5)
    assert told.recommended == best
    assert [effect.name for effect in told.effects] == ["kind", "x", "n"]
    assert told.effects[0].values == ("a", "b") and told.effects[0].mean[0] < told.effects[0].mean[1]
    assert told.effects[1].values == (0.0, 0.25, 0.5, 0.75, 1.0) and told.effects[2].values == tuple(range(1, 9))
    check = told.leave_one_out
    assert (
        check.numbers == tuple(range(22))
        and [n for n, bad in zip(check.numbers, check.failed, strict=True) if bad] == failed
    )
    assert np.corrcoef(check.mean, check.observed)[0, 1] > 0.5


def test_leave_one_out_is_what_leaving_out_gives() -> None:
    """Against the conditional Gaussian of each row given the others, by solving for each row anew."""
    study, sampler = search(LINE, lambda params: math.sin(6 * params["x"]), 8, startup=8)
    check = predictions(study, sampler).leave_one_out
    with as_if_alone("recommend", sampler.seed):
        rows, surrogate = _fitted(study, sampler)
    model: Any = surrogate.model
    with torch.no_grad():
        noise = float(model.likelihood.noise)
        kernel = model.covar_module(rows.x).to_dense() + noise * torch.eye(8, dtype=torch.float64)
        mean, sd = rows.y.mean(), rows.y.std()
        targets = (rows.y[:, 0] - mean) / sd
        constant = float(model.mean_module.constant)
        for i in range(8):
            rest = [j for j in range(8) if j != i]
            weights = torch.linalg.solve(kernel[rest][:, rest], kernel[rest, i])
            predicted = constant + weights @ (targets[rest] - constant)
            variance = kernel[i, i] - weights @ kernel[rest, i]
            assert check.mean[i] == pytest.approx(float(predicted * sd + mean), abs=1e-6)
            assert check.sd[i] == pytest.approx(float(variance.sqrt() * sd), rel=1e-3)


def test_a_lucky_run_of_a_poor_configuration_does_not_win() -> None:
    sampler = BOSampler(LINE)
    study = optuna.create_study(direction="minimize", sampler=sampler)
    noise = np.random.default_rng(0)
    for x in np.linspace(0, 1, 21):
        for repeat in range(2):
            value = (x - 0.25) ** 2 + 0.02 * noise.standard_normal() - (0.3 if repeat and x == 0.75 else 0.0)
            study.add_trial(create_trial(value=value, params={"x": float(x)}, distributions=LINE))
    assert study.best_params["x"] == 0.75
    best = recommend(study, sampler)
    assert best.params["x"] == pytest.approx(0.25, abs=0.15) and isinstance(best.mean, float) and abs(best.mean) < 0.05


def test_start_comes_first_and_once() -> None:
    start = {"kind": "b", "x": 0.5, "n": 3}
    sampler = BOSampler(MIXED, MIXED_CONDITIONS, start=start)
    study = optuna.create_study(sampler=sampler)
    study.enqueue_trial({"kind": "a", "x": 0.1})
    queued, first = study.ask(), study.ask()
    suggest(queued, sampler)
    assert queued.params == {"kind": "a", "x": 0.1}
    suggest(first, sampler)
    assert first.params == start
    study.tell(first, state=TrialState.FAIL)  # lost: what is repeated is not ours to say
    second = study.ask()
    suggest(second, sampler)
    assert second.params != start


def test_a_start_of_another_space_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"every active parameter, got none of \['n'\]"):
        BOSampler(MIXED, MIXED_CONDITIONS, start={"kind": "b", "x": 0.5})
    for wrong in ({"x": 2.0}, {"x": "wide"}, {"x": 0.5, "z": 1}):
        with pytest.raises(ConfigError, match="expected values of the declared space, got"):
            BOSampler(LINE, start=wrong)
    with pytest.raises(ConfigError, match="startup"):
        BOSampler(LINE, startup=0)


def test_what_is_queued_in_part_is_kept_and_the_rest_fits_it() -> None:
    study, sampler = search(MIXED, mixed, 8, conditions=MIXED_CONDITIONS, startup=5)
    study.enqueue_trial({"kind": "a", "x": 0.77})
    assert step(study, sampler, mixed).params == {"kind": "a", "x": 0.77}
    study.enqueue_trial({"kind": "b"})
    assert set(step(study, sampler, mixed).params) == {"kind", "x", "n"}
    study.enqueue_trial({"x": 0.123})
    assert step(study, sampler, mixed).params["x"] == 0.123


def test_parameters_that_were_not_declared_are_refused() -> None:
    sampler = BOSampler(MIXED, MIXED_CONDITIONS)
    trial = optuna.create_study(sampler=sampler).ask()
    with pytest.raises(ConfigError, match="declared space, got 'z'"):
        trial.suggest_float("z", 0, 1)
    trial = optuna.create_study(sampler=BOSampler(MIXED, MIXED_CONDITIONS, start={"kind": "a", "x": 0.5})).ask()
    with pytest.raises(ConfigError, match="only active parameters to be asked for, got 'n'"):
        trial.suggest_int("n", 1, 8)


def test_what_runs_is_not_proposed_again() -> None:
    def peak(params: Mapping[str, Any]) -> float:
        return -((params["x"] - 0.4) ** 2)

    study, sampler = search(LINE, peak, 6, startup=6)
    running = [study.ask() for _ in range(3)]
    points = [suggest(trial, sampler)["x"] for trial in running]
    assert min(abs(a - b) for i, a in enumerate(points) for b in points[:i]) > 1e-3
    attrs = [trial.user_attrs["acq"]["pending"] for trial in study.trials[6:]]
    assert attrs == [0, 1, 2]


def test_startup_waits_for_finished_trials_and_workers_get_different_points() -> None:
    sampler = BOSampler(MIXED, MIXED_CONDITIONS, startup=3)
    study = optuna.create_study(sampler=sampler)
    points = [tuple(suggest(study.ask(), sampler).values()) for _ in range(6)]
    assert len(set(points)) == 6
    assert all("acq" not in trial.user_attrs for trial in study.trials)


@pytest.mark.parametrize(
    ("space", "objective"),
    [
        ({"c": CategoricalDistribution((1, 2, 3)), "d": CategoricalDistribution((True, None))}, lambda p: float(p["c"])),
        ({"n": IntDistribution(1, 3)}, lambda p: float(p["n"])),
        (LINE, lambda p: 1.0),
        (LINE, lambda p: math.nan),
        (LINE, lambda p: math.inf if p["x"] > 0.5 else p["x"]),
        ({"n": IntDistribution(0, 1000), "c": CategoricalDistribution("ab")}, lambda p: -abs(p["n"] - 300.0)),
        ({"x": FloatDistribution(0, 1), "one": IntDistribution(4, 4)}, lambda p: p["x"] * p["one"]),
    ],
    ids=["categories", "three-values", "constant", "all-fail", "infinite", "relaxed", "single"],
)
def test_odd_spaces_and_values(space: dict[str, BaseDistribution], objective: Any) -> None:
    study, sampler = search(space, objective, 6, startup=3)
    for trial in study.trials:
        for name, value in trial.params.items():
            assert space[name]._contains(space[name].to_internal_repr(value))
    if all(trial.state == TrialState.FAIL for trial in study.trials):
        assert len({trial.params["x"] for trial in study.trials}) == 6  # the sequence goes on
        with pytest.raises(DataError, match="finished with a value"):
            recommend(study, sampler)
    else:
        assert set(recommend(study, sampler).params) == set(space)


def test_a_space_without_a_choice() -> None:
    space: dict[str, BaseDistribution] = {"one": IntDistribution(4, 4)}
    study, _ = search(space, lambda params: float(params["one"]), 3, startup=1)
    assert [trial.params for trial in study.trials] == [{"one": 4}] * 3


def test_nan_counts_where_every_failure_does() -> None:
    def plain(trial: Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        return x if x < 0.5 else math.nan

    counts = {}
    for failures in (("all",), ("diverged",)):
        sampler = BOSampler(LINE, startup=3, failures=failures)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study.optimize(plain, n_trials=5)
        counts[failures] = len(sampler.rows(study)), [trial.state == TrialState.FAIL for trial in study.trials].count(True)
    assert counts[("all",)][0] == 5
    assert counts[("diverged",)][0] == 5 - counts[("diverged",)][1]


def test_a_study_of_another_space_is_refused() -> None:
    study, _ = search(LINE, lambda params: params["x"], 3)
    sampler = BOSampler({"x": FloatDistribution(0, 2)})
    study.sampler = sampler
    with pytest.raises(ConfigError, match="'x' of trial 0 to be"):
        suggest(study.ask(), sampler)


def test_two_objectives_with_failures() -> None:
    sampler = BOSampler(MIXED, MIXED_CONDITIONS, startup=6)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    for _ in range(12):
        trial = study.ask()
        params = suggest(trial, sampler)
        if math.isnan(mixed(params)):
            trial.set_user_attr("outcome", "oom")
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, [params["x"], params["x"] ** 2 + (0.5 if params["kind"] == "a" else 0.0)])
    front = pareto(study, sampler)
    firsts = [entry.mean[0] for entry in front]  # type: ignore[index]
    assert len(front) >= 2 and firsts == sorted(firsts, reverse=True)
    assert all(entry.params["kind"] == "b" for entry in front)
    assert study.trials[-1].user_attrs["acq"]["side"] is None
    assert logei._C is None  # nothing was compiled, so that machines without a compiler suggest the same
    with pytest.raises(UnsupportedError, match="expected one objective, got 2; use pareto"):
        recommend(study, sampler)


def test_an_earlier_study_helps_and_needs_no_equal_units() -> None:
    """With its rows the model knows where the peak is before the new study has seen it."""
    rng = np.random.default_rng(0)
    earlier = [
        create_trial(
            value=1000 - 900 * (x - 0.8) ** 2,
            params={"x": x, "y": 0.1},
            distributions={**LINE, "y": FloatDistribution(0, 1)},
        )
        for x in rng.uniform(size=20)
    ]
    space = {**LINE, "gone": FloatDistribution(0, 1)}
    lacking = create_trial(value=1e9, params={"gone": 0.5}, distributions={"gone": space["gone"]})
    found = {}
    for name, previous in (("with", [*earlier, lacking]), ("without", [])):
        sampler = BOSampler(LINE, startup=2, previous=previous, trust_region=False, seed=5)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        for x in (0.05, 0.2, 0.35):
            study.add_trial(create_trial(value=-((x - 0.8) ** 2), params={"x": x}, distributions=LINE))
        found[name] = abs(suggest(study.ask(), sampler)["x"] - 0.8)
    assert found["with"] < 0.1


def test_trials_of_an_earlier_study_that_no_row_can_hold_are_left_out() -> None:
    """Of a choice that is gone, of a number that the scale has not, of one that was a choice: what is left still helps."""
    space: dict[str, BaseDistribution] = {"c": CategoricalDistribution(("a", "b")), "x": FloatDistribution(0.1, 1, log=True)}
    wide = {"c": CategoricalDistribution(("a", "b", "z")), "x": FloatDistribution(-1, 3)}
    labels = {"c": CategoricalDistribution(("a", 1.5)), "x": CategoricalDistribution(("0.5", "small"))}
    earlier = [
        create_trial(value=1.0, params=params, distributions=kinds)
        for kinds, found in (
            (wide, [{"c": "z", "x": 0.5}, {"c": "a", "x": -0.5}, {"c": "a", "x": 0.0}, {"c": "b", "x": 3.0}]),
            (labels, [{"c": 1.5, "x": "small"}, {"c": "a", "x": "0.5"}]),
        )
        for params in found
    ]
    sampler = BOSampler(space, startup=2, previous=earlier)
    study = optuna.create_study(sampler=sampler)
    for x in (0.2, 0.4, 0.6):
        study.add_trial(create_trial(value=x, params={"c": "a", "x": x}, distributions=space))
    assert set(suggest(study.ask(), sampler)) == {"c", "x"}
    with as_if_alone("test"):
        [inputs] = sampler.fitted(study, sampler.rows(study)).model.train_inputs  # type: ignore[union-attr,misc]
    assert inputs[:, -1].tolist() == [0, 0, 0, 1] and inputs[3, 0] == 1


def test_an_effect_is_of_the_values_that_it_names() -> None:
    space: dict[str, BaseDistribution] = {"n": IntDistribution(1, 30, log=True)}
    sampler = BOSampler(space)
    study = optuna.create_study(sampler=sampler)
    for n in (1, 2, 3, 5, 9, 20, 30):
        study.add_trial(create_trial(value=float((n - 8) ** 2), params={"n": n}, distributions=space))
    told = predictions(study, sampler)
    [effect] = told.effects
    assert effect.values[:3] == (1, 2, 3) and effect.values[-1] == 30 and len(set(effect.values)) == len(effect.values)
    assert effect.mean[effect.values.index(told.recommended.params["n"])] == pytest.approx(told.recommended.mean)


def test_the_size_of_values_changes_nothing() -> None:
    """Squared errors of a model that is almost exact are tiny, and differ."""
    found = []
    for size in (1.0, 1e-11):
        sampler = BOSampler(LINE)
        study = optuna.create_study(sampler=sampler)
        for x in (0.0, 0.1, 0.35, 0.6, 0.8, 1.0):
            study.add_trial(create_trial(value=size * (1 + (x - 0.3) ** 2), params={"x": x}, distributions=LINE))
        said = predictions(study, sampler, points=3)
        found.append((said.recommended.params["x"], *(mean / size for mean in said.effects[0].mean)))
    assert found[1] == pytest.approx(found[0], rel=1e-4) and found[0][0] == 0.35
