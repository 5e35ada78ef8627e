"""PURE: what of a builder's report is believed. Builders are hostile by assumption.

A report is taken whole or refused whole: each pass that was to run is answered once, by the step that was
asked, with the cache key that follows from the plan and from the digests of its inputs. Whether the bytes
have the digests that it claims is for the caller to see.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from edgewright_api.assembly import require_equal_samples
from edgewright_api.cachekeys import Walk, input_digests, pass_key
from edgewright_api.canonical import canonical_json
from edgewright_api.errors import StalledError
from edgewright_api.plan import BuildPlan, Output, PassNode, Step
from edgewright_api.readings import EvidenceInvalid
from edgewright_api.reasons import Reason
from edgewright_api.report import BuildReport, CacheRecord, Failure, PassResult, PassState

MAX_BYTES: Final[Mapping[Output, int]] = {
    Output.SAFETY: 64 << 10,
    Output.LATENCY: 1 << 20,
    Output.OUTCOMES: 16 << 20,
    Output.RANGES: 16 << 20,
    Output.GOLDEN: 256 << 20,
    Output.PREDICTIONS: 1 << 30,
    Output.MODEL: 4 << 30,
}
"""How much a pass may give: far more than a sound one does, and little of what is held in memory."""

_MAX_FACTS_BYTES: Final = 64 * 1024
_OF_THE_WORLD: Final = frozenset(
    {
        Reason.BUILDER_FAILED,
        Reason.STORE_UNAVAILABLE,
        Reason.TOOLCHAIN_MISMATCH,
        Reason.BUILDER_REPORT_INVALID,
    }
)
"""Failures that say nothing about the inputs, so they are never cached, whatever the builder says."""


class ReportInvalidError(StalledError):
    """``BuilderReportInvalid``: a report that contradicts the plan, the bytes or itself."""

    def __init__(self, what: str) -> None:
        super().__init__(
            Reason.BUILDER_REPORT_INVALID,
            f"the builder's report is not valid: {what}",
            remedy="Nothing of it was published. Check the builder's image, then change the model or its options",
        )


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a report gives: records to publish once their bytes are verified, and passes to try again."""

    records: Mapping[str, CacheRecord]
    """By node id, in the plan's order."""

    transient: Mapping[str, Failure]
    """By node id: failures that may not repeat."""


def accept(report: BuildReport, plan: BuildPlan, walk: Walk, *, uid: str, step: Step) -> Accepted:
    """Return what the report of ``step`` gives for the nodes that ``walk`` misses.

    Raises:
        ReportInvalidError: it is not the report of what was asked.
    """
    if (report.build_uid, report.step) != (uid, step):
        raise ReportInvalidError(f"it is about {report.step} of build {report.build_uid[:80]}")
    if report.machine.isa is not plan.host_isa:
        raise ReportInvalidError(f"it comes from a {report.machine.isa} machine, not {plan.host_isa}")
    results = _by_node(report, plan, walk, step)
    outputs = {node: record.output for node, record in walk.known.items() if record.output is not None}
    records: dict[str, CacheRecord] = {}
    transient: dict[str, Failure] = {}
    for node in plan.nodes:
        result = results.get(node.id)
        if result is None:
            continue
        digests = input_digests(plan, node, outputs)
        if digests is None:
            _require_skipped(result)
            continue
        key = pass_key(node, digests)
        _require_sound(node, result, key)
        if result.failure is not None and not _repeats(result.failure):
            transient[node.id] = result.failure
            continue
        if result.output is not None:
            outputs[node.id] = result.output
        records[node.id] = CacheRecord(
            key=key,
            pass_name=node.pass_name,
            output=result.output,
            size_bytes=result.size_bytes,
            facts=result.facts,
            seconds=result.seconds,
            machine=report.machine,
            failure=result.failure,
        )
    try:
        require_equal_samples(plan, {**walk.known, **records})
    except EvidenceInvalid as error:
        raise ReportInvalidError(str(error)) from error
    return Accepted(records, transient)


def _by_node(report: BuildReport, plan: BuildPlan, walk: Walk, step: Step) -> dict[str, PassResult]:
    results = {result.id: result for result in report.results}
    missing = set(walk.missing)
    asked = {node.id for node in plan.nodes if node.step is step and node.id in missing}
    # A builder tells of blocked passes as well; nothing is learned from these.
    told = {name for name, result in results.items() if result.state is not PassState.SKIPPED}
    if len(results) != len(report.results):
        raise ReportInvalidError("it answers a pass twice")
    if strange := sorted(told - asked):
        raise ReportInvalidError(f"nobody asked for {strange[0][:80]}")
    if absent := sorted(asked - set(results)):
        raise ReportInvalidError(f"it says nothing of {absent[0][:80]}")
    return {name: result for name, result in results.items() if name in asked}


def _require_skipped(result: PassResult) -> None:
    if result.state is not PassState.SKIPPED:
        raise ReportInvalidError(f"{result.id[:80]} has a result, although its inputs have none")


def _require_sound(node: PassNode, result: PassResult, key: str) -> None:
    done, failed = result.output is not None, result.failure is not None
    expected = {PassState.DONE: (True, False), PassState.FAILED: (False, True)}.get(result.state)
    if (done, failed) != expected:
        raise ReportInvalidError(f"{node.id} is {result.state}, which does not fit its output and failure")
    if result.key != key:
        raise ReportInvalidError(f"{node.id} was run with other inputs or options than the plan's")
    if not 0 <= result.size_bytes <= MAX_BYTES[node.output]:
        raise ReportInvalidError(
            f"{node.id} claims an output of {result.size_bytes} bytes, at most {MAX_BYTES[node.output]} are taken"
        )
    if not 0 <= result.seconds < 1e7:  # NaN and infinity fail this, too
        raise ReportInvalidError(f"{node.id} claims to have taken {result.seconds} seconds")
    try:
        facts = canonical_json(result.facts)
    except ValueError as error:
        raise ReportInvalidError(f"the facts of {node.id} hold a number that JSON has not") from error
    if len(facts) > _MAX_FACTS_BYTES:
        raise ReportInvalidError(f"the facts of {node.id} have {len(facts)} bytes")


def _repeats(failure: Failure) -> bool:
    return failure.deterministic and failure.reason not in _OF_THE_WORLD
