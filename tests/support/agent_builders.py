"""Entries, journals, reports and kits with defaults: a test says only what it is about."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from msgspec.structs import replace

from edgewright_node import slots
from edgewright_node.agent.gateway import Gateway
from edgewright_node.agent.journal import Journal
from edgewright_node.agent.situation import Disk, Limits, Order, Situation, Will
from edgewright_node.agent.wire import DeploymentRef, Entry
from edgewright_node.agent.worker import Kit

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
A, B, C = (f"sha256:{letter * 64}" for letter in "abc")


def make_entry(**changes: Any) -> Entry:
    entry = Entry(
        deployment=DeploymentRef(namespace="vision", name="digits", uid="u1"),
        served_name="digits",
        revision="digits-0123456789",
        version="1.0.0",
        manifest_digest=A,
        state="Run",
    )
    return replace(entry, **changes)


def make_order(digest: str = A, will: Will = Will.RUN, served_name: str = "digits") -> Order:
    return Order(will, digest, served_name)


def make_want(**changes: Any) -> slots.Want:
    return replace(slots.Want(served_name="digits"), **changes)


def make_ref(slot: slots.SlotName = "slot-a", digest: str = A) -> slots.SlotRef:
    return slots.SlotRef(slot=slot, manifest_digest=digest)


def make_report(server_id: str = "s1", **changes: Any) -> slots.ServerReport:
    report = slots.ServerReport(server_id=server_id, pid=1, written_at=NOW, served_name="digits")
    return replace(report, **changes)


def serving_report(digest: str = A, server_id: str = "s1", **changes: Any) -> slots.ServerReport:
    active = slots.ActiveReport(
        manifest_digest=digest, state=slots.ActiveState.SERVING, proven_by="golden", proven_at=NOW
    )
    return make_report(server_id, active=active, **changes)


def failing_report(
    digest: str = A, server_id: str = "s1", reason: str = "GoldenSourceMismatch"
) -> slots.ServerReport:
    active = slots.ActiveReport(
        manifest_digest=digest, state=slots.ActiveState.FAILED, reason=reason, message="off"
    )
    return make_report(server_id, active=active)


def make_disk(
    complete: dict[slots.SlotName, str] | None = None,
    active: slots.SlotName | None = None,
    want: slots.Want | None = None,
    *,
    present: bool = True,
) -> Disk:
    return Disk(present, complete or {}, active, want)


def make_situation(**changes: Any) -> Situation:
    values: dict[str, Any] = {
        "order": make_order(),
        "journal": Journal(),
        "disk": make_disk(),
        "servers": (),
        "elapsed": 0.0,
        "limits": Limits(),
        **changes,
    }
    return Situation(**values)


def make_gateway(session: aiohttp.ClientSession, url: str, token: str = "node-token") -> Gateway:
    return Gateway(
        session=session,
        url=url,
        token=lambda: token,
        tls=lambda: None,
        store_tls=lambda: None,
        jitter=lambda: 0.0,
    )


def make_kit(
    root: Path, gateway: Gateway, clock: Callable[[], float], now: Callable[[], datetime], **changes: Any
) -> Kit:
    values: dict[str, Any] = {
        "root": root,
        "gateway": gateway,
        "now": now,
        "monotonic": clock,
        "changed": lambda: None,
        "trial_command": ("false",),
        "limits": Limits(trial_seconds=20, confirm_seconds=20),
        "reserve": 0,
        **changes,
    }
    return Kit(**values)
