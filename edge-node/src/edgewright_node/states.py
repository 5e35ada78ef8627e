"""The life of one deployment on one node, as a table.

Rule 1: everything about transitions lives here. ``agent.plan`` chooses the event, the agent's effects
bring it about, and ``step`` says what follows; nobody else knows an order of states.

Rule 2: one slot serves at any time. The only ways into SWAPPING, where the active link moves, are a good
trial, a kept slot that was proven on this node before and whose digests were checked again, and servers
that stopped serving what they had confirmed (then the link already points there).

Rule 3: every state answers RESTARTED, since power may go at any instruction. A transfer resumes; a trial
is tried again, and the planner counts how often, so that a model that takes the node down is refused.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class State(StrEnum):
    """Where one deployment is on its way to the wanted manifest digest."""

    IDLE = "Idle"
    """Nothing is in hand: nothing was asked yet, or the assignment holds the node where it is."""

    FETCHING = "Fetching"
    """Bytes arrive beside both slots; whatever is active serves on."""

    VERIFYING = "Verifying"
    """Every digest is checked once more, then the files become the inactive slot."""

    TRIAL = "Trial"
    """The inactive slot is loaded beside the active one and tested on its golden vectors."""

    RECALLING = "Recalling"
    """The digests of a kept slot are checked; it was proven here before, so no trial follows."""

    SWAPPING = "Swapping"
    """The link points at the new slot; servers switch and have to prove it by an inference."""

    RETURNING = "Returning"
    """The proof did not come: the link goes back to the digest confirmed last."""

    CONFIRMED = "Confirmed"
    """Every live server proved the wanted digest; where none lives, a trial did."""

    FAILED = "Failed"
    """The wanted digest is not what runs, for a reason that the journal keeps."""

    REMOVING = "Removing"
    """Servers let go of the deployment; then its directory goes."""

    REMOVED = "Removed"
    """Nothing of the deployment is left."""


class Event(StrEnum):
    """What may happen to a deployment."""

    ASSIGNED = "Assigned"
    """A digest is wanted that has to be fetched (or fetched again)."""

    RECALLED = "Recalled"
    """A digest is wanted that lies in a kept slot and was proven on this node."""

    REFUSED = "Refused"
    """A digest is wanted that failed on this node before."""

    HELD = "Held"
    """The assignment says Hold: begin nothing."""

    REMOVE = "Remove"
    """The assignment says Remove: the only way to lose a model."""

    OK = "Ok"
    FAILED = "Failed"

    DISPROVED = "Disproved"
    """A live server has not served the confirmed digest for a while, or the model failed a new trial."""

    PROVEN = "Proven"
    """Every live server proves the wanted digest after all, or again; where none lives, a trial does."""

    RESTARTED = "Restarted"
    """The agent began anew and found this state in the journal."""


_S = State
_E = Event

# Where a new order is taken up at once. RECALLING, SWAPPING and RETURNING are not among them: they end
# within a deadline, and until then the kept slot must stay, since the active one need not be proven.
_INTERRUPTIBLE: Final = (_S.IDLE, _S.FETCHING, _S.VERIFYING, _S.TRIAL, _S.CONFIRMED, _S.FAILED)

_ORDERS: Final[dict[tuple[State, Event], State]] = {
    **{(state, _E.ASSIGNED): _S.FETCHING for state in _INTERRUPTIBLE},
    **{(state, _E.RECALLED): _S.RECALLING for state in _INTERRUPTIBLE},
    **{(state, _E.REFUSED): _S.FAILED for state in _INTERRUPTIBLE},
    **{(state, _E.REMOVE): _S.REMOVING for state in State if state is not _S.REMOVED},
    # The kept slot is proven, so going back needs no conclusion of the swap in hand.
    (_S.SWAPPING, _E.RECALLED): _S.RECALLING,
    # A removal that is called off, or a name that is used again.
    (_S.REMOVING, _E.ASSIGNED): _S.FETCHING,
    (_S.REMOVING, _E.RECALLED): _S.RECALLING,
    (_S.REMOVING, _E.REFUSED): _S.FAILED,
    (_S.REMOVED, _E.ASSIGNED): _S.FETCHING,
    # Hold begins nothing; a swap in hand is ended.
    (_S.FETCHING, _E.HELD): _S.IDLE,
    (_S.VERIFYING, _E.HELD): _S.IDLE,
    (_S.TRIAL, _E.HELD): _S.IDLE,
    (_S.REMOVING, _E.HELD): _S.IDLE,
}

_LIFE: Final[dict[tuple[State, Event], State]] = {
    (_S.IDLE, _E.RESTARTED): _S.IDLE,
    (_S.FETCHING, _E.OK): _S.VERIFYING,
    (_S.FETCHING, _E.FAILED): _S.FAILED,
    (_S.FETCHING, _E.RESTARTED): _S.FETCHING,  # transfers resume at the byte
    (_S.VERIFYING, _E.OK): _S.TRIAL,
    (_S.VERIFYING, _E.FAILED): _S.FAILED,
    (_S.VERIFYING, _E.RESTARTED): _S.VERIFYING,
    (_S.TRIAL, _E.OK): _S.SWAPPING,
    (_S.TRIAL, _E.FAILED): _S.FAILED,
    (_S.TRIAL, _E.RESTARTED): _S.TRIAL,  # counted: see rule 3
    (_S.RECALLING, _E.OK): _S.SWAPPING,
    (_S.RECALLING, _E.FAILED): _S.FETCHING,  # the kept bytes rotted: get them anew
    (_S.RECALLING, _E.RESTARTED): _S.RECALLING,
    (_S.SWAPPING, _E.OK): _S.CONFIRMED,
    (_S.SWAPPING, _E.FAILED): _S.RETURNING,
    (_S.SWAPPING, _E.RESTARTED): _S.SWAPPING,
    # Both ways end in FAILED: the wanted digest is not what runs. OK says the old one is proven again.
    (_S.RETURNING, _E.OK): _S.FAILED,
    (_S.RETURNING, _E.FAILED): _S.FAILED,
    (_S.RETURNING, _E.RESTARTED): _S.RETURNING,
    (_S.CONFIRMED, _E.DISPROVED): _S.SWAPPING,
    (_S.CONFIRMED, _E.PROVEN): _S.CONFIRMED,  # by others than before
    (_S.CONFIRMED, _E.FAILED): _S.FAILED,  # no server lives and nothing else can prove it; it stays
    (_S.CONFIRMED, _E.RESTARTED): _S.CONFIRMED,
    (_S.FAILED, _E.PROVEN): _S.CONFIRMED,  # a server that was slower than the deadline
    (_S.FAILED, _E.RESTARTED): _S.FAILED,
    (_S.REMOVING, _E.OK): _S.REMOVED,  # cannot fail: what is left is swept at the next start
    (_S.REMOVING, _E.RESTARTED): _S.REMOVING,
    (_S.REMOVED, _E.RESTARTED): _S.REMOVED,
}

TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = MappingProxyType(_ORDERS | _LIFE)


class IllegalTransition(Exception):  # noqa: N818 - named for what follows
    """An event that has no meaning in a state: a bug of the planner, and nothing was changed."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"{event} means nothing in {state}")
        self.state = state
        self.event = event


def step(state: State, event: Event) -> State:
    """Return the state that follows.

    Raises:
        IllegalTransition: the table has no such row.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(state, event) from None
