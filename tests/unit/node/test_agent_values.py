"""The agent's other decisions: manifests, journals, status, inventory, labels, settings."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright_node.agent import assignments, inventory, metrics, node, report, trial, verify
from edgewright_node.agent.errors import Refused, RetryLater
from edgewright_node.agent.journal import MAX_REMEMBERED, Journal, Outcome, Verdict, advance
from edgewright_node.agent.report import Progress, Snapshot
from edgewright_node.agent.settings import SettingsError, from_env
from edgewright_node.agent.wire import (
    AssignmentSpec,
    AssignmentStatus,
    Condition,
    EdgeNode,
    Inventory,
    Metadata,
    NodeAssignment,
    NodeStatus,
    ReportedState,
    Runtime,
)
from edgewright_node.reasons import Reason
from edgewright_node.states import Event, State
from support.agent_builders import A, B, C, make_entry

NOW = "2026-11-25T12:00:00Z"
LATER = "2026-11-25T13:00:00Z"


def descriptor(media_type: str, digest: str = A, size: int = 3, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size, **more}


def manifest(**changes: Any) -> bytes:
    weight, golden = tuple(verify.LAYER_FILES)[:2]
    body = {
        "schemaVersion": 2,
        "artifactType": verify.ARTIFACT_TYPE,
        "config": descriptor(verify.CONFIG_TYPE),
        "layers": [descriptor(weight, B, 10), descriptor(golden, C)],
        "annotations": {"unknown": "ignored"},
    }
    return json.dumps(body | changes).encode()


def test_a_manifest_names_its_files() -> None:
    content = manifest()
    pieces = verify.pieces_of(content, digest=verify.digest_of(content))
    assert [(p.file, p.digest, p.size) for p in pieces] == [
        ("config.json", A, 3),
        ("model.onnx", B, 10),
        ("golden.npz", C, 3),
    ]


def test_nothing_is_parsed_before_its_digest_is_checked() -> None:
    with pytest.raises(RetryLater, match="arrived as") as caught:
        verify.pieces_of(b"{not json", digest=A)
    assert caught.value.reason is Reason.DIGEST_MISMATCH


WEIGHT, GOLDEN = tuple(verify.LAYER_FILES)[:2]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"{not json", id="no-json"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(manifest(artifactType="application/x"), id="another-type"),
        pytest.param(manifest(schemaVersion=1), id="another-schema"),
        pytest.param(manifest(layers=[descriptor(WEIGHT)]), id="no-golden-vectors"),
        pytest.param(
            manifest(layers=[descriptor(WEIGHT), descriptor(GOLDEN), descriptor(GOLDEN)]), id="twice"
        ),
        pytest.param(manifest(layers=[descriptor("text/plain")]), id="unknown-layer"),
        pytest.param(
            manifest(layers=[descriptor(WEIGHT, "sha256:../../x"), descriptor(GOLDEN)]), id="digest"
        ),
        pytest.param(manifest(layers=[descriptor(WEIGHT, size=-1), descriptor(GOLDEN)]), id="negative"),
        pytest.param(manifest(layers=[descriptor(WEIGHT, size=1 << 60), descriptor(GOLDEN)]), id="huge"),
        pytest.param(
            manifest(
                layers=[
                    descriptor(WEIGHT, annotations={verify.PATH_ANNOTATION: "../../etc/passwd"}),
                    descriptor(GOLDEN),
                ]
            ),
            id="a-path",
        ),
    ],
)
def test_a_manifest_that_is_not_ours_is_refused(content: bytes) -> None:
    with pytest.raises(Refused) as caught:
        verify.pieces_of(content, digest=verify.digest_of(content))
    assert caught.value.reason is Reason.MANIFEST_INVALID


@given(st.binary(max_size=200))
def test_hostile_bytes_are_refused_and_nothing_else(content: bytes) -> None:
    with pytest.raises(Refused):
        verify.pieces_of(content, digest=verify.digest_of(content))


def test_space_is_refused_with_numbers() -> None:
    verify.check_space(needed=50, free=100, reserve=50)
    verify.check_space(needed=0, free=0, reserve=50)
    with pytest.raises(
        RetryLater, match="needs 60 bytes and a reserve of 50, 100 are free: 10 bytes too few"
    ):
        verify.check_space(needed=60, free=100, reserve=50)


# Journal


def test_failures_in_a_row_are_counted_per_digest() -> None:
    journal = Journal(state=State.FETCHING, wanted=A)
    lost = Outcome(event=Event.FAILED, reason="DigestMismatch", retry=True)
    again = Outcome(event=Event.ASSIGNED, wanted=A)
    for count in (1, 2, 3):
        journal = advance(journal, lost)
        assert (journal.failures, journal.retry) == (count, True)
        journal = advance(journal, again)
    assert advance(journal, Outcome(event=Event.ASSIGNED, wanted=B)).failures == 0


def test_what_is_remembered_is_bounded() -> None:
    journal = Journal(poisoned={f"old-{n}": Verdict("R", "") for n in range(MAX_REMEMBERED)})
    journal = advance(journal, Outcome(event=Event.ASSIGNED, wanted=A))
    journal = advance(journal, Outcome(event=Event.FAILED, reason="ManifestInvalid", poison=True))
    assert len(journal.poisoned) == MAX_REMEMBERED
    assert A in journal.poisoned
    assert "old-0" not in journal.poisoned


def test_removal_forgets() -> None:
    journal = Journal(state=State.REMOVING, wanted=A, running=A, proven=(A,), entry=make_entry())
    assert advance(journal, Outcome(event=Event.OK)) == Journal(state=State.REMOVED, entry=make_entry())


# Status

CONFIRMED = Journal(state=State.CONFIRMED, wanted=A, running=A, confirmed_at=NOW, proven_by="golden")


@pytest.mark.parametrize(
    ("journal", "changes", "state", "reason"),
    [
        pytest.param(CONFIRMED, {}, ReportedState.CONFIRMED, "", id="confirmed"),
        pytest.param(
            CONFIRMED, {"manifest_digest": B}, ReportedState.FETCHING, "", id="about-another-digest"
        ),
        pytest.param(
            CONFIRMED, {"manifest_digest": B, "state": "Hold"}, ReportedState.FETCHING, "Held", id="held"
        ),
        pytest.param(CONFIRMED, {"state": "Hold"}, ReportedState.CONFIRMED, "Held", id="held-where-it-is"),
        pytest.param(CONFIRMED, {"state": "Melt"}, ReportedState.CONFIRMED, "AgentTooOld", id="newer-word"),
        pytest.param(
            Journal(state=State.FAILED, wanted=B, running=A, reason="GoldenSourceMismatch"),
            {"manifest_digest": B},
            ReportedState.FAILED,
            "GoldenSourceMismatch",
            id="failed",
        ),
        pytest.param(
            Journal(state=State.IDLE, wanted=B, running=A, reason="Held"),
            {},
            ReportedState.CONFIRMED,
            "",
            id="back-to-what-runs",
        ),
    ],
)
def test_entry(journal: Journal, changes: dict[str, Any], state: ReportedState, reason: str) -> None:
    got = report.entry_status(Snapshot(make_entry(**changes), journal))
    assert (got.state, got.reason) == (state, reason)
    assert got.running_digest == A


def test_a_transfer_that_stands_still_says_why() -> None:
    journal = Journal(state=State.FETCHING, wanted=A)
    waiting = Progress("GatewayBusy", "the fleet's cap is used up", 10, 100)
    got = report.entry_status(Snapshot(make_entry(), journal, progress=waiting))
    assert (got.reason, got.downloaded_bytes, got.total_bytes) == ("GatewayBusy", 10, 100)


def test_an_orphan_serves_on_and_says_so() -> None:
    got = report.entry_status(Snapshot(make_entry(), CONFIRMED, orphaned=True))
    assert (got.state, got.running_digest) == (ReportedState.ORPHANED, A)


def test_an_agent_that_is_too_old_keeps_what_runs() -> None:
    same = report.too_old_status(make_entry(), Snapshot(make_entry(), CONFIRMED), ("Teleport",))
    assert (same.state, same.reason) == (ReportedState.CONFIRMED, "AgentTooOld")
    other = report.too_old_status(
        make_entry(manifest_digest=B), Snapshot(make_entry(), CONFIRMED), ("Teleport",)
    )
    assert (other.state, other.running_digest, other.wanted_digest) == (ReportedState.FAILED, A, B)
    assert "Teleport" in other.message
    assert report.too_old_status(make_entry(), None, ("Teleport",)).state is ReportedState.FAILED


def seen(**changes: Any) -> NodeAssignment:
    return NodeAssignment(metadata=Metadata(name="n", generation=3), **changes)


def test_equal_facts_give_equal_status() -> None:
    entries = [report.entry_status(Snapshot(make_entry(), CONFIRMED))]
    first = report.assignment_status(seen(), entries, seen_serial=7, ignored=None, now=NOW)
    again = report.assignment_status(seen(status=first), entries, seen_serial=7, ignored=None, now=LATER)
    assert again == first
    assert {c.type: (c.status, c.last_transition_time) for c in first.conditions} == {
        "Ready": ("True", NOW),
        "Complete": ("True", NOW),
        "Reconciling": ("False", NOW),
        "Stalled": ("False", NOW),
    }


@pytest.mark.parametrize(
    ("journals", "ignored", "four", "reason"),
    [
        pytest.param([], None, (True, True, False, False), "Complete", id="nothing-to-run"),
        pytest.param([CONFIRMED], None, (True, True, False, False), "Complete", id="confirmed"),
        pytest.param(
            [CONFIRMED, Journal(state=State.TRIAL, wanted=A)],
            None,
            (False, False, True, False),
            "Updating",
            id="one-on-its-way",
        ),
        pytest.param(
            [Journal(state=State.FAILED, wanted=A, reason="InsufficientDisk")],
            None,
            (False, False, False, True),
            "InsufficientDisk",
            id="failed",
        ),
        pytest.param(
            [CONFIRMED], Reason.SERIAL_BEHIND, (False, False, False, True), "SerialBehind", id="ignored"
        ),
    ],
)
def test_summary(
    journals: list[Journal], ignored: Reason | None, four: tuple[bool, ...], reason: str
) -> None:
    entries = [report.entry_status(Snapshot(make_entry(), j)) for j in journals]
    assert report.summary(entries, ignored)[:2] == (four, reason)


def test_what_is_worth_a_write() -> None:
    moving = report.entry_status(Snapshot(make_entry(), Journal(state=State.FETCHING, wanted=A)))
    further = report.entry_status(
        Snapshot(make_entry(), Journal(state=State.FETCHING, wanted=A), progress=Progress("", "", 5, 9))
    )
    done = report.entry_status(Snapshot(make_entry(), CONFIRMED))
    a, b, c = (AssignmentStatus(assignments=(e,)) for e in (moving, further, done))
    assert report.only_progress(b, a)
    assert not report.only_progress(c, a)
    assert report.has_ended(c, a)
    assert not report.has_ended(b, a)
    assert not report.has_ended(c, c)


def test_of_two_deployments_of_one_name_the_living_one_counts() -> None:
    gone = make_entry(state="Remove")
    living = make_entry(manifest_digest=B)
    for order in ((gone, living), (living, gone)):
        assert assignments.select(AssignmentSpec(assignments=order)) == {("vision", "digits"): living}


# The node

CPUINFO = """processor\t: 0
model name\t: Some CPU @ 2.00GHz
flags\t\t: fpu avx2 avx512_vnni sse4_1 avx512f

processor\t: 1
model name\t: Some CPU @ 2.00GHz
flags\t\t: fpu avx2 sse4_1 avx512f
"""


def test_only_what_every_core_has_is_a_feature() -> None:
    assert inventory.parse_cpuinfo(CPUINFO) == ("Some CPU @ 2.00GHz", ("sse4_1", "avx2", "avx512f"))
    assert inventory.parse_cpuinfo("") == ("", ())


def test_labels_stay_under_their_prefix_and_stale_ones_go() -> None:
    found = Inventory(
        architecture="amd64", cpu_features=("avx512_vnni",), runtimes=(Runtime(name="ort", version="1.2"),)
    )
    wanted = inventory.labels(found)
    prefix = "inventory.edgewright.dev/"
    assert wanted == {
        f"{prefix}architecture": "amd64",
        f"{prefix}cpu-avx512-vnni": "true",
        f"{prefix}runtime-ort": "1.2",
    }
    old = {f"{prefix}architecture": "amd64", f"{prefix}cpu-avx2": "true", "site": "x"}
    assert node.label_changes(old, wanted) == {
        f"{prefix}cpu-avx2": None,
        f"{prefix}cpu-avx512-vnni": "true",
        f"{prefix}runtime-ort": "1.2",
    }
    assert node.label_changes(dict(wanted), wanted) == {}


def test_the_operators_condition_is_kept() -> None:
    reachable = Condition(type="Reachable", status="True", last_transition_time=NOW, reason="NodeHeard")
    body = EdgeNode(metadata=Metadata(name="n", generation=2), status=NodeStatus(conditions=(reachable,)))
    status = node.node_status(body, Inventory(cores=2), version="0.1.0", now=NOW)
    assert status.conditions[0] == reachable
    assert {c.type for c in status.conditions} == {"Reachable", "Ready", "Complete", "Reconciling", "Stalled"}
    same = EdgeNode(metadata=body.metadata, status=status)
    assert node.node_status(same, Inventory(cores=2), version="0.1.0", now=LATER) == status


# Settings and metrics

ENV = {
    "EDGEWRIGHT_AGENT_NODE_NAME": "n1",
    "EDGEWRIGHT_AGENT_ROOT": "/srv/edgewright",
    "EDGEWRIGHT_AGENT_API_SERVER": "https://api:6443",
    "EDGEWRIGHT_AGENT_API_TOKEN": "/token",
    "EDGEWRIGHT_AGENT_GATEWAY": "https://gateway",
    "EDGEWRIGHT_AGENT_GATEWAY_TOKEN": "/token",
    "EDGEWRIGHT_SERVER_ROOT": "not ours",
}


def test_settings() -> None:
    got = from_env(ENV | {"EDGEWRIGHT_AGENT_RESERVE_BYTES": "5", "EDGEWRIGHT_AGENT_API_CA": ""})
    assert (got.node_name, got.reserve_bytes, got.api_ca, got.trial_seconds) == ("n1", 5, None, 120.0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"EDGEWRIGHT_AGENT_NODENAME": "x"}, "unknown: EDGEWRIGHT_AGENT_NODENAME"),
        ({"EDGEWRIGHT_AGENT_NODE_NAME": ""}, "missing: EDGEWRIGHT_AGENT_NODE_NAME"),
        ({"EDGEWRIGHT_AGENT_TRIAL_SECONDS": "soon"}, "EDGEWRIGHT_AGENT_TRIAL_SECONDS: 'soon'"),
    ],
)
def test_settings_that_cannot_be_meant(changes: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        from_env(ENV | changes)


def test_metrics_have_help_and_units() -> None:
    text = metrics.render(metrics.Counters(downloaded_bytes=7), {"Confirmed": 2}, "0.1.0")
    assert "edgewright_agent_downloaded_bytes_total 7\n" in text
    assert 'edgewright_agent_deployments{state="Confirmed"} 2\n' in text
    assert text.count("# HELP") == text.count("# TYPE") == 7


@pytest.mark.parametrize(
    ("status", "out", "passed", "reason"),
    [
        (0, b'{"state":"Passed","maxAbsError":0.0}\n', True, ""),
        (1, b'{"state":"Failed","reason":"GoldenSourceMismatch"}\n', False, "GoldenSourceMismatch"),
        (3, b'{"state":"Passed"}', False, "TrialCrashed"),
        (-9, b"", False, "TrialCrashed"),
        (1, b"Traceback", False, "TrialUnavailable"),
    ],
)
def test_the_one_shot_test_is_not_trusted_by_its_exit_status(
    status: int, out: bytes, passed: bool, reason: str
) -> None:
    got = trial.judge(status, out, b"", NOW)
    assert (got.passed, got.reason) == (passed, reason)
