"""What passes measured, read from their bytes. Strict: whoever wrote them may be hostile.

Pure. The publisher reads each of these before it remembers it, so that what can't be read is never cached.
"""

import json
import math
from typing import Any, Final

from edgewright_api.evidence import Evidence
from edgewright_api.gates import LatencyMeasurement, PairedOutcomes, Safety, latency_from_pairs
from edgewright_api.plan import Output

EVIDENCE_OUTPUTS: Final = frozenset({Output.OUTCOMES, Output.LATENCY, Output.SAFETY})
"""The kinds of output that a verdict rests on; models and golden vectors are only named."""

MIN_PAIRS: Final = 6
"""The fewest pairs of timings that an interval can be made of."""


class EvidenceInvalid(ValueError):  # noqa: N818 - what is wrong, not which error
    """A pass gave bytes that are not what its kind of output is, or that contradict each other."""


def require_readable(kind: Output, content: bytes) -> None:
    """Return when ``content`` is evidence of this kind; other kinds of output are not looked into.

    Raises:
        EvidenceInvalid: it is not.
    """
    if kind is Output.OUTCOMES:
        read_outcomes(content)
    elif kind is Output.LATENCY:
        read_latency(content, evidence=Evidence.NONE, machine="")
    elif kind is Output.SAFETY:
        read_safety(content, can_saturate=True)


def read_outcomes(content: bytes) -> PairedOutcomes:
    """Return the counts of paired outcomes, one byte a sample.

    Raises:
        EvidenceInvalid: a byte is no pair of outcomes, or there is none.
    """
    if not content:
        raise EvidenceInvalid("there are no outcomes")
    try:
        return PairedOutcomes.from_bytes(content)
    except ValueError as error:
        raise EvidenceInvalid(str(error)) from error


def read_latency(content: bytes, *, evidence: Evidence, machine: str) -> LatencyMeasurement:
    """Return the timings, in microseconds; the file has nanoseconds.

    Args:
        content: What measure-latency gave.
        evidence: How strong the figures are; follows from the plan and not from the file.
        machine: The processor that they were taken on.

    Raises:
        EvidenceInvalid: it is no measurement.
    """
    document = _object(content)
    try:
        pairs = [(float(a) / 1e3, float(b) / 1e3) for a, b in document["pairs"]]
        p50, p90 = (float(document["artifact"][name]) / 1e3 for name in ("p50", "p90"))
        figures = [p50, p90, *(figure for pair in pairs for figure in pair)]
        # Too few or absurd timings must not pass for "could not be measured", which is let through.
        if len(pairs) < MIN_PAIRS or not all(0 < figure < math.inf for figure in figures):
            raise ValueError(f"{len(pairs)} pairs, or figures that are no times")
        return latency_from_pairs(pairs, p50, p90, evidence=evidence, machine=machine)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise EvidenceInvalid(f"it is no latency measurement: {error!r}"[:512]) from error


def read_safety(content: bytes, *, can_saturate: bool) -> Safety:
    """Return what the numeric check found; ``can_saturate`` is whether the target's sums of products can overflow.

    Raises:
        EvidenceInvalid: it is no safety check.
    """
    document = _object(content)
    possible, constant = document.get("saturationPossible"), document.get("constant")
    not_finite = document.get("notFinite")
    if not isinstance(possible, bool) or not isinstance(constant, bool) or not isinstance(not_finite, int):
        raise EvidenceInvalid("it is no safety check")
    return Safety(saturates=possible and can_saturate, nan=not_finite != 0, constant_output=constant)


def _object(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise EvidenceInvalid(f"it is not JSON: {error}"[:512]) from error
    if not isinstance(document, dict):
        raise EvidenceInvalid("it is not a JSON object")
    return document
