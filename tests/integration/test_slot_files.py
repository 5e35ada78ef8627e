"""The contract's files on a real disk: whole or absent, never half; nothing that is written here raises there."""

import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgewright_node import slots

DIGEST = "sha256:" + "0" * 64
REPORT = slots.ServerReport(
    server_id="server-0", pid=1, written_at=datetime(2026, 11, 1, tzinfo=UTC), served_name="digits"
)


@pytest.fixture
def where(tmp_path: Path) -> slots.Deployment:
    found = slots.deployment(tmp_path, "vision", "digits")
    slots.create(found)
    return found


def test_what_is_written_is_read(where: slots.Deployment) -> None:
    want = slots.Want(served_name="digits", active=slots.SlotRef(slot="slot-a", manifest_digest=DIGEST))
    slots.write_want(where, want)
    slots.write_server_report(where, REPORT)
    assert slots.read_want(where) == want
    assert slots.read_server_reports(where) == {"server-0": REPORT}
    slots.remove_server_report(where, "server-0")
    assert slots.read_server_reports(where) == {}


def test_nothing_is_no_error(tmp_path: Path) -> None:
    where = slots.deployment(tmp_path, "vision", "digits")
    assert slots.deployments(tmp_path) == ()
    assert slots.read_want(where) is None
    assert slots.read_server_reports(where) == {}
    assert slots.active_slot(where) is None
    assert not slots.is_complete(where.slot("slot-a"))
    slots.remove_server_report(where, "server-0")


def test_unknown_fields_are_ignored_and_unknown_versions_are_not(where: slots.Deployment) -> None:
    path = where.path / slots.WANT_FILE
    path.write_bytes(msgspec.json.encode({"version": 1, "servedName": "digits", "later": {"a": 1}}))
    assert slots.read_want(where) == slots.Want(served_name="digits")
    path.write_bytes(msgspec.json.encode({"version": 2, "servedName": "digits"}))
    found = slots.read_want(where)
    assert isinstance(found, slots.Malformed)
    assert "version 2" in found.message


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.binary(max_size=60) | st.text(max_size=30).map(str.encode) | st.just(b"[" * 100_000))
def test_no_content_makes_a_reader_raise(where: slots.Deployment, content: bytes) -> None:
    (where.path / slots.WANT_FILE).write_bytes(content)
    (where.path / slots.SERVERS_DIRECTORY / "server-1.json").write_bytes(content)
    assert isinstance(slots.read_want(where), slots.Malformed | slots.Want)
    slots.read_server_reports(where)


def test_oversized_and_unreadable_files_are_malformed(where: slots.Deployment) -> None:
    path = where.path / slots.WANT_FILE
    path.write_bytes(b" " * (slots.MAX_BYTES + 1))
    assert isinstance(slots.read_want(where), slots.Malformed)
    path.unlink()
    path.mkdir()
    assert isinstance(slots.read_want(where), slots.Malformed)


def test_a_slot_is_whole_only_when_sealed(where: slots.Deployment) -> None:
    slot = where.slot("slot-b")
    slots.clear_slot(slot)
    (slot / slots.MODEL_FILE).write_bytes(b"model")
    assert not slots.is_complete(slot)
    slots.mark_complete(slot)
    assert slots.is_complete(slot)
    slots.clear_slot(slot)
    assert list(slot.iterdir()) == []


def test_the_link_is_replaced_never_missing(where: slots.Deployment) -> None:
    for slot in ("slot-a", "slot-b", "slot-a"):
        slots.activate(where, slot)
        assert slots.active_slot(where) == slot
    with pytest.raises(ValueError, match="slot"):
        slots.activate(where, "../elsewhere")
    (where.path / slots.ACTIVE_LINK).unlink()
    (where.path / slots.ACTIVE_LINK).symlink_to("/etc")
    assert slots.active_slot(where) is None


def test_litter_of_a_crash_is_passed_over(where: slots.Deployment) -> None:
    (where.path / f".{slots.WANT_FILE}.tmp").write_bytes(b"{")
    (where.path / slots.SERVERS_DIRECTORY / ".server-0.json.tmp").write_bytes(b"{")
    (where.path.parent / "no_deployment").mkdir()
    (where.path.parent / "file.txt").write_bytes(b"")
    slots.write_want(where, slots.Want(served_name="digits"))
    assert slots.deployments(where.path.parent.parent) == (where,)
    assert slots.read_server_reports(where) == {}
    assert not os.path.lexists(where.path / f".{slots.WANT_FILE}.tmp")


def test_a_server_cannot_write_outside_its_directory(where: slots.Deployment) -> None:
    with pytest.raises(ValueError, match="id"):
        slots.write_server_report(where, msgspec.structs.replace(REPORT, server_id="../want"))
