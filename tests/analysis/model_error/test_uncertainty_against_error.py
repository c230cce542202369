"""Measures against error: perfect, opposite and blind ones are told apart, and what is undefined is said to be."""

from __future__ import annotations

import json
from collections.abc import Collection

import pytest
import torch
from scipy import stats
from torch import Tensor

from mbrl.analysis.correlations import within_correlation, without_means
from mbrl.analysis.model_error.uncertainty_against_error import uncertainty_against_error
from mbrl.analysis.model_error.uncertainty_scores import DATASET, ROLLOUTS
from mbrl.data import ModelState, ModelStep, Prediction, Transitions, make_generator
from mbrl.errors import ConfigError, DataError, UnsupportedError
from mbrl.models import LinearQuadratic
from mbrl.policies import SAC
from mbrl.testing import LinearModel, linear_task
from mbrl.testing.linear import ACTION_MATRIX, STATE_MATRIX
from mbrl.uncertainty import LeaveOneOutKL, MaxAleatoric, MaxPairwiseDistance, MeanDisagreement
from tests.analysis.faulty_model import Faulty, exact_model, faulty, linear_episodes

EPISODES = linear_episodes()
SPREAD = {"spread": MeanDisagreement()}


def look(model, episodes=EPISODES, *, seed: int = 0, **options):
    options = {"measures": SPREAD, "depth": 5, "rollouts": 40, **options}
    return uncertainty_against_error(model, episodes, generator=make_generator("cpu", seed), **options)


@pytest.mark.parametrize(("honest", "sign"), [(True, 1.0), (False, -1.0)])
def test_members_that_disagree_where_they_are_wrong_find_every_error(honest: bool, sign: float) -> None:
    """The model is off by 0.1 |s_0|, and its members' spread is in proportion, or the opposite."""
    result = look(faulty(honest=honest), truth=exact_model())
    for states in (DATASET, ROLLOUTS):
        score = result.score("spread", states)
        # next observations of real rows are float32, which leaves rounding of 1e-7 in errors of 1e-2
        assert score.spearman == pytest.approx(sign, abs=1e-4)
        assert score.pearson == pytest.approx(sign, abs=1e-4)
        for percentile in (90, 95, 99):
            assert score.auc[percentile] == pytest.approx(0.5 + 0.5 * sign, abs=1e-3)
    assert result.score("spread", DATASET).precision[90] == pytest.approx(1.0 if honest else 0.05, abs=0.02)
    assert result.score("spread", ROLLOUTS).pearson_within == pytest.approx(sign, abs=1e-4)
    said = "spread finds the error best" if honest else "no measure finds the error: the highest rank correlation, of spread"
    assert [said in line for line in result.in_short()] == [True, True]


def test_the_error_of_a_rollouts_state_is_that_of_the_state_that_it_reached() -> None:
    """Spread and error are both proportional to |s_0|, so that their ratio is one number for all rows everywhere."""
    result = look(faulty(), truth=exact_model())
    ratios = [result.error[states] / result.uncertainty[states]["spread"] for states in (DATASET, ROLLOUTS)]
    assert len(result.error[ROLLOUTS]) == 5 * 40
    big = result.uncertainty[DATASET]["spread"] > 1e-3
    assert float(ratios[0][big].std() / ratios[0][big].mean()) < 1e-3
    big = result.uncertainty[ROLLOUTS]["spread"] > 1e-3
    assert float(ratios[1][big].mean()) == pytest.approx(
        float(ratios[0][result.uncertainty[DATASET]["spread"] > 1e-3].mean())
    )
    assert float(ratios[1][big].std() / ratios[1][big].mean()) < 1e-3


def test_statistics_are_those_of_the_numbers_that_were_compared() -> None:
    """A model whose noise hides the error, so that nothing is ±1; by depth and in all, with scipy."""
    model = faulty(noise=0.1)
    result = look(model, linear_episodes(noise=0.05), truth=exact_model(), measures=[MeanDisagreement()])
    for states in (DATASET, ROLLOUTS):
        u, e = result.uncertainty[states]["MeanDisagreement"], result.error[states]
        score = result.score("MeanDisagreement", states)
        assert score.spearman == pytest.approx(stats.spearmanr(u, e).statistic, abs=1e-9)
        assert score.pearson == pytest.approx(stats.pearsonr(u, e).statistic, abs=1e-9)
        assert score.rows == len(u) and score.error == pytest.approx(float(e.mean()))
    assert result.thresholds[95] == pytest.approx(float(result.error[DATASET].quantile(0.95)))
    assert result.score("MeanDisagreement").events[95] == pytest.approx(0.05, abs=0.003)
    depths = [score.depth for score in result.scores if score.depth is not None]
    assert depths == [0, 1, 2, 3, 4]
    weighted = sum(score.error * score.rows for score in result.scores if score.depth is not None)
    assert weighted / (5 * 40) == pytest.approx(result.score("MeanDisagreement", ROLLOUTS).error)


def test_what_rollouts_and_depths_have_in_common_is_removed() -> None:
    """Double centring, as two-way tables have it; uncertainty that knows the depth only has nothing left."""
    rollout, depth = torch.arange(30).repeat(8), torch.arange(8).repeat_interleave(30)
    generator = make_generator("cpu", "within")
    u, e = torch.rand(2, 240, generator=generator, dtype=torch.float64) + depth + 3 * (rollout % 5)

    def centred(x):
        grid = x.view(8, 30)
        return (grid - grid.mean(0) - grid.mean(1, keepdim=True) + grid.mean()).flatten()

    expected = stats.pearsonr(centred(u), centred(e)).statistic
    assert within_correlation(u, e, rollout, depth) == pytest.approx(expected, abs=1e-9)
    assert abs(expected) < 0.2 and stats.pearsonr(u, e).statistic > 0.9
    assert within_correlation(depth.double(), e, rollout, depth) is None
    some = torch.rand(240, generator=generator) < 0.7  # with cells missing, each mean is still gone
    left = without_means(u[some], rollout[some], depth[some])
    for group in (rollout[some], depth[some]):
        assert max(abs(float(left[group == number].mean())) for number in group.unique()) < 1e-6


def test_error_grows_where_rollouts_leave_the_data() -> None:
    result = look(faulty(fault=0.4), truth=exact_model(), depth=10)
    first, last = (result.score("spread", ROLLOUTS, depth).error for depth in (0, 9))
    assert last > 3 * first
    assert result.score("spread", ROLLOUTS).events[95] > 3 * result.score("spread", DATASET).events[95]


def test_the_policys_actions_are_taken_where_there_is_one() -> None:
    learner = SAC(hidden=(8,))
    learner.build(linear_task(ends=False))
    with_policy = look(faulty(), truth=exact_model(), policy=learner.policy)
    recorded = look(faulty(), truth=exact_model())
    assert len(with_policy.error[ROLLOUTS]) == len(recorded.error[ROLLOUTS])
    assert not torch.allclose(with_policy.error[ROLLOUTS], recorded.error[ROLLOUTS])
    assert any("recorded actions" in note for note in recorded.notes)
    assert not any("recorded actions" in note for note in with_policy.notes)


def test_an_exact_model_has_nothing_to_find() -> None:
    result = look(exact_model(), truth=exact_model())
    assert result.score("spread").spearman is None and result.score("spread").auc == {}
    assert result.rollouts_skipped is not None
    assert any("exact" in note and "undefined" in note for note in result.notes)
    assert any("no uncertainty" in note for note in result.notes)
    assert '"spearman": null' in json.dumps(result.to_json())


def test_a_learned_model_without_error_has_nothing_to_find_either() -> None:
    """Its members disagree, but their mean is right to rounding, which must not be ranked."""
    model = LinearModel(members=3, spread=0.1)
    model.build(linear_task(ends=False))
    result = look(model, truth=exact_model())
    assert result.score("spread").spearman is None
    assert any("exact to rounding" in note for note in result.notes)


def test_a_measure_that_is_the_same_everywhere_is_undefined() -> None:
    """Members that are always 0.1 apart: what differs is rounding."""
    model = LinearModel([[1.0, 0.1], [0.0, 0.8]], ACTION_MATRIX, members=3, spread=0.1)
    model.build(linear_task(ends=False))
    score = (result := look(model)).score("spread")
    assert score.spearman is None and score.pearson is None and score.auc == {}
    assert score.uncertainty == pytest.approx(0.1 * (8 / 12) ** 0.5, rel=1e-4)
    assert any("spread is the same for all rows" in note for note in result.notes)


class Shifted(Faulty):
    """Off by the same everywhere."""

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        said = super().predict(obs, action, member)
        said.mean = said.mean + 0.5
        return said


def test_an_error_that_is_the_same_everywhere_is_not_blamed_on_the_measure() -> None:
    shifted = Shifted(fault=0.0)
    shifted.build(linear_task(ends=False))
    result = look(shifted)
    assert result.score("spread").spearman is None
    assert any(
        "The error is the same for all rows (dataset), so that the correlation of spread is" in n for n in result.notes
    )


class Silent(Faulty):
    """Steps without the prediction that it is asked for."""

    def step(self, state: ModelState, action: Tensor, want: Collection[str] = ()) -> ModelStep:
        return super().step(state, action)


def test_a_model_that_keeps_its_prediction_back_has_no_rollouts_measured() -> None:
    silent = Silent()
    silent.build(linear_task(ends=False))
    result = look(silent, truth=exact_model())
    assert result.score("spread").spearman == pytest.approx(1.0, abs=1e-3)
    assert "Silent.step: expected a prediction when asked for it" in str(result.rollouts_skipped)


def test_measures_that_a_model_cannot_have_are_named() -> None:
    measures = [MeanDisagreement(), MaxAleatoric(), MaxPairwiseDistance(), LeaveOneOutKL(), MeanDisagreement(reward=True)]
    result = look(faulty(), measures=measures)
    assert result.measures[0] == "MeanDisagreement(reward=False)"
    told = " ".join(result.notes)
    for name in ("MaxAleatoric is undefined: the model predicts no noise", "LeaveOneOutKL is undefined", "reward=True"):
        assert name in told
    assert result.score("MaxAleatoric").spearman is None
    assert result.score("MaxPairwiseDistance").spearman > 0.99
    model = LinearModel([[1.0, 0.1], [0.0, 0.8]], ACTION_MATRIX)
    model.build(linear_task(ends=False))
    assert any("2 members and the model has 1" in note for note in look(model).notes)


def test_every_measure_of_a_noisy_ensemble_has_numbers() -> None:
    measures = [MeanDisagreement(), MaxPairwiseDistance(), LeaveOneOutKL()]
    result = look(faulty(noise=0.1), truth=exact_model(), measures=measures)
    assert all(score.spearman is not None for score in result.scores)


def test_without_a_truth_the_rollouts_are_left_out_by_name() -> None:
    result = look(faulty())
    assert result.score("spread", ROLLOUTS) is None
    assert "truth" in result.rollouts_skipped
    assert any("model rollouts are left out" in note for note in result.notes)
    assert set(result.summary()[DATASET]) == {"spread"} and result.summary()[ROLLOUTS] == {}
    with pytest.raises(UnsupportedError, match="exact"):
        look(faulty(), truth=faulty())


class Picky(LinearQuadratic):
    """Refuses states above a limit, as a simulator refuses velocities at their clip."""

    def start(self, rows: Transitions, generator, *, follow: bool = False):
        if (rows.obs[:, 0] > 0.5).any():
            raise DataError("the velocity is at its clip.")
        return super().start(rows, generator, follow=follow)


class Hidden(LinearQuadratic):
    """Can't be started from observations."""

    def start(self, rows: Transitions, generator, *, follow: bool = False):
        raise UnsupportedError("observations don't determine the state.")


@pytest.mark.parametrize("kind", [Picky, Hidden])
def test_states_that_the_truth_cannot_start_from_are_left_out(kind: type[LinearQuadratic]) -> None:
    truth = kind(STATE_MATRIX, ACTION_MATRIX)
    truth.build(linear_task(ends=False))
    result = look(faulty(), truth=truth)
    if kind is Hidden:
        assert result.rollouts_skipped == "observations don't determine the state."
        return
    everywhere = look(faulty(), truth=exact_model())
    assert 0 < len(result.error[ROLLOUTS]) < len(everywhere.error[ROLLOUTS]) == 200
    left = 200 - len(result.error[ROLLOUTS])
    assert any(f"follows {left} states" in note and "at its clip" in note for note in result.notes)
    kept = torch.isin(everywhere.error[ROLLOUTS], result.error[ROLLOUTS])
    assert int(kept.sum()) == len(result.error[ROLLOUTS])  # the others are as they were


def test_rollouts_end_where_the_model_ends_them() -> None:
    task = linear_task(ends=True)
    result = look(faulty(task, fault=0.8), linear_episodes(ends=True), truth=exact_model(task), depth=10)
    counts = [result.score("spread", ROLLOUTS, depth).rows for depth in range(10)]
    assert counts[0] == 40 and counts == sorted(counts, reverse=True) and counts[-1] < 40
    assert any("end early" in note for note in result.notes)


def test_numbers_that_are_not_finite_are_counted_with_their_place() -> None:
    result = look(faulty(nan_above=0.45), truth=exact_model(), names=["x", "v"])
    wrong = [(i, j) for i, episode in enumerate(EPISODES) for j in (episode.obs[:, 0].abs() > 0.45).nonzero()[:, 0].tolist()]
    assert len(result.error[DATASET]) == sum(map(len, EPISODES)) - len(wrong)
    note = next(note for note in result.notes if "finite" in note)
    assert str(3 * len(wrong)) in note and "x" in note
    assert result.score("spread").spearman == pytest.approx(1.0, abs=1e-3)


def test_thresholds_come_from_the_reference() -> None:
    """Errors are in proportion to |s_0|: a reference of a tenth of the size makes nearly every row an event."""
    rows = Transitions.cat(EPISODES)
    small = rows.map(lambda x: x * 0.1 if x.is_floating_point() else x)
    result, plain = look(faulty(), reference=small), look(faulty())
    assert result.thresholds[95] == pytest.approx(plain.thresholds[95] / 10, rel=1e-2)
    assert result.score("spread").events[95] > 0.6
    assert any("same rows" in note for note in plain.notes) and not any("same rows" in note for note in result.notes)


def test_fewer_rows_are_drawn_and_said() -> None:
    result = look(faulty(), most=50)
    assert result.score("spread").rows == 50
    assert any("50 rows were drawn from 500" in note for note in result.notes)
    assert torch.equal(look(faulty(), most=50).error[DATASET], result.error[DATASET])


def test_bad_arguments() -> None:
    with pytest.raises(ConfigError, match="depth"):
        look(faulty(), depth=0)
    with pytest.raises(DataError, match="real episodes"):
        look(faulty(), [])
    assert "5 steps" in look(faulty(), linear_episodes(length=4), truth=exact_model()).rollouts_skipped


def test_table_plot_and_json() -> None:
    measures = [MeanDisagreement(), MaxAleatoric()]
    result = look(faulty(), truth=exact_model(), measures=measures)
    table = result.table()
    assert {len(column) for column in table.values()} == {len(result.scores)}
    assert {"spearman", "auc_95", "average_precision_99", "pearson_within"} <= set(table)
    json.dumps(result.to_json(), allow_nan=False)
    for figure in (result.plot(), result.plot_by_depth(), result.plot_roc("MeanDisagreement"), look(exact_model()).plot()):
        figure.draw_without_rendering()
    figure = result.plot()  # points may lie anywhere in the panels, so that the legend lies below both
    assert len(figure.legends) == 1 and all(axes.get_legend() is None for axes in figure.axes)
    with pytest.raises(DataError, match="MaxAleatoric"):
        result.plot_roc("MaxAleatoric")
