"""EdgeModels: when a revision is made, when content under a version is refused, what is told meanwhile."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from edgewright_api.conditions import ConditionType, find
from edgewright_api.edgemodel import BuildProgress, EdgeModel
from edgewright_api.errors import EdgewrightError, StalledError, TransientError
from edgewright_api.modelrevision import ModelRevision
from edgewright_api.reasons import Reason
from edgewright_api.resolving import Pins, content, revision_name
from edgewright_api.verdicts import TargetResult
from edgewright_operator.planning.builds import BuildState, Published
from edgewright_operator.planning.models import ModelPlan, ModelSeen, known_pins, plan
from edgewright_operator.planning.revisions import is_ready, is_settled, judge, status_of
from support.operator_builders import NOW, condition, edge_model, edge_target, pins, result, revision

DEADLINE = timedelta(seconds=600)
TARGETS = {"x86-64-avx2": edge_target()}


def decide(
    model: EdgeModel,
    *revisions: ModelRevision,
    resolved: Pins | EdgewrightError | None = None,
    now: datetime = NOW,
    targets: Any = None,
) -> ModelPlan:
    seen = ModelSeen(model, TARGETS if targets is None else targets, revisions)
    return plan(seen, resolved, now=now, deadline=DEADLINE)


def reasons(got: ModelPlan) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status.value, c.reason) for c in got.status.conditions}


def summary(reason: str, *true: str) -> dict[str, tuple[str, str]]:
    return {
        kind: ("True" if kind in true else "False", reason)
        for kind in ("Ready", "Complete", "Reconciling", "Stalled")
    }


def again(model: EdgeModel, got: ModelPlan) -> EdgeModel:
    return model.model_copy(update={"status": got.status})


def test_a_model_becomes_a_revision_named_by_its_content() -> None:
    got = decide(edge_model(), resolved=pins())
    assert got.create is not None
    assert got.create.name == revision_name(content(edge_model(), TARGETS, pins()))
    assert (got.create.owner_name, got.create.owner_uid) == ("digits", "uid-digits")
    assert reasons(got) == summary("Building", "Reconciling")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        pytest.param({"objectives": ["Size"]}, pins(), id="objective"),
        pytest.param({"optimization": {"recipe": "Float"}}, pins(), id="recipe"),
        pytest.param({}, pins(data="d"), id="one-calibration-sample"),
    ],
)
def test_what_shapes_a_build_shapes_the_name(changes: Any, found: Pins) -> None:
    name = revision_name(content(edge_model(), TARGETS, pins()))
    assert revision_name(content(edge_model(**changes), TARGETS, found)) != name
    other = {"x86-64-avx2": edge_target(isa="X86Vnni")}
    assert revision_name(content(edge_model(), other, pins())) != name


def test_a_ready_revision_makes_the_model_ready_and_nothing_more_is_told() -> None:
    got = decide(edge_model(), revision(), resolved=pins())
    assert got.create is None
    assert reasons(got) == summary("Complete", "Ready", "Complete")
    assert (got.status.targets_accepted, got.status.ready_revision) == ("1/1", revision().metadata.name)
    model = again(edge_model(), got)
    assert decide(model, revision(), resolved=pins(), now=NOW + DEADLINE).status == got.status


def test_a_refused_revision_stalls_the_model_with_its_cause_and_the_old_one_serves_on() -> None:
    model = edge_model(status={"observedGeneration": 1, "readyRevision": "digits-old"})
    refused = revision(ready=False, reason="Underpowered", results=[result(verdict="Rejected")])
    got = decide(model, refused, resolved=pins())
    assert reasons(got) == summary("Underpowered", "Stalled")
    assert (got.status.ready_revision, got.status.targets_accepted) == ("digits-old", "0/1")


def test_other_content_under_a_known_version_is_refused() -> None:
    known = revision(found=pins("e"))
    model = edge_model(status={"observedGeneration": 1, "revision": known.metadata.name})
    got = decide(model, known, resolved=pins("a"))
    assert got.create is None
    assert reasons(got) == summary("VersionContentChanged", "Stalled")
    assert got.status.revision == known.metadata.name
    assert decide(edge_model(version="1.0.1"), known, resolved=pins("a")).create is not None


def test_a_missing_target_is_waited_for_and_then_stalls() -> None:
    model = edge_model()
    got = decide(model, targets={})
    assert reasons(got) == summary("TargetNotFound", "Reconciling")
    assert got.requeue_after == 60
    later = decide(again(model, got), targets={}, now=NOW + timedelta(seconds=590))
    assert (reasons(later)["Stalled"][0], later.requeue_after) == ("False", 10)
    late = decide(again(model, later), targets={}, now=NOW + DEADLINE)
    assert reasons(late) == summary("TargetNotFound", "Stalled")
    after = decide(again(model, late), targets={}, now=NOW + DEADLINE * 2)
    assert after.status == late.status


@pytest.mark.parametrize(
    ("error", "true"),
    [
        pytest.param(TransientError(Reason.SOURCE_NOT_READABLE, "x", remedy="y"), "Reconciling", id="yet"),
        pytest.param(TransientError(Reason.STORE_UNAVAILABLE, "x", remedy="y"), "Reconciling", id="store"),
        pytest.param(StalledError(Reason.SOURCE_NOT_READABLE, "x", remedy="y"), "Stalled", id="never"),
    ],
)
def test_addresses_that_can_not_be_resolved(error: EdgewrightError, true: str) -> None:
    got = decide(edge_model(), resolved=error)
    assert reasons(got) == summary(error.reason, true)
    assert got.requeue_after is not None


def test_addresses_are_resolved_once_per_generation() -> None:
    current = revision()
    settled = {"observedGeneration": 1, "revision": current.metadata.name}
    settled |= {"conditions": [condition("Ready", "True")]}
    seen = ModelSeen(edge_model(status=settled), TARGETS, (current,))
    assert known_pins(seen) == pins()
    # A new snapshot of the EdgeTarget is built from the same content ...
    moved = ModelSeen(edge_model(status=settled), {"x86-64-avx2": edge_target(isa="X86Vnni")}, (current,))
    assert known_pins(moved) == pins()
    # ... but a change of the model looks at the addresses again, and so does one that was refused.
    changed = edge_model(status=settled, meta={"generation": 2})
    assert known_pins(ModelSeen(changed, TARGETS, (current,))) is None
    refused = settled | {"conditions": [condition("Ready", "False", "VersionContentChanged")]}
    assert known_pins(ModelSeen(edge_model(status=refused), TARGETS, (current,))) is None
    assert known_pins(ModelSeen(edge_model(status=settled), TARGETS, ())) is None


def results(*changes: dict[str, Any]) -> list[TargetResult]:
    return [TargetResult.model_validate(result(f"t{i}") | c) for i, c in enumerate(changes)]


REJECTED = {"verdict": "Rejected", "reason": "Underpowered", "message": "need n ≥ 900"}


@pytest.mark.parametrize(
    ("verdicts", "ready", "reason"),
    [
        pytest.param(({}, {}), True, "Complete", id="all-accepted"),
        pytest.param(({}, REJECTED | {"required": False}), True, "Complete", id="an-optional-one-refused"),
        pytest.param(({}, REJECTED), False, "Underpowered", id="one-cause"),
        pytest.param((REJECTED, REJECTED), False, "Underpowered", id="twice-the-same-cause"),
        pytest.param(
            (REJECTED, REJECTED | {"reason": "PassFailed"}), False, "RequiredTargetRejected", id="two-causes"
        ),
        pytest.param((REJECTED | {"required": False},), False, "NoCandidate", id="nothing-to-ship"),
    ],
)
def test_required_targets_decide(verdicts: tuple[dict[str, Any], ...], ready: bool, reason: str) -> None:
    got = judge(results(*verdicts))
    assert (got.ready, got.stalled, got.reason) == (ready, not ready, reason)


def fresh() -> ModelRevision:
    parsed = revision()
    return parsed.model_copy(update={"status": type(parsed.status)(observed_generation=-1)})


def test_a_revision_tells_how_far_its_build_is_and_settles_once() -> None:
    progress = BuildProgress(passes_done=3, passes_total=9, current="calibrate")
    running = status_of(fresh(), BuildState(progress), NOW)
    ready = find(running.conditions, ConditionType.READY)
    assert ready is not None
    assert (ready.reason, ready.message) == ("Building", "3 of 9 passes done")

    published = Published(
        index_digest=None, interface=None, targets=tuple(results({})), passes_run=6, passes_cached=3
    )
    done = fresh().model_copy(update={"status": status_of(fresh(), BuildState(progress, published), NOW)})
    assert is_ready(done)
    assert is_settled(done)
    assert (done.status.passes_run, done.status.passes_cached) == (6, 3)


def test_a_failure_that_may_heal_does_not_settle_a_revision() -> None:
    for error, settled in (
        (TransientError(Reason.BUILDER_FAILED, "killed", remedy="again"), False),
        (StalledError(Reason.BUILDER_REPORT_INVALID, "lies", remedy="look"), True),
    ):
        status = status_of(fresh(), BuildState(BuildProgress(), failure=error), NOW)
        assert is_settled(fresh().model_copy(update={"status": status})) is settled
