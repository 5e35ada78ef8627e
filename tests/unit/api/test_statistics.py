"""The bounds hold what they promise, against published values and by exhaustive enumeration."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright_api.statistics import (
    binomial_cdf,
    drop_upper_bound,
    lower_bound,
    median_interval,
    samples_needed,
    upper_bound,
)


@pytest.mark.parametrize(
    ("successes", "trials", "alpha", "bound"),
    [
        (0, 600, 0.05, 1 - 0.05 ** (1 / 600)),
        (1, 10, 0.05, 0.3941633),
        (10, 10, 0.05, 1.0),
        (5, 20, 0.025, 0.4910459),
    ],
)
def test_upper_bound_is_clopper_and_pearsons(successes: int, trials: int, alpha: float, bound: float) -> None:
    assert upper_bound(successes, trials, alpha) == pytest.approx(bound, abs=1e-6)


@given(st.integers(1, 200), st.floats(0.001, 0.999), st.data())
def test_cdf_is_the_sum_of_its_terms(trials: int, p: float, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, trials))
    exact = sum(math.comb(trials, i) * p**i * (1 - p) ** (trials - i) for i in range(k + 1))
    assert binomial_cdf(k, trials, p) == pytest.approx(exact, rel=1e-6, abs=1e-9)


@given(st.integers(0, 60), st.integers(60, 500), st.sampled_from([0.01, 0.05]))
def test_bounds_enclose_the_estimate(successes: int, trials: int, alpha: float) -> None:
    assert (
        lower_bound(successes, trials, alpha) <= successes / trials <= upper_bound(successes, trials, alpha)
    )


@pytest.mark.parametrize("lost_rate", [0.02, 0.1, 0.3])
def test_coverage_by_enumeration(lost_rate: float) -> None:
    """With n = 60 and no gains, the bound is below the truth in at most 5 % of all samples."""
    n, alpha = 60, 0.05
    missed = sum(
        math.comb(n, k) * lost_rate**k * (1 - lost_rate) ** (n - k)
        for k in range(n + 1)
        if drop_upper_bound(k, 0, n, alpha) < lost_rate
    )
    assert missed <= alpha


def test_samples_needed_is_none_when_the_drop_itself_is_too_large() -> None:
    assert samples_needed(12, 0, 600, 0.02, 0.05) == 0


@given(st.lists(st.floats(0.1, 10), min_size=6, max_size=80))
def test_the_median_lies_in_its_interval(values: list[float]) -> None:
    got = median_interval(values)
    assert got.low <= got.median <= got.high


def test_five_values_are_too_few() -> None:
    with pytest.raises(ValueError, match="too few"):
        median_interval([1.0] * 5)


def test_rank_of_the_interval_matches_the_table_for_forty() -> None:
    """For n = 40 the 95 % interval of the median runs from the 14th to the 27th value."""
    got = median_interval([float(i) for i in range(1, 41)])
    assert (got.low, got.high) == (14.0, 27.0)
