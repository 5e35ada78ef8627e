"""The contract between agent and servers, as far as it needs no disk; test_slot_files has the rest."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright_node import slots

NOW = datetime(2026, 11, 1, tzinfo=UTC)
DIGEST = "sha256:" + "ab" * 32


def test_want_is_written_as_the_contract_says() -> None:
    trial = slots.TrialRef(slot="slot-b", manifest_digest=DIGEST, attempt="7", deadline=NOW)
    active = slots.SlotRef(slot="slot-a", manifest_digest=DIGEST)
    want = slots.Want(served_name="digits", active=active, trial=trial)
    assert msgspec.to_builtins(want) == {
        "version": 1,
        "servedName": "digits",
        "active": {"slot": "slot-a", "manifestDigest": DIGEST},
        "trial": {
            "slot": "slot-b",
            "manifestDigest": DIGEST,
            "attempt": "7",
            "deadline": "2026-11-01T00:00:00Z",
        },
        "state": "Run",
    }


@pytest.mark.parametrize(
    ("namespace", "name"),
    [("", "a"), ("a.b", "c"), ("a", ""), ("a", ".."), ("..", "a"), ("a", "b/c"), ("A", "b"), ("a", "b..c")],
)
def test_names_that_kubernetes_refuses_are_refused(namespace: str, name: str) -> None:
    with pytest.raises(ValueError, match="DNS"):
        slots.deployment(Path("/node"), namespace, name)


@given(
    st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True),
    st.from_regex(r"[a-z0-9]{1,9}(\.[a-z0-9]{1,9})?", fullmatch=True),
)
def test_a_directory_names_one_deployment(namespace: str, name: str) -> None:
    where = slots.deployment(Path("/node"), namespace, name)
    assert where.path.parent == Path("/node/deployments")
    assert where.path.name.partition(".")[::2] == (namespace, name)


@pytest.mark.parametrize(
    ("age", "fresh"), [(0, True), (29, True), (30, False), (-29, True), (-31, False), (86_400, False)]
)
def test_freshness(age: int, fresh: bool) -> None:
    report = slots.ServerReport(
        server_id="s", pid=1, written_at=NOW - timedelta(seconds=age), served_name="digits"
    )
    assert slots.is_fresh(report, now=NOW) is fresh


def test_slots_take_turns() -> None:
    assert [slots.other_slot(s) for s in (None, "slot-a", "slot-b")] == ["slot-a", "slot-b", "slot-a"]
