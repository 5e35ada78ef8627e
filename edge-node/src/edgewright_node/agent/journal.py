"""What the agent remembers of one deployment, and of the node: versioned, replaced whole, one writer.

A record is written after each step, so at any instruction the disk says which step was in hand; steps are
idempotent, so doing it again is how the agent goes on. ``advance`` is pure; ``load`` and ``save`` are the
two effects.
"""

from pathlib import Path
from typing import Final, TypeVar

import msgspec

from edgewright_node import slots
from edgewright_node.agent.wire import Entry
from edgewright_node.reasons import Reason
from edgewright_node.states import Event, State, step

VERSION: Final = 1
DEPLOYMENT_FILE: Final = "deployment.json"
NODE_FILE: Final = "node.json"

MAX_REMEMBERED: Final = 64
"""How many refused and how many proven digests are kept, the newest."""

_NEW_WANT: Final = (Event.ASSIGNED, Event.RECALLED, Event.REFUSED)


class Verdict(msgspec.Struct, frozen=True, rename="camel"):
    """Why a digest failed here."""

    reason: str
    message: str


class Journal(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One deployment on this node."""

    version: int = VERSION
    state: State = State.IDLE
    entry: Entry | None = None
    """The order seen last: absence of a newer one changes nothing, a restart without network neither."""

    wanted: str | None = None
    """The manifest digest that is worked on, or was last."""

    running: str | None = None
    """The digest that servers confirmed last and that was not lost since."""

    proven: tuple[str, ...] = ()
    """Digests confirmed on this node, oldest first: a kept slot with one of them needs no trial."""

    poisoned: dict[str, Verdict] = {}
    """Digests whose bytes are no good, as a trial or a swap here showed; never tried again on this node."""

    strikes: dict[str, dict[str, int]] = {}
    """Per digest and reason: failures that its bytes may have caused, or chance."""

    reason: str = ""
    message: str = ""
    confirmed_at: str | None = None
    proven_by: str = ""
    attempt: int = 0
    """Numbers the trials of this deployment, so that an old answer is no answer."""

    interruptions: int = 0
    """How often the agent began anew while the wanted digest was on trial."""

    failures: int = 0
    """Failures in a row of the wanted digest that may pass by themselves; they stretch the pause."""

    retry: bool = False
    """FAILED is worth another try after the pause."""


class NodeJournal(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What holds for the whole node."""

    version: int = VERSION
    seen_serial: int = -1
    """The largest serial accepted; -1 before the first."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a step came to."""

    event: Event
    wanted: str | None = None
    reason: str = ""
    message: str = ""
    cause: str = ""
    """The reason that the digest is judged by, where it is not the one that status says."""

    strikes: int = 0
    running: str | None = None
    """The digest that the node went back to."""

    poison: bool = False
    retry: bool = False
    proven_by: str = ""
    proven_at: str | None = None


def advance(journal: Journal, outcome: Outcome) -> Journal:
    """Return the journal after ``outcome``.

    Raises:
        IllegalTransition: the event means nothing in this state; a bug of the planner.
    """
    state = step(journal.state, outcome.event)
    changed = msgspec.structs.replace(journal, state=state)
    if outcome.event in _NEW_WANT:
        changed = _want(changed, outcome.wanted)
    if outcome.strikes and changed.wanted is not None:
        changed = _strike(changed, outcome)
    if outcome.poison and changed.wanted is not None:
        changed = _poison(changed, outcome)
    if outcome.event is Event.RESTARTED:
        return _restart(changed)
    if state is State.REMOVED:  # the directory is gone, and with it what was remembered
        return Journal(state=state, entry=journal.entry)
    if state is State.TRIAL:
        changed = msgspec.structs.replace(changed, attempt=journal.attempt + 1, interruptions=0)
    if state is State.CONFIRMED:
        return _confirm(changed, outcome)
    if outcome.running is not None:
        changed = _return(changed, outcome)
    if journal.state is State.RETURNING:  # the reason was set on the way in and is the one that matters
        return changed
    if outcome.event in (Event.FAILED, Event.REFUSED):
        retry = outcome.retry and state in (State.FAILED, State.RETURNING)
        failures = journal.failures + 1 if retry else 0
        return msgspec.structs.replace(
            changed, reason=outcome.reason, message=outcome.message, retry=retry, failures=failures
        )
    return msgspec.structs.replace(changed, reason=outcome.reason, message=outcome.message)


def _want(journal: Journal, digest: str | None) -> Journal:
    if digest == journal.wanted:
        return journal
    return msgspec.structs.replace(journal, wanted=digest, failures=0, interruptions=0, retry=False)


def _strike(journal: Journal, outcome: Outcome) -> Journal:
    wanted, reason = journal.wanted, outcome.cause or outcome.reason
    assert wanted is not None
    kept = {digest: counts for digest, counts in journal.strikes.items() if digest != wanted}
    newest = list(kept.items())[-(MAX_REMEMBERED - 1) :]
    counts = journal.strikes.get(wanted, {})
    counted = {**counts, reason: counts.get(reason, 0) + outcome.strikes}
    return msgspec.structs.replace(journal, strikes={**dict(newest), wanted: counted})


def _poison(journal: Journal, outcome: Outcome) -> Journal:
    wanted = journal.wanted
    assert wanted is not None
    kept = {digest: verdict for digest, verdict in journal.poisoned.items() if digest != wanted}
    newest = list(kept.items())[-(MAX_REMEMBERED - 1) :]
    verdict = Verdict(outcome.cause or outcome.reason, outcome.message)
    proven = tuple(digest for digest in journal.proven if digest != wanted)
    return msgspec.structs.replace(journal, poisoned={**dict(newest), wanted: verdict}, proven=proven)


def _restart(journal: Journal) -> Journal:
    if journal.state is not State.TRIAL:
        return journal
    return msgspec.structs.replace(journal, interruptions=journal.interruptions + 1)


def _return(journal: Journal, outcome: Outcome) -> Journal:
    if journal.running == outcome.running:
        return journal
    return msgspec.structs.replace(
        journal,
        running=outcome.running,
        confirmed_at=outcome.proven_at,
        proven_by=outcome.proven_by,
    )


def _confirm(journal: Journal, outcome: Outcome) -> Journal:
    wanted = journal.wanted
    assert wanted is not None
    proven = (*(digest for digest in journal.proven if digest != wanted), wanted)[-MAX_REMEMBERED:]
    return msgspec.structs.replace(
        journal,
        running=wanted,
        proven=proven,
        poisoned={digest: verdict for digest, verdict in journal.poisoned.items() if digest != wanted},
        strikes={digest: counts for digest, counts in journal.strikes.items() if digest != wanted},
        reason=outcome.reason or Reason.COMPLETE.value,
        message=outcome.message,
        confirmed_at=outcome.proven_at,
        proven_by=outcome.proven_by,
        failures=0,
        interruptions=0,
        retry=False,
    )


_Record = TypeVar("_Record", Journal, NodeJournal)


def load(path: Path, kind: type[_Record]) -> _Record | None:
    """Read a record; ``None`` when there is none or it cannot be used, which costs knowledge, not models.

    A record of a newer version is not guessed at either: the agent then rebuilds what it can from the
    slots, which it verifies again.
    """
    try:
        record = msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return record if record.version == VERSION else None


def save(path: Path, record: Journal | NodeJournal) -> None:
    """Replace a record: write, sync, rename, sync the directory.

    Raises:
        OSError: the disk refused; the old record stands.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    slots.write_atomically(path, msgspec.json.encode(record))


def deployment_path(where: slots.Deployment) -> Path:
    """Return where a deployment's journal lies."""
    return where.path / slots.JOURNAL_DIRECTORY / DEPLOYMENT_FILE


def node_path(root: Path) -> Path:
    """Return where the node's journal lies."""
    return root / slots.JOURNAL_DIRECTORY / NODE_FILE
