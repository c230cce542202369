from __future__ import annotations

from typing import Any

import pytest
import torch

from mbrl.data import Task, Transitions, make_generator
from mbrl.errors import ConfigError, DataError, DivergedError, NotBuiltError
from mbrl.models import GaussianEnsemble
from tests.models.linear_task import TASK, linear_rows


def ensemble(**options: Any) -> GaussianEnsemble:
    model = GaussianEnsemble(**{"members": 3, "elites": 2, "hidden": [16], "batch_size": 32, **options})
    model.build(TASK)
    return model


def generator(name: str = "fit") -> torch.Generator:
    return make_generator("cpu", 0, name)


def parameters(model: GaussianEnsemble) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_refit_learns_and_says_what_it_did() -> None:
    model, rows = ensemble(lr=1e-2, max_epochs=40), linear_rows(300)
    before = model.score(rows).mean()
    report = model.refit(rows, generator())
    assert report.keys() == {"loss", "epochs", "updates", "holdout_mse", "explained"}
    assert report["updates"] == report["epochs"] * 8  # 240 rows in batches of 32
    assert model.score(rows).mean() < 0.1 * before
    again = model.refit(rows, generator("second"))  # from where it stands
    assert again["holdout_mse"] < 2 * report["holdout_mse"]


def test_the_generator_alone_decides_a_refit() -> None:
    fitted = []
    for name in ("a", "a", "b"):
        torch.rand(7)  # the global generator says nothing
        model = ensemble(max_epochs=2)
        model.refit(linear_rows(100), generator(name))
        fitted.append(parameters(model))
    assert torch.equal(fitted[0], fitted[1])
    assert not torch.equal(fitted[0], fitted[2])


def test_refit_leaves_its_rows_as_they_were() -> None:
    rows, same = linear_rows(60), linear_rows(60)
    ensemble(max_epochs=2).refit(rows, generator())
    assert torch.equal(rows.obs, same.obs)
    assert torch.equal(rows.next_obs, same.next_obs)


def test_caps_end_a_refit() -> None:
    assert ensemble(max_epochs=2).refit(linear_rows(100), generator())["epochs"] == 2
    report = ensemble(max_updates=4).refit(linear_rows(100), generator())  # 3 updates an epoch
    assert (report["updates"], report["epochs"]) == (4, 2)


def test_without_a_holdout_all_rows_train_until_the_cap() -> None:
    model = ensemble(holdout=0.0, elites=None, best_weights="never", max_epochs=5, bootstrap="none", batch_size=100)
    report = model.refit(linear_rows(100), generator())
    assert report.keys() == {"loss", "epochs", "updates"}
    assert (report["epochs"], report["updates"]) == (5, 5)


def test_normalizer_rows_and_ddof_change_the_statistics() -> None:
    rows = linear_rows(10)
    inputs = torch.cat((rows.obs, rows.action), -1)
    found = {}
    for which in ("train", "all"):
        for ddof in (0, 1):
            model = ensemble(normalizer_rows=which, normalizer_ddof=ddof)
            run = model.begin_fit(rows, generator())
            seen = inputs[run.split.train] if which == "train" else inputs
            torch.testing.assert_close(model.normalizer.sd, seen.std(0, correction=ddof))
            torch.testing.assert_close(model.normalizer.mean_high, seen.mean(0))
            found[which, ddof] = tuple(model.normalizer.sd.tolist())
    assert len(set(found.values())) == 4


def test_members_that_see_the_same_differ_by_their_start_only() -> None:
    spread = {}
    for bootstrap in ("replacement", "permutation", "none"):
        model = ensemble(bootstrap=bootstrap, max_epochs=1)
        with torch.no_grad():
            for parameter in model.network.parameters():
                parameter.copy_(parameter[:1].expand_as(parameter).clone())  # one start for all
        model.refit(linear_rows(100), generator())
        spread[bootstrap] = model.network.weights[0].std(0).max().item()
    assert spread["none"] < 1e-6 < min(spread["replacement"], spread["permutation"])


@pytest.mark.parametrize("keep", ["member", "ensemble", "never"])
def test_best_weights_after_a_refit_that_gets_worse(keep: str) -> None:
    rows = linear_rows(100)
    model = ensemble(best_weights=keep, max_epochs=3)
    worst: list[float] = []
    score = model.score

    def blow_up(held: Transitions, value: object = None) -> torch.Tensor:  # scores after each epoch, and in the end
        if len(worst) == 1:
            with torch.no_grad():
                for parameter in model.network.parameters():
                    parameter.add_(10.0)
        scores = score(held)
        worst.append(scores.max().item())
        return scores

    model.score = blow_up  # type: ignore[method-assign]
    model.refit(rows, generator())
    assert (worst[-1] > 10 * worst[0]) is (keep == "never")


def test_a_diverging_fit_stops_with_its_sentence() -> None:
    model, rows = ensemble(normalize_targets=False), linear_rows(100)
    rows.next_obs *= 1e30  # its square is infinite
    with pytest.raises(DivergedError, match=r"GaussianEnsemble: expected a finite loss, got (inf|nan); .* lower lr"):
        model.refit(rows, generator())


def test_rows_that_cannot_be_fitted_are_refused() -> None:
    model, rows = ensemble(), linear_rows(100)
    rows.reward[17] = float("nan")
    rows.next_obs[40, 1] = float("inf")
    with pytest.raises(DataError, match="got 2 with NaN or infinity, first at 17"):
        model.refit(rows, generator())
    with pytest.raises(NotBuiltError, match=r"before build\(task\)"):
        GaussianEnsemble().refit(linear_rows(10), generator())
    with pytest.raises(NotBuiltError, match=r"before build\(task\)"):
        GaussianEnsemble().make_optimizers()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "lr=….*above 0, got 0.0"),
        ({"batch_size": 0}, "batch_size=….*at least 1, got 0"),
        ({"max_epochs": 0}, "max_epochs=….*at least 1"),
        ({"holdout": 1.0}, "holdout=….*below 1, got 1.0"),
        ({"bootstrap": "poisson"}, "bootstrap=….*replacement, permutation, none, got 'poisson'"),
        ({"stopping": "pets"}, "stopping=….*mbpo, mbrl-lib, mean, got"),
        ({"best_weights": "always"}, "best_weights=….*member, ensemble, never"),
        ({"holdout_by": "day"}, "holdout_by=….*row, episode"),
        ({"holdout": 0.0}, "holdout=….*best_weights='never'"),
        ({"holdout": 0.0, "max_epochs": None}, "holdout=….*max_epochs, max_updates or max_updates_per_root_row"),
    ],
)
def test_refused_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        GaussianEnsemble(**options)


@pytest.mark.check("coplanner-16")
def test_noise_is_in_the_variance_and_ignorance_in_the_spread() -> None:
    """y = sin x + 0.1 ε |x|: the predicted sd follows 0.1 |x|, and members disagree where there are no data."""
    source = generator("sine")
    x = torch.rand(1000, 1, generator=source) * 8 - 4
    y = x.sin() + 0.1 * torch.randn(1000, 1, generator=source) * x.abs()
    flags, zero = torch.zeros(1000, dtype=torch.bool), torch.zeros(1000)
    model = GaussianEnsemble(
        members=5, elites=5, hidden=[48, 48], learn_reward=False, lr=5e-3, batch_size=128, max_epochs=120
    )
    model.build(Task("", 1, 1, (-1.0,), (1.0,), known_terminated="mbrl.envs.terminations.never"))
    model.refit(Transitions(x, zero[:, None], zero, x + y, flags, flags), source)
    inside, outside = torch.linspace(-4, 4, 200)[:, None], torch.cat((torch.linspace(-9, -7, 50), torch.linspace(7, 9, 50)))
    with torch.no_grad():
        known = model.predict(inside, torch.zeros(200, 1))
        unknown = model.predict(outside[:, None], torch.zeros(100, 1))
    sd = known.var.sqrt().mean(0)[:, 0]
    assert torch.corrcoef(torch.stack((sd, inside[:, 0].abs())))[0, 1] > 0.85
    assert unknown.mean.var(0).mean() > 10 * known.mean.var(0).mean()
