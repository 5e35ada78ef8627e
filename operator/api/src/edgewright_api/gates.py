"""Gates: whether an artifact may ship. Fail closed, on reported outcomes alone, the same for every caller.

The publisher recomputes every verdict here from the outcomes that a builder reported; a builder's own
opinion is not asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edgewright_api.edgemodel import Budgets, Objective, Requirements
from edgewright_api.evidence import Evidence
from edgewright_api.quantity import human_bytes, quantity_bytes
from edgewright_api.reasons import Reason
from edgewright_api.report import Failure
from edgewright_api.statistics import drop_upper_bound, median_interval, percentile, samples_needed
from edgewright_api.verdicts import AccuracyFigure, CandidateNote, LatencyFigure, Verdict

SLOWER_FROM: Final = 1.05
"""An artifact is slower when the whole 95 % interval of its latency ratio lies above this."""


@dataclass(frozen=True, slots=True)
class PairedOutcomes:
    """Counts of paired decisions on the same samples."""

    samples: int
    baseline_right: int
    candidate_right: int
    lost: int
    """Right with the baseline, wrong with the candidate."""
    gained: int
    """Wrong with the baseline, right with the candidate."""

    @staticmethod
    def from_bytes(outcomes: bytes) -> "PairedOutcomes":
        """Count one byte per sample: bit 0 is the baseline right, bit 1 the candidate right.

        Raises:
            ValueError: a byte has another bit set.
        """
        counts = [outcomes.count(byte) for byte in range(4)]
        if sum(counts) != len(outcomes):
            raise ValueError(f"an outcome has two bits, not {max(outcomes):#x}")
        return PairedOutcomes(
            samples=len(outcomes),
            baseline_right=counts[1] + counts[3],
            candidate_right=counts[2] + counts[3],
            lost=counts[1],
            gained=counts[2],
        )


@dataclass(frozen=True, slots=True)
class LatencyMeasurement:
    """Paired timings in alternation."""

    pairs: tuple[tuple[float, float], ...]
    """(baseline, candidate) in microseconds, one pair per block."""
    p50_us: float
    p90_us: float
    evidence: Evidence
    machine: str = ""


@dataclass(frozen=True, slots=True)
class Safety:
    """What the numeric check found."""

    saturates: bool
    nan: bool
    constant_output: bool


@dataclass(frozen=True, slots=True)
class Measured:
    """All that is known of one candidate; None is "not measured", and never good."""

    name: str
    size_bytes: int
    """Size of the packaged artifact."""
    outcomes: Mapping[str, PairedOutcomes | None]
    evidence: Evidence
    latency: LatencyMeasurement | None
    safety: Safety | None
    golden_holds: bool | None
    """Whether its golden vectors are within the tolerance that nodes will hold them to."""
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """What a target must hold."""

    requirements: Requirements
    budgets: Budgets
    latency_evidence: Evidence
    """The weakest level at which a latency counts; NONE lets it be unproven."""
    candidates: int
    """How many candidates are judged on the same samples: each gets its share of the error probability."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One candidate's verdict."""

    name: str
    accepted: bool
    verdict: Verdict
    reason: Reason
    message: str
    accuracy: tuple[AccuracyFigure, ...]
    latency: LatencyFigure | None
    size_bytes: int
    samples_needed: int = 0
    evidence: Evidence = Evidence.NONE

    def note(self) -> CandidateNote:
        """Return the short form for status."""
        return CandidateNote(
            name=self.name,
            accepted=self.accepted,
            reason=self.reason.value,
            message=self.message[:512],
            size_bytes=self.size_bytes,
        )


Breach = tuple[Reason, str]


def judge(measured: Measured, ask: Ask) -> Judgement:
    """Return the verdict of one candidate: the first breach in the order below, or Accepted."""
    accuracy = _accuracy(measured, ask)
    latency = _latency(measured.latency)
    if measured.failure is not None:
        breach: Breach | None = (measured.failure.reason, measured.failure.message)
    else:
        breach = next((b for check in _CHECKS if (b := check(measured, ask, accuracy, latency))), None)
    reason, message = breach or _praise(latency)
    return Judgement(
        name=measured.name,
        accepted=breach is None,
        verdict=_verdict(measured.failure, breach),
        reason=reason,
        message=message,
        accuracy=accuracy,
        latency=latency,
        size_bytes=measured.size_bytes,
        samples_needed=max((a.samples_needed for a in accuracy), default=0),
        evidence=measured.evidence,
    )


def _verdict(failure: Failure | None, breach: Breach | None) -> Verdict:
    if failure is not None:
        return Verdict.INFEASIBLE if failure.reason is Reason.OPERATOR_NOT_SUPPORTED else Verdict.FAILED
    return Verdict.ACCEPTED if breach is None else Verdict.REJECTED


def _praise(latency: LatencyFigure | None) -> Breach:
    if latency is None:
        return (
            Reason.LATENCY_UNPROVEN,
            "every requirement that can be measured here holds; the latency was not judged, because no builder "
            "of this instruction set level has measured it",
        )
    return Reason.ACCEPTED, "every requirement and budget holds"


def _accuracy(measured: Measured, ask: Ask) -> tuple[AccuracyFigure, ...]:
    figures = []
    for requirement in ask.requirements.accuracy:
        outcomes = measured.outcomes.get(requirement.metric)
        if outcomes is None or outcomes.samples == 0:
            continue
        alpha = (1 - requirement.confidence_percent / 100) / max(1, ask.candidates)
        limit = float(requirement.max_drop_percentage_points) / 100
        n = outcomes.samples
        bound = drop_upper_bound(outcomes.lost, outcomes.gained, n, alpha)
        short = bound > limit
        figures.append(
            AccuracyFigure(
                metric=requirement.metric,
                baseline_percent=_percent(outcomes.baseline_right / n),
                value_percent=_percent(outcomes.candidate_right / n),
                drop_percentage_points=_percent((outcomes.lost - outcomes.gained) / n),
                drop_upper_bound=_percent(bound),
                max_drop_percentage_points=requirement.max_drop_percentage_points,
                confidence_percent=requirement.confidence_percent,
                samples=n,
                samples_needed=samples_needed(outcomes.lost, outcomes.gained, n, limit, alpha)
                if short
                else 0,
                evidence=measured.evidence,
            )
        )
    return tuple(figures)


def _latency(measured: LatencyMeasurement | None) -> LatencyFigure | None:
    if measured is None or len(measured.pairs) < 6:
        return None
    if any(not b > 0 or not c > 0 for b, c in measured.pairs):
        return None
    ratio = median_interval([candidate / baseline for baseline, candidate in measured.pairs])
    return LatencyFigure(
        ratio=f"{ratio.median:.3f}",
        ratio_low=f"{ratio.low:.3f}",
        ratio_high=f"{ratio.high:.3f}",
        p50_microseconds=round(measured.p50_us),
        p90_microseconds=round(measured.p90_us),
        evidence=measured.evidence,
        machine=measured.machine,
    )


Check = Callable[[Measured, Ask, tuple[AccuracyFigure, ...], LatencyFigure | None], Breach | None]


def _numbers_are_safe(
    measured: Measured, ask: Ask, accuracy: tuple[AccuracyFigure, ...], latency: LatencyFigure | None
) -> Breach | None:
    del ask, accuracy, latency
    safety = measured.safety
    if safety is None:
        return Reason.NOT_MEASURED, "saturation and NaN were not checked"
    if safety.saturates:
        return (
            Reason.SATURATION_RISK,
            "the weights can overflow the 16-bit sums of this instruction set level; use 7-bit weights",
        )
    if safety.nan or safety.constant_output:
        return Reason.NUMERICALLY_UNSAFE, "the outputs hold NaN or are the same for every input"
    return None


def _accuracy_holds(
    measured: Measured, ask: Ask, accuracy: tuple[AccuracyFigure, ...], latency: LatencyFigure | None
) -> Breach | None:
    del latency
    by_metric = {figure.metric: figure for figure in accuracy}
    weak: Breach | None = None
    for requirement in ask.requirements.accuracy:
        figure = by_metric.get(requirement.metric)
        if figure is None:
            return Reason.NOT_MEASURED, f"{requirement.metric} was not measured"
        limit = float(requirement.max_drop_percentage_points)
        if not float(figure.drop_percentage_points) < limit:
            return (
                Reason.ACCURACY_DROP_TOO_LARGE,
                f"{figure.metric} drops by {figure.drop_percentage_points} points "
                f"({figure.baseline_percent} % to {figure.value_percent} % on {figure.samples} samples), "
                f"at most {figure.max_drop_percentage_points} are allowed",
            )
        outcomes = measured.outcomes[requirement.metric]
        alpha = (1 - requirement.confidence_percent / 100) / max(1, ask.candidates)
        exact = drop_upper_bound(outcomes.lost, outcomes.gained, outcomes.samples, alpha) if outcomes else 1.0
        if not exact * 100 <= limit:
            weak = (
                Reason.UNDERPOWERED,
                f"{figure.metric} drops by {figure.drop_percentage_points} points on {figure.samples} samples, "
                f"which proves no more than a drop below {figure.drop_upper_bound} at "
                f"{figure.confidence_percent} % confidence over {ask.candidates} candidates; to prove "
                f"{figure.max_drop_percentage_points} at this rate, need n ≥ {figure.samples_needed}",
            )
    return weak


def _golden_holds(
    measured: Measured, ask: Ask, accuracy: tuple[AccuracyFigure, ...], latency: LatencyFigure | None
) -> Breach | None:
    del ask, accuracy, latency
    if measured.golden_holds is None:
        return Reason.NOT_MEASURED, "the golden vectors were not compared with the source model"
    if not measured.golden_holds:
        return (
            Reason.GOLDEN_SOURCE_MISMATCH,
            "the outputs on the golden vectors are so far from the source model's that every node would refuse",
        )
    return None


def _speed_holds(
    measured: Measured, ask: Ask, accuracy: tuple[AccuracyFigure, ...], latency: LatencyFigure | None
) -> Breach | None:
    del measured, accuracy
    budget = ask.budgets.latency_p90_microseconds
    if latency is None:
        if budget is not None:
            return (
                Reason.LATENCY_UNPROVEN,
                f"a budget of {budget} µs was set, and no latency could be measured",
            )
        if ask.latency_evidence is not Evidence.NONE:
            return Reason.LATENCY_UNPROVEN, f"a latency at level {ask.latency_evidence} was asked for"
        return None
    if not latency.evidence.satisfies(ask.latency_evidence):
        return (
            Reason.EVIDENCE_TOO_WEAK,
            f"the latency is {latency.evidence}, {ask.latency_evidence} was asked for",
        )
    if ask.requirements.no_slower_than_baseline and float(latency.ratio_low) > SLOWER_FROM:
        return (
            Reason.SLOWER_THAN_BASELINE,
            f"takes {latency.ratio} times as long as the source model "
            f"(95 % interval {latency.ratio_low} to {latency.ratio_high})",
        )
    if budget is not None and latency.p90_microseconds > budget:
        return (
            Reason.LATENCY_BUDGET_EXCEEDED,
            f"the 90th percentile is {latency.p90_microseconds} µs, the budget is {budget} µs",
        )
    return None


def _size_holds(
    measured: Measured, ask: Ask, accuracy: tuple[AccuracyFigure, ...], latency: LatencyFigure | None
) -> Breach | None:
    del accuracy, latency
    if ask.budgets.size is None:
        return None
    limit = quantity_bytes(ask.budgets.size)
    if measured.size_bytes > limit:
        return (
            Reason.SIZE_BUDGET_EXCEEDED,
            f"the artifact is {human_bytes(measured.size_bytes)}, the budget is {human_bytes(limit)}",
        )
    return None


_CHECKS: Final[tuple[Check, ...]] = (
    _numbers_are_safe,  # figures of an artifact that can overflow mean nothing
    _accuracy_holds,
    _golden_holds,
    _speed_holds,
    _size_holds,
)


def choose(judgements: Sequence[Judgement], objectives: Sequence[Objective]) -> Judgement | None:
    """Return the accepted candidate that the objectives prefer, or None when none was accepted.

    Latencies within SLOWER_FROM of the best count as equal, so noise does not outvote the next objective.
    A latency that not every accepted candidate has is no ground for a choice.
    """
    left = [j for j in judgements if j.accepted]
    for objective in objectives:
        if len(left) < 2:
            break
        left = _preferred(left, objective)
    return min(left, key=lambda j: (j.size_bytes, j.name), default=None)


def _preferred(left: list[Judgement], objective: Objective) -> list[Judgement]:
    if objective is Objective.LATENCY:
        ratios = {j.name: float(j.latency.ratio) for j in left if j.latency is not None}
        if len(ratios) < len(left):
            return left
        best = min(ratios.values())
        return [j for j in left if ratios[j.name] <= best * SLOWER_FROM]
    smallest = min(j.size_bytes for j in left)
    return [j for j in left if j.size_bytes == smallest]


_NEARNESS: Final[tuple[Reason, ...]] = (
    Reason.SIZE_BUDGET_EXCEEDED,
    Reason.LATENCY_BUDGET_EXCEEDED,
    Reason.SLOWER_THAN_BASELINE,
    Reason.EVIDENCE_TOO_WEAK,
    Reason.LATENCY_UNPROVEN,
    Reason.GOLDEN_SOURCE_MISMATCH,
    Reason.UNDERPOWERED,
    Reason.ACCURACY_DROP_TOO_LARGE,
)
"""The later a gate refused, the nearer the candidate was; reasons not listed are the farthest."""


def nearest(judgements: Sequence[Judgement]) -> Judgement | None:
    """Return the refused candidate that came nearest, or None when there was none."""

    def distance(j: Judgement) -> tuple[int, int, str]:
        rank = _NEARNESS.index(j.reason) if j.reason in _NEARNESS else len(_NEARNESS)
        return rank, j.samples_needed, j.name

    return min((j for j in judgements if not j.accepted), key=distance, default=None)


def latency_from_pairs(
    pairs: Sequence[tuple[float, float]], p50_us: float, p90_us: float, *, evidence: Evidence, machine: str
) -> LatencyMeasurement:
    """Return a measurement from reported timings.

    Raises:
        ValueError: the reported percentiles contradict each other or the pairs.
    """
    medians = sorted(candidate for _, candidate in pairs)
    if not medians or not 0 < p50_us <= p90_us or not percentile(medians, 0.0) <= p90_us:
        raise ValueError("the reported latencies contradict each other")
    return LatencyMeasurement(tuple(pairs), p50_us, p90_us, evidence, machine)


def _percent(share: float) -> str:
    return f"{share * 100:.2f}"
