from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mbrl.data import make_generator
from mbrl.errors import DataError
from mbrl.models.fitting.rules import BestWeights, MemberBatches, Split
from tests.models.linear_task import linear_rows

E = 3


def generator() -> torch.Generator:
    return make_generator("cpu", 0, "fitting")


# split ---------------------------------------------------------------------------------------------------------------


def test_split_holds_out_a_share_up_to_a_cap() -> None:
    rows = linear_rows(100)
    for most, held in ((None, 20), (5000, 20), (7, 7)):
        split = Split.draw(rows, generator(), 0.2, most)
        assert len(split.holdout) == held
        assert torch.cat((split.train, split.holdout)).sort()[0].tolist() == list(range(100))
    source = generator()
    first, second = (Split.draw(rows, source, 0.2).holdout for _ in range(2))
    assert not torch.equal(first.sort()[0], second.sort()[0])  # drawn anew at every fit
    assert len(Split.draw(rows, generator(), 0.0).holdout) == 0
    assert len(Split.draw(linear_rows(2), generator(), 0.2).holdout) == 1


def test_split_by_episode_cuts_no_episode() -> None:
    rows = linear_rows(100)
    split = Split.draw(rows, generator(), 0.25, None, "episode")
    train, held = (set(rows.extras["episode"][index].tolist()) for index in (split.train, split.holdout))
    assert not train & held
    assert len(held) == 3  # whole episodes of 10 rows until 25 are reached
    assert len(Split.draw(rows, generator(), 0.95, None, "episode").train) == 10  # one episode is left to train on


def test_split_refuses_too_little() -> None:
    with pytest.raises(DataError, match=r"at least 2 rows .* got 1; collect more"):
        Split.draw(linear_rows(1), generator(), 0.2)
    rows = linear_rows(10)
    rows.extras = {}
    with pytest.raises(DataError, match=r"extras\['episode'\].*got none"):
        Split.draw(rows, generator(), 0.2, None, "episode")
    rows.extras = {"episode": torch.zeros(10, dtype=torch.int64)}
    with pytest.raises(DataError, match=r"at least 2 episodes .* got 1"):
        Split.draw(rows, generator(), 0.2, None, "episode")


# batches -------------------------------------------------------------------------------------------------------------


def epoch(batches: MemberBatches) -> Tensor:
    return torch.cat(list(batches.epoch()), 1)  # E x n


def test_bootstrap_with_replacement_is_drawn_once_and_shuffled_every_epoch() -> None:
    train = torch.arange(100, 200)
    batches = MemberBatches(train, E, 32, "replacement", generator())
    assert [tuple(index.shape) for index in batches.epoch()] == [(E, 32), (E, 32), (E, 32), (E, 4)]
    assert len(batches) == 4
    first, second = epoch(batches), epoch(batches)
    assert not torch.equal(first, second)
    assert torch.equal(first.sort(1)[0], second.sort(1)[0])  # the same rows, else members would be alike over time
    for member in range(E):
        assert 50 < len(first[member].unique()) < 75  # 63 % of the rows are expected
    assert len({tuple(row) for row in first.sort(1)[0].tolist()}) == E


def test_permutation_and_none_show_every_member_all_rows() -> None:
    train = torch.arange(100, 200)
    own, same = (MemberBatches(train, E, 32, kind, generator()) for kind in ("permutation", "none"))  # type: ignore[arg-type]
    for batches in (own, same):
        assert torch.equal(epoch(batches).sort(1)[0], train.expand(E, -1))
    assert len({tuple(row) for row in epoch(own).tolist()}) == E
    assert len({tuple(row) for row in epoch(same).tolist()}) == 1


def test_processes_share_each_batch_equally() -> None:
    train = torch.arange(37)
    whole, *parts = (MemberBatches(train, E, 10, "replacement", generator()) for _ in range(3))
    shares = [list(batches.epoch(rank, 2)) for rank, batches in enumerate(parts)]
    for batch, left, right in zip(whole.epoch(), *shares, strict=True):
        assert left.shape == right.shape
        assert torch.equal(torch.cat((left, right), 1), batch[:, : 2 * (batch.shape[1] // 2)])


# early stopping and best weights ---------------------------------------------------------------------------------------


def best(keep: str = "member", rule: str = "mbpo") -> tuple[BestWeights, nn.Parameter, nn.Parameter]:
    own, shared = nn.Parameter(torch.zeros(E, 2)), nn.Parameter(torch.zeros(E))
    parameters = {"own": own, "shared": shared}
    return BestWeights(parameters, {"own"}, E, rule=rule, keep=keep), own, shared  # type: ignore[arg-type]


def epochs_until_stop(watch: BestWeights, scores: list[Tensor]) -> int:
    for number, score in enumerate(scores, 1):
        if watch.update(score):
            return number
    return len(scores) + 1


@pytest.mark.check("coplanner-14")
def test_constant_scores_stop_after_7_epochs_by_the_mbpo_rule() -> None:
    watch, *_ = best()
    assert not watch.needs_start
    assert epochs_until_stop(watch, [torch.ones(E)] * 100) == 7


@pytest.mark.check("coplanner-14")
@pytest.mark.parametrize(("initial", "epochs"), [(1.0, 5), (2.0, 6)])
def test_constant_scores_stop_after_5_or_6_epochs_by_the_mbrl_lib_rule(initial: float, epochs: int) -> None:
    watch, *_ = best(rule="mbrl-lib")
    watch.begin(torch.full((E,), initial))
    assert epochs_until_stop(watch, [torch.ones(E)] * 100) == epochs


@pytest.mark.check("coplanner-14")
@pytest.mark.parametrize("rule", ["mbpo", "mbrl-lib", "mean"])
def test_half_a_percent_an_epoch_never_stops(rule: str) -> None:
    watch, *_ = best(rule=rule)
    if watch.needs_start:
        watch.begin(torch.ones(E))
    assert epochs_until_stop(watch, [torch.full((E,), 0.995**i) for i in range(500)]) == 501


def test_one_member_that_improves_keeps_all_going() -> None:
    watch, *_ = best()
    scores = [torch.tensor([1.0, 1.0, 0.9**i]) for i in range(50)]
    assert epochs_until_stop(watch, scores) == 51


def test_members_that_improve_by_turns_stop_by_their_mean_alone() -> None:
    """Each epoch one of the three falls by 1.2 %, the mean by 0.4 %: progress for all rules but the mean's 3 %."""
    turns = [torch.tensor([0.988 ** ((i + member) // E) for member in range(E)]) for i in range(60)]
    watch, *_ = best()
    assert epochs_until_stop(watch, turns) == 61
    own = nn.Parameter(torch.zeros(E, 2))
    watch = BestWeights({"own": own}, {"own"}, E, rule="mean", threshold=0.03)
    assert epochs_until_stop(watch, turns) == 7  # 6 epochs bring 2.4 %
    watch = BestWeights({"own": own}, {"own"}, E, rule="mean", threshold=0.02)
    assert epochs_until_stop(watch, turns) == 61  # 2 % came in the sixth


def test_one_member_in_three_counts_for_a_third_of_the_mean() -> None:
    own = nn.Parameter(torch.zeros(E, 2))
    watch = BestWeights({"own": own}, {"own"}, E, rule="mean", threshold=0.01, patience=2)
    scores = [[1.0, 1.0, 1.0], [1.0, 1.0, 0.98], [9.0, 1.0, 0.96], [1.0, 9.0, 0.96], [1.0, 1.0, 0.96], [1.0, 1.0, 0.96]]
    # the bests' mean: 1, 0.9933, 0.9867 (counted), then nothing for three epochs, the third beyond the patience of two
    assert epochs_until_stop(watch, [torch.tensor(score) for score in scores]) == 6


def test_the_mean_rule_keeps_weights_that_were_better_by_little() -> None:
    for rule, kept in (("mbpo", 1.0), ("mean", 2.0)):
        watch, own, _ = best(rule=rule)
        for value, score in ((1.0, 1.0), (2.0, 0.999), (3.0, 1.5)):
            with torch.no_grad():
                own.fill_(value)
            watch.update(torch.full((E,), score))
        watch.restore()
        assert own[:, 0].tolist() == [kept] * E


def test_the_mean_rule_takes_scores_below_zero_by_their_size() -> None:
    """Such as log-likelihoods: from −1 on, a fall of 2 % counts as progress, one of 0.5 % only added up."""
    for fall, stop in ((0.02, 31), (0.001, 7)):
        watch, *_ = best(rule="mean")
        assert epochs_until_stop(watch, [torch.full((E,), -1.0 - fall * i) for i in range(30)]) == stop


def test_the_mean_rule_ends_a_fit_whose_scores_are_zero() -> None:
    watch, *_ = best(rule="mean")
    assert epochs_until_stop(watch, [torch.ones(E), *[torch.zeros(E)] * 100]) == 8  # patience begins after the second


def test_a_member_whose_scores_are_no_numbers_doesnt_end_the_fit_of_the_others() -> None:
    """It has no part in the mean, and joins it once it has a score."""
    watch, *_ = best(rule="mean")
    assert epochs_until_stop(watch, [torch.tensor([0.9**i, torch.nan, torch.inf]) for i in range(50)]) == 51
    own = nn.Parameter(torch.zeros(E, 2))
    watch = BestWeights({"own": own}, {"own"}, E, rule="mean", patience=2)
    late = [torch.tensor([1.0, 1.0, torch.nan if i < 3 else 90.0 * 0.9**i]) for i in range(50)]
    assert epochs_until_stop(watch, late) == 51
    watch = BestWeights({"own": own}, {"own"}, E, rule="mean", patience=2)
    assert epochs_until_stop(watch, [torch.full((E,), torch.nan)] * 50) == 3


def test_the_mean_rule_goes_on_from_a_state_dict_as_it_would_have() -> None:
    scores = [torch.full((E,), 0.996**i) for i in range(40)]
    own = nn.Parameter(torch.zeros(E, 2))

    def watch() -> BestWeights:
        return BestWeights({"own": own}, {"own"}, E, rule="mean", threshold=0.03, patience=8)

    whole, before, after = watch(), watch(), watch()
    decisions = [whole.update(score) for score in scores]
    first = [before.update(score) for score in scores[:12]]
    after.load_state_dict(before.state_dict())
    assert first + [after.update(score) for score in scores[12:]] == decisions
    assert after.idle == whole.idle < 8  # 3 % come in 8 epochs


def test_patience_and_threshold_are_those_given() -> None:
    own = nn.Parameter(torch.zeros(E, 2))
    watch = BestWeights({"own": own}, {"own"}, E, patience=2)
    assert epochs_until_stop(watch, [torch.ones(E)] * 100) == 4
    watch = BestWeights({"own": own}, {"own"}, E, threshold=0.2)
    assert epochs_until_stop(watch, [torch.full((E,), 1.0 if i == 0 else 0.81) for i in range(100)]) == 7
    watch = BestWeights({"own": own}, {"own"}, E, threshold=0.1)
    assert epochs_until_stop(watch, [torch.full((E,), 1.0 if i == 0 else 0.81) for i in range(100)]) == 8


@pytest.mark.check("coplanner-15")
@pytest.mark.parametrize(
    ("keep", "own_after", "shared_after"),
    [("member", [1.0, 2.0, 1.0], 9.0), ("ensemble", [2.0, 2.0, 2.0], 2.0), ("never", [9.0, 9.0, 9.0], 9.0)],
)
def test_best_weights_come_back_after_a_blow_up(keep: str, own_after: list[float], shared_after: float) -> None:
    watch, own, shared = best(keep)
    for value, scores in ((1.0, [1.0, 1.0, 1.0]), (2.0, [1.0, 0.5, 1.0]), (9.0, [1e6, 1e6, 1e6])):
        with torch.no_grad():
            own.fill_(value)
            shared.fill_(value)
        watch.update(torch.tensor(scores))
    watch.restore()
    assert own[:, 0].tolist() == own_after  # member 1 was best after the second epoch, the others after the first
    assert shared.tolist() == [shared_after] * E


def test_a_member_that_never_improved_keeps_its_last_weights() -> None:
    watch, own, _ = best(rule="mbrl-lib")
    watch.begin(torch.tensor([1.0, 1.0, 1.0]))
    with torch.no_grad():
        own.fill_(1.0)
    watch.update(torch.tensor([0.5, 2.0, 2.0]))
    with torch.no_grad():
        own.fill_(2.0)
    watch.restore()
    assert own[:, 0].tolist() == [1.0, 2.0, 2.0]


def test_best_weights_survive_a_state_dict() -> None:
    watch, own, _ = best()
    watch.update(torch.ones(E))
    other, other_own, _ = best()
    other.load_state_dict(watch.state_dict())
    with torch.no_grad():
        own.fill_(5.0)
        other_own.fill_(7.0)
    assert epochs_until_stop(other, [torch.ones(E)] * 100) == 6
    other.restore()
    assert not other_own.any()
