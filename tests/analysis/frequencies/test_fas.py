"""`fas`: the frequency-averaged score."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mbrl.analysis import fas
from mbrl.analysis.frequencies.fas import STANDARD_LENGTHS, standard_scale
from mbrl.errors import ConfigError, DataError

N = np.array(STANDARD_LENGTHS)


@pytest.mark.check("srl-9.5")
@pytest.mark.parametrize(
    ("returns", "score"),
    [
        (np.ones(16), 29 / 30),
        (N == 1, 1 / 60),
        (N == 2, 0.05),
        (N == 8, 1 / 15),
        (N == 28, 1 / 15),
        (N == 30, 1 / 30),
        (N <= 16, 16 / 30),
        ((31 - N) / 30, 0.4994444444),
        (1 / N, 0.1178298553),
    ],
)
def test_the_reference_agents(returns: np.ndarray, score: float) -> None:
    assert fas(STANDARD_LENGTHS, returns, 1.0) == pytest.approx(score, abs=5e-11)
    assert fas(STANDARD_LENGTHS, returns, 1.0, divisor="span") == pytest.approx(score * 30 / 29, abs=5e-11)
    order = np.random.default_rng(0).permutation(16)
    assert fas(N[order], np.asarray(returns)[order], 1.0) == pytest.approx(score, abs=5e-11)


@pytest.mark.check("srl-9.5")
def test_the_authors_scales() -> None:
    assert list(N) == [1, *range(2, 31, 2)]
    pendulum, reacher = standard_scale("Pendulum-v1"), standard_scale("Reacher-v5")
    assert pendulum == (1350.0, 1550.0) and reacher == (60.0, 65.0) and standard_scale("oddenv:Cart-v0") is None
    assert fas(N, np.full(16, -150.0), *pendulum) == pytest.approx(1.0024691358, abs=5e-11)
    assert fas(N, np.full(16, -5.0), *reacher) == pytest.approx(0.9666666667, abs=5e-11)


@pytest.mark.check("srl-9.5")
def test_the_mean_of_seeds_scores_is_the_score_of_their_mean() -> None:
    seeds = np.random.default_rng(0).normal(size=(5, 16))
    scores = fas(N, seeds, 2.0, 0.5)
    assert scores.shape == (5,) and scores.dtype == np.float64
    assert scores.mean() == pytest.approx(fas(N, seeds.mean(0), 2.0, 0.5), abs=1e-12)
    assert scores[3] == pytest.approx(fas(N, seeds[3], 2.0, 0.5), abs=1e-15)


@pytest.mark.check("srl-9.4")
def test_the_scalar_integrators_oracle_and_a_hold_that_isnt_clipped() -> None:
    """s' = s + 0.1 u for 200 steps from 1, the reward −(s² + u²); optimal for a discount of 0.99."""
    price = 10.04532891652867
    gain = 0.99 * price * 0.1 / (1 + 0.99 * price * 0.01)
    assert gain == pytest.approx(0.904532891652867, abs=1e-12)

    def earned(n: int, held: bool) -> float:
        state, total, action = 1.0, 0.0, 0.0
        for step in range(200):
            action = -gain * state if step % n == 0 or not held else action  # an exact model: the sequence is the policy's
            total -= state**2 + action**2
            state += 0.1 * action
        return total

    hold, sequence = ([earned(n, held) for n in STANDARD_LENGTHS] for held in (True, False))
    assert [round(hold[STANDARD_LENGTHS.index(n)], 4) for n in (2, 4, 8, 16, 22, 24)] == [
        -10.5250, -10.6321, -11.5042, -21.9104, -213.2395, -1032.6151,
    ]  # fmt: skip
    assert sequence == pytest.approx([-10.5264556919] * 16, abs=5e-11)
    assert fas(STANDARD_LENGTHS, sequence, 20.0, 20.0) == pytest.approx(0.4578879749, abs=5e-11)
    assert fas(STANDARD_LENGTHS, hold, 20.0, 20.0) == pytest.approx(-112.8576, abs=5e-5)


def test_a_divisor_that_is_named_counts_on_any_lengths() -> None:
    assert fas([1, 3], [2.0, 4.0], 2.0, divisor=30) == pytest.approx(3 / 30)
    assert fas(STANDARD_LENGTHS, np.ones(16), 1.0, divisor=30) == fas(STANDARD_LENGTHS, np.ones(16), 1.0)


@pytest.mark.parametrize(
    ("given", "options", "error", "message"),
    [
        (([1], [1.0]), {}, DataError, r"expected at least two lengths, no two alike, got \[1.0\]; measure"),
        (([1, 2, 2], [1.0, 1, 1]), {}, DataError, "no two alike"),
        (([1, 2], [1.0]), {}, DataError, r"expected 2 returns, one per length, got shape \(1,\); give"),
        (([1, 2], [1.0, float("nan")]), {}, DataError, "expected finite numbers, got .*; leave out what diverged"),
        (([1, 2], ["a", 1]), {}, DataError, r"fas\(returns=…\): expected numbers, got list"),
        (
            ([1, 2], [1.0, 1]),
            {"max_return": 0.0},
            ConfigError,
            r"fas\(max_return=…\): expected a finite number above 0, got 0.0",
        ),
        (([1, 2], [1.0, 1]), {"divisor": "all"}, ConfigError, r"fas\(divisor=…\): expected"),
        (
            ([8, 1, 2], [1.0] * 3),
            {},
            DataError,
            r"1, 2, 4, …, 30, got none beside \[8.0, 1.0, 2.0\]; give divisor='span'",
        ),
        ((STANDARD_LENGTHS[:-1], [1.0] * 15), {}, DataError, "expected a divisor beside other lengths"),
        (((*STANDARD_LENGTHS[:-1], 32), [1.0] * 16), {}, DataError, "expected a divisor beside other lengths"),
        (([1, 2], [1.0, 1]), {"offset": None}, ConfigError, r"fas\(offset=…\): expected a finite number, got None"),
    ],
)
def test_what_has_no_score_is_refused(given: Any, options: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        fas(*given, **{"max_return": 1.0, **options})
