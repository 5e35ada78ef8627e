"""What a changed order asks for, before the step of the state in hand. PURE."""

from typing import Final

from edgewright_node.agent.journal import Outcome
from edgewright_node.agent.situation import Conclude, Situation, Will
from edgewright_node.reasons import Reason
from edgewright_node.states import Event, State


def enter(event: Event, wanted: str | None = None, reason: str = "", message: str = "") -> Conclude:
    """Return the conclusion that ``event`` happens, with nothing to be done for it."""
    return Conclude(Outcome(event=event, wanted=wanted, reason=reason, message=message))


_HELD_FROM: Final = (State.FETCHING, State.VERIFYING, State.TRIAL, State.REMOVING)
_ENDS_FIRST: Final = (State.RECALLING, State.RETURNING)


def take_up(now: Situation) -> Conclude | None:
    """Return the action that a changed order asks for, or None where the work in hand stands."""
    order, state = now.order, now.journal.state
    if order.will is Will.REMOVE:
        gone = state in (State.REMOVING, State.REMOVED)
        return None if gone else enter(Event.REMOVE, reason=Reason.REMOVING)
    if order.will is Will.HOLD:
        return enter(Event.HELD, reason=Reason.HELD) if state in _HELD_FROM else None
    settled = state in (State.IDLE, State.REMOVING, State.REMOVED)
    if order.digest == now.journal.wanted and not settled:
        return None
    return _assign(now)


def _assign(now: Situation) -> Conclude | None:
    digest, state = now.order.digest, now.journal.state
    slot = now.disk.slot_of(digest)
    known = slot is not None and (digest in now.journal.proven or slot == now.disk.active)
    if state in _ENDS_FIRST or (state is State.SWAPPING and not known):
        return None
    verdict = now.journal.poisoned.get(digest)
    if verdict is not None and state is not State.SWAPPING:
        return enter(Event.REFUSED, digest, verdict.reason, f"failed on this node before: {verdict.message}")
    if known:
        return enter(Event.RECALLED, digest)
    return enter(Event.ASSIGNED, digest)
