"""Exact bounds for paired decisions and paired timings: what a gate may conclude from a finite sample.

Binomial bounds are Clopper and Pearson's (1934); the interval of a median comes from order statistics and
assumes nothing about the distribution of timings. All of it is stdlib arithmetic, so every caller agrees.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_TOLERANCE: Final = 1e-10


def binomial_cdf(successes: int, trials: int, probability: float) -> float:
    """Return P(X <= successes) for X ~ Binomial(trials, probability).

    It equals the regularized incomplete beta function I(1 - p; n - k, k + 1), whose continued fraction
    converges in about the square root of n terms (DLMF 8.17.22), so a million trials cost no more than
    milliseconds.
    """
    if successes < 0:
        return 0.0
    if successes >= trials or probability <= 0.0:
        return 1.0
    if probability >= 1.0:
        return 0.0
    return _incomplete_beta(trials - successes, successes + 1, 1.0 - probability)


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """Return I(x; a, b) for a, b >= 1 and 0 < x < 1."""
    if x > (a + 1) / (a + b + 2):  # beyond it the fraction of the complement converges faster
        return 1.0 - _incomplete_beta(b, a, 1.0 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) / a / _beta_fraction(a, b, x)


def _beta_fraction(a: float, b: float, x: float) -> float:
    """Return 1 + d1/(1 + d2/(1 + ...)), evaluated from the front by Lentz's method."""
    tiny = 1e-300
    value, c, d = 1.0, 1.0, 0.0
    for term in range(1, 200_000):
        m, odd = divmod(term, 2)
        if odd:
            numerator = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            numerator = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1.0 / ((1.0 + numerator * d) or tiny)
        c = (1.0 + numerator / c) or tiny
        value *= c * d
        if abs(c * d - 1.0) < 1e-14:
            return value
    raise ArithmeticError(f"the continued fraction of I({x}; {a}, {b}) did not converge")


def upper_bound(successes: int, trials: int, alpha: float) -> float:
    """Return the one-sided Clopper–Pearson upper bound of a proportion, with error probability ``alpha``."""
    if trials <= 0 or successes >= trials:
        return 1.0
    low, high = successes / trials, 1.0
    while high - low > _TOLERANCE:
        middle = (low + high) / 2
        if binomial_cdf(successes, trials, middle) > alpha:
            low = middle
        else:
            high = middle
    return high


def lower_bound(successes: int, trials: int, alpha: float) -> float:
    """Return the one-sided Clopper–Pearson lower bound of a proportion, with error probability ``alpha``."""
    if trials <= 0 or successes <= 0:
        return 0.0
    return 1.0 - upper_bound(trials - successes, trials, alpha)


_LOST_SHARE: Final = 0.9
"""How much of the error probability goes to the lost samples; the rest lets regained ones count."""


def drop_upper_bound(lost: int, gained: int, samples: int, alpha: float) -> float:
    """Return the one-sided upper bound of the drop of accuracy on paired samples, as a share.

    The drop is P(lost) - P(gained), where lost samples were right with the baseline and wrong with the
    candidate, and gained ones the reverse. Both are bounded exactly, and ``alpha`` is split between the two
    bounds (Bonferroni), so the result holds whatever their correlation.
    """
    return upper_bound(lost, samples, alpha * _LOST_SHARE) - lower_bound(
        gained, samples, alpha * (1 - _LOST_SHARE)
    )


def samples_needed(
    lost: int, gained: int, samples: int, limit: float, alpha: float, *, most: int = 1_000_000
) -> int:
    """Return how many samples would prove the drop smaller than ``limit`` if the observed rates held.

    Returns 0 when no number of samples can: the observed drop itself reaches the limit. ``most`` is the
    largest answer; beyond it the number says no more than "far too many".
    """
    rate_lost, rate_gained = lost / samples, gained / samples
    if rate_lost - rate_gained >= limit:
        return 0

    def proven(n: int) -> bool:
        return drop_upper_bound(math.ceil(rate_lost * n), math.floor(rate_gained * n), n, alpha) <= limit

    high = max(samples, 1)
    while not proven(high):
        high *= 2
        if high > most:
            return most
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if proven(middle):
            high = middle
        else:
            low = middle
    return high


@dataclass(frozen=True, slots=True)
class Interval:
    """A median with its distribution-free two-sided interval."""

    median: float
    low: float
    high: float


def median_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the median of ``values`` and the order statistics that enclose the true one.

    Raises:
        ValueError: there are fewer than six values, so no pair of order statistics is wide enough.
    """
    ordered = sorted(values)
    n = len(ordered)
    if n < 6:
        raise ValueError(f"{n} values are too few for an interval of the median")
    tail = (1 - confidence) / 2
    rank = 0
    while binomial_cdf(rank, n, 0.5) <= tail:
        rank += 1
    low = max(0, rank - 1)
    return Interval(percentile(ordered, 0.5), ordered[low], ordered[n - 1 - low])


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return a percentile of ascending values, linear between neighbours."""
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])
