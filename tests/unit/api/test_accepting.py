"""What of a builder's report is believed: all of it, or nothing."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright_api.accepting import MAX_BYTES, ReportInvalidError, accept
from edgewright_api.cachekeys import Walk, input_digests, pass_key, walk
from edgewright_api.canonical import digest_bytes
from edgewright_api.edgetarget import Isa
from edgewright_api.plan import BuildPlan, Output, PassNode, Step
from edgewright_api.reasons import Reason
from edgewright_api.recipes import expand
from edgewright_api.report import BuildReport, CacheRecord, Failure, Machine, PassResult, PassState
from support.api_builders import builder, digest, revision_spec

PLAN = expand(revision_spec(), builder())
NOTHING = walk(PLAN, lambda key: None)
MACHINE = Machine(isa=Isa.X86_AVX2)


def failure(reason: Reason = Reason.MODEL_INVALID, *, deterministic: bool = True) -> Failure:
    return Failure(reason=reason, message="no", deterministic=deterministic)


def honest_report(
    plan: BuildPlan = PLAN,
    found: Walk = NOTHING,
    step: Step = Step.TRANSFORM,
    failing: frozenset[str] = frozenset(),
    fail: Failure | None = None,
) -> BuildReport:
    """Return what a good builder reports; the nodes in ``failing`` fail, and what follows is skipped."""
    outputs = {name: record.output for name, record in found.known.items() if record.output}
    results = []
    for node in plan.nodes:
        if node.step is not step or node.id in found.known:
            continue
        digests = input_digests(plan, node, outputs)
        if digests is None:
            results.append(PassResult(id=node.id, key=digest("0"), state=PassState.SKIPPED))
        elif node.id in failing:
            results.append(
                PassResult(
                    id=node.id,
                    key=pass_key(node, digests),
                    state=PassState.FAILED,
                    failure=fail or failure(),
                )
            )
        else:
            results.append(done(node, pass_key(node, digests)))
            outputs[node.id] = results[-1].output or ""
    return BuildReport(build_uid="b1", step=step, machine=MACHINE, results=tuple(results))


def done(node: PassNode, key: str) -> PassResult:
    return PassResult(
        id=node.id, key=key, state=PassState.DONE, output=digest_bytes(node.id.encode()), size_bytes=1
    )


def take(
    report: BuildReport, plan: BuildPlan = PLAN, found: Walk = NOTHING, step: Step = Step.TRANSFORM
) -> Any:
    return accept(report, plan, found, uid="b1", step=step)


def changed(report: BuildReport, at: int, **changes: Any) -> BuildReport:
    results = list(report.results)
    results[at] = results[at].model_copy(update=changes)
    return report.model_copy(update={"results": tuple(results)})


def test_an_honest_report_gives_a_record_for_every_pass() -> None:
    accepted = take(honest_report())
    wanted = [node.id for node in PLAN.nodes if node.step is Step.TRANSFORM]
    assert list(accepted.records) == wanted
    assert accepted.transient == {}
    keys = {record.key: record for record in accepted.records.values()}
    then = walk(PLAN, keys.get)
    assert list(then.known) == wanted


def test_both_steps_make_the_build_complete() -> None:
    records = {r.key: r for r in take(honest_report()).records.values()}
    then = walk(PLAN, records.get)
    report = honest_report(found=then, step=Step.EVALUATE)
    records |= {r.key: r for r in take(report, found=then, step=Step.EVALUATE).records.values()}
    assert walk(PLAN, records.get).missing == ()


TAMPERED: dict[str, Callable[[BuildReport], BuildReport]] = {
    "another-build": lambda r: r.model_copy(update={"build_uid": "b2"}),
    "another-step": lambda r: r.model_copy(update={"step": Step.EVALUATE}),
    "another-machine": lambda r: r.model_copy(update={"machine": Machine(isa=Isa.X86_VNNI)}),
    "a-pass-left-out": lambda r: r.model_copy(update={"results": r.results[1:]}),
    "a-pass-twice": lambda r: r.model_copy(update={"results": (*r.results, r.results[0])}),
    "a-pass-nobody-asked-for": lambda r: r.model_copy(
        update={"results": (*r.results, r.results[0].model_copy(update={"id": "../../blobs/x"}))}
    ),
    "the-evaluation-of-another-step": lambda r: r.model_copy(
        update={"results": (*r.results, r.results[0].model_copy(update={"id": "baseline/predict"}))}
    ),
    "another-key": lambda r: changed(r, 0, key=digest("f")),
    "other-inputs-than-before": lambda r: changed(r, 0, output=digest("f")),
    "done-without-output": lambda r: changed(r, 0, output=None),
    "done-and-failed": lambda r: changed(r, 0, failure=failure()),
    "skipped-for-no-reason": lambda r: changed(r, 0, state=PassState.SKIPPED, output=None),
    "failed-with-output": lambda r: changed(r, 0, state=PassState.FAILED, failure=failure()),
    "negative-size": lambda r: changed(r, 0, size_bytes=-1),
    "enormous-size": lambda r: changed(r, 0, size_bytes=1 << 60),
    "not-a-time": lambda r: changed(r, 0, seconds=float("nan")),
    "nan-in-facts": lambda r: changed(r, 0, facts={"top1": float("nan")}),
    "a-flood-of-facts": lambda r: changed(r, 0, facts={"x": "y" * 100_000}),
}


@pytest.mark.parametrize("tamper", TAMPERED.values(), ids=TAMPERED)
def test_a_report_that_does_not_fit_is_refused_whole(tamper: Callable[[BuildReport], BuildReport]) -> None:
    with pytest.raises(ReportInvalidError) as caught:
        take(tamper(honest_report()))
    assert caught.value.reason is Reason.BUILDER_REPORT_INVALID


def test_a_repeating_failure_is_a_record_and_blocks_what_follows() -> None:
    accepted = take(honest_report(failing=frozenset({"ingest"})))
    assert list(accepted.records) == ["ingest"]
    keys = {record.key: record for record in accepted.records.values()}
    assert walk(PLAN, keys.get).missing == ()


@pytest.mark.parametrize(
    "fail",
    [
        failure(deterministic=False),
        failure(Reason.STORE_UNAVAILABLE),
        failure(Reason.TOOLCHAIN_MISMATCH),
        failure(Reason.BUILDER_FAILED),
    ],
    ids=["says-so", "store", "toolchain", "builder"],
)
def test_a_failure_of_the_world_is_never_remembered(fail: Failure) -> None:
    accepted = take(honest_report(failing=frozenset({"ingest"}), fail=fail))
    assert accepted.records == {}
    assert accepted.transient == {"ingest": fail}


@pytest.mark.parametrize("kind", Output)
def test_each_kind_of_output_has_its_own_limit(kind: Output) -> None:
    records = {r.key: r for r in take(honest_report()).records.values()}
    known = walk(PLAN, records.get)
    for found, step in ((NOTHING, Step.TRANSFORM), (known, Step.EVALUATE)):
        report = honest_report(found=found, step=step)
        for at, result in enumerate(report.results):
            if PLAN.node(result.id).output is kind:
                with pytest.raises(ReportInvalidError, match="at most"):
                    take(changed(report, at, size_bytes=MAX_BYTES[kind] + 1), found=found, step=step)


def test_outcomes_that_leave_samples_out_are_refused() -> None:
    records = {r.key: r for r in take(honest_report()).records.values()}
    known = walk(PLAN, records.get)
    report = honest_report(found=known, step=Step.EVALUATE)
    at = next(i for i, r in enumerate(report.results) if PLAN.node(r.id).output is Output.OUTCOMES)
    with pytest.raises(ReportInvalidError, match="samples"):
        take(changed(report, at, size_bytes=2), found=known, step=Step.EVALUATE)


def test_a_result_behind_a_failure_is_refused() -> None:
    report = honest_report(failing=frozenset({"ingest"}))
    at = next(i for i, r in enumerate(report.results) if r.id == "canonicalize")
    claimed = changed(report, at, state=PassState.DONE, output=digest("f"))
    with pytest.raises(ReportInvalidError):
        take(claimed)


_NODES = [node.id for node in PLAN.nodes if node.step is Step.TRANSFORM]


@given(failing=st.frozensets(st.sampled_from(_NODES)), deterministic=st.booleans())
def test_whatever_fails_nothing_is_recorded_that_did_not_happen(
    failing: frozenset[str], *, deterministic: bool
) -> None:
    accepted = take(honest_report(failing=failing, fail=failure(deterministic=deterministic)))
    for node_id, record in accepted.records.items():
        assert isinstance(record, CacheRecord)
        assert (record.output is None) == (node_id in failing)
        assert deterministic or record.failure is None
    assert set(accepted.transient) <= failing
    assert not set(accepted.transient) & set(accepted.records)
