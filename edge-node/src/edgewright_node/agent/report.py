"""What status says, from what is known. PURE: equal facts give equal status, so nothing is written twice."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from edgewright_node.agent.journal import Journal
from edgewright_node.agent.situation import Will
from edgewright_node.agent.wire import (
    AssignmentStatus,
    Condition,
    Entry,
    EntryStatus,
    NodeAssignment,
    ReportedState,
)
from edgewright_node.reasons import Reason
from edgewright_node.states import State

MAX_MESSAGE: Final = 1024
MAX_ENTRIES: Final = 64
READY: Final = "Ready"
_FOUR: Final = (READY, "Complete", "Reconciling", "Stalled")

_REPORTED: Final = {
    State.IDLE: ReportedState.FETCHING,
    State.FETCHING: ReportedState.FETCHING,
    State.VERIFYING: ReportedState.VERIFYING,
    State.TRIAL: ReportedState.TRIAL,
    State.RECALLING: ReportedState.VERIFYING,
    State.SWAPPING: ReportedState.SWAPPING,
    State.RETURNING: ReportedState.SWAPPING,
    State.CONFIRMED: ReportedState.CONFIRMED,
    State.FAILED: ReportedState.FAILED,
    State.REMOVING: ReportedState.SWAPPING,
    State.REMOVED: ReportedState.REMOVED,
}
_RESTING: Final = (State.IDLE, State.CONFIRMED, State.FAILED)
_ENDS: Final = (ReportedState.CONFIRMED, ReportedState.FAILED, ReportedState.REMOVED, ReportedState.ORPHANED)


@dataclass(frozen=True, slots=True)
class Progress:
    """How a transfer goes; an empty reason means that it moves."""

    reason: str = ""
    message: str = ""
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One deployment as its worker sees it."""

    entry: Entry
    journal: Journal
    previous: str | None = None
    progress: Progress = field(default_factory=Progress)
    orphaned: bool = False


def will_of(entry: Entry) -> Will:
    """Return what an entry wants; a word that this agent does not know begins nothing."""
    return Will(entry.state) if entry.state in list(Will) else Will.HOLD


def entry_status(seen: Snapshot) -> EntryStatus:
    """Return what is said of one deployment."""
    journal, entry = seen.journal, seen.entry
    state, reason, message = _REPORTED[journal.state], journal.reason, journal.message
    if journal.state in _RESTING and entry.manifest_digest != journal.wanted:
        # The state is about another digest than the wanted one.
        running = entry.manifest_digest == journal.running
        state = ReportedState.CONFIRMED if running else ReportedState.FETCHING
        reason, message = "", ""
    if will_of(entry) is Will.HOLD and journal.state in _RESTING:
        reason = Reason.HELD if entry.state in list(Will) else Reason.AGENT_TOO_OLD
    if seen.progress.reason and journal.state not in _RESTING:
        reason, message = seen.progress.reason, seen.progress.message
    if seen.orphaned and state is not ReportedState.REMOVED:
        state, reason = ReportedState.ORPHANED, Reason.ORPHANED
        message = "the assignment no longer names this deployment; it serves on"
    return EntryStatus(
        deployment=entry.deployment,
        state=state,
        served_name=entry.served_name,
        wanted_digest=entry.manifest_digest,
        running_digest=None if journal.state is State.REMOVED else journal.running,
        previous_digest=seen.previous,
        revision=entry.revision,
        version=entry.version,
        reason=str(reason)[:64],
        message=message[:MAX_MESSAGE],
        downloaded_bytes=seen.progress.done,
        total_bytes=seen.progress.total,
        confirmed_at=journal.confirmed_at if journal.running else None,
        proven_by=journal.proven_by if journal.running else "",
    )


def too_old_status(entry: Entry, seen: Snapshot | None, lacking: Sequence[str]) -> EntryStatus:
    """Return what is said of an entry that this agent must not act on: what runs, runs on."""
    message = f"this agent lacks: {', '.join(lacking)}. Update it; what runs is kept"
    known = entry_status(seen) if seen else None
    confirmed = seen is not None and seen.journal.running == entry.manifest_digest
    return EntryStatus(
        deployment=entry.deployment,
        state=ReportedState.CONFIRMED if confirmed else ReportedState.FAILED,
        served_name=entry.served_name,
        wanted_digest=entry.manifest_digest,
        running_digest=known.running_digest if known else None,
        previous_digest=known.previous_digest if known else None,
        revision=entry.revision,
        version=entry.version,
        reason=Reason.AGENT_TOO_OLD,
        message=message[:MAX_MESSAGE],
        confirmed_at=known.confirmed_at if known else None,
        proven_by=known.proven_by if known else "",
    )


def summary(entries: Sequence[EntryStatus], ignored: Reason | None) -> tuple[tuple[bool, ...], str, str]:
    """Return the four conditions in order, their reason and their message."""
    failed = [e for e in entries if e.state is ReportedState.FAILED]
    moving = [e for e in entries if e.state not in _ENDS and e.reason != Reason.HELD]
    waiting = [e for e in entries if e.reason in (Reason.HELD, Reason.ORPHANED)]
    if ignored is not None:
        return (False, False, False, True), ignored, "the assignment is not acted on; what runs is kept"
    if failed:
        names = ", ".join(f"{e.deployment.namespace}/{e.deployment.name}" for e in failed[:10])
        return (False, False, False, True), failed[0].reason, f"{names}: {failed[0].message}"
    if moving:
        return (
            (False, False, True, False),
            Reason.UPDATING,
            f"{len(moving)} of {len(entries)} are on their way",
        )
    if waiting:
        return (True, False, False, False), waiting[0].reason, f"{len(waiting)} of {len(entries)} wait"
    return (True, True, False, False), Reason.COMPLETE, f"{len(entries)} confirmed or removed"


def conditions(
    old: Iterable[Condition], four: tuple[bool, ...], reason: str, message: str, *, generation: int, now: str
) -> tuple[Condition, ...]:
    """Return ``old`` with the agent's four conditions set; others stay, times move with the status only."""
    before = {c.type: c for c in old}
    for kind, true in zip(_FOUR, four, strict=True):
        status = "True" if true else "False"
        was = before.get(kind)
        before[kind] = Condition(
            type=kind,
            status=status,
            observed_generation=generation,
            last_transition_time=was.last_transition_time if was and was.status == status else now,
            reason=reason,
            message=message[:MAX_MESSAGE],
        )
    return tuple(before.values())


def assignment_status(
    seen: NodeAssignment,
    entries: Sequence[EntryStatus],
    *,
    seen_serial: int,
    ignored: Reason | None,
    now: str,
) -> AssignmentStatus:
    """Return the whole status of this node's assignment."""
    listed = sorted(entries, key=lambda e: (e.deployment.namespace, e.deployment.name))[:MAX_ENTRIES]
    four, reason, message = summary(listed, ignored)
    generation = seen.metadata.generation
    return AssignmentStatus(
        observed_generation=generation,
        seen_serial=max(seen_serial, 0),
        conditions=conditions(seen.status.conditions, four, reason, message, generation=generation, now=now),
        assignments=tuple(listed),
    )


def only_progress(new: AssignmentStatus, old: AssignmentStatus) -> bool:
    """Tell whether nothing but byte counts differs."""
    return _still(new) == _still(old)


def _still(status: AssignmentStatus) -> AssignmentStatus:
    still = tuple(replace(e, downloaded_bytes=0, total_bytes=0) for e in status.assignments)
    return replace(status, assignments=still)


def has_ended(new: AssignmentStatus, old: AssignmentStatus) -> bool:
    """Tell whether an entry came to an end: that is news worth a write at once."""
    before = {(e.deployment, e.wanted_digest): e.state for e in old.assignments}
    return any(
        e.state in _ENDS and before.get((e.deployment, e.wanted_digest)) is not e.state
        for e in new.assignments
    )
