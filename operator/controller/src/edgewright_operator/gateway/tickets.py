"""PURE: who may download what, how many at once, until when.

A ticket is a capability: whoever holds its id may read one object until it expires. It counts against the
fleet's cap and against its node's cap, so neither a busy fleet nor one hostile node can use up the store.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

_LONGEST_WAIT_SECONDS = 30
"""What the longest ``Retry-After`` says; a ticket may be released long before it expires."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the gateway gives at once."""

    fleet: int = 64
    """Tickets outstanding in the whole fleet, at least 1."""

    per_node: int = 4
    """Tickets outstanding for one node, at least 1."""

    lifetime_seconds: float = 300.0
    """How long a ticket holds; asking again for the same content extends it."""

    def __post_init__(self) -> None:
        if self.fleet < 1 or self.per_node < 1 or not self.lifetime_seconds > 0:
            raise ValueError(f"limits must be positive: {self}")


@dataclass(frozen=True, slots=True)
class Content:
    """One object that a ticket opens."""

    digest: str
    """``sha256:<64 hex>``, what the reader will check."""

    key: str
    """Where the store keeps it, without the installation's prefix."""

    size: int
    """In bytes."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """The right of one node to read one object until ``expires_at``, in seconds of the caller's clock."""

    id: str
    node: str
    content: Content
    expires_at: float


@dataclass(frozen=True, slots=True)
class Busy:
    """No ticket now; ask again after so many seconds, 1 to 30."""

    retry_after_seconds: int


@dataclass(slots=True)
class TicketBook:
    """The tickets that are outstanding. Time is an argument: seconds of any clock that does not go back."""

    limits: Limits
    _tickets: dict[str, Ticket] = field(default_factory=dict)

    def issue(self, ticket_id: str, node: str, content: Content, now: float) -> Ticket | Busy:
        """Return a ticket for ``content``, or say when to ask again.

        A node that asks again for the same content, because it was restarted or its ticket is about to
        expire, gets the ticket that it has with a new expiry: it never holds two places for one object.
        ``ticket_id`` must be unguessable and is used only when a new ticket is made.
        """
        self._expire(now)
        expires_at = now + self.limits.lifetime_seconds
        mine = [ticket for ticket in self._tickets.values() if ticket.node == node]
        for ticket in mine:
            if ticket.content == content:
                return self._keep(replace(ticket, expires_at=expires_at))
        if len(mine) >= self.limits.per_node:
            return _busy(mine, now)
        if len(self._tickets) >= self.limits.fleet:
            return _busy(self._tickets.values(), now)
        return self._keep(Ticket(ticket_id, node, content, expires_at))

    def find(self, ticket_id: str, now: float) -> Ticket | None:
        """Return the ticket, or None when it expired, was released or never existed."""
        ticket = self._tickets.get(ticket_id)
        return ticket if ticket is not None and ticket.expires_at > now else None

    def release(self, ticket_id: str, node: str) -> bool:
        """Free the place of a ticket; only its own node may. Return whether there was one."""
        ticket = self._tickets.get(ticket_id)
        if ticket is None or ticket.node != node:
            return False
        del self._tickets[ticket_id]
        return True

    def outstanding(self, now: float) -> int:
        """Return how many tickets count against the fleet's cap."""
        self._expire(now)
        return len(self._tickets)

    def _keep(self, ticket: Ticket) -> Ticket:
        self._tickets[ticket.id] = ticket
        return ticket

    def _expire(self, now: float) -> None:
        # At most `fleet` tickets exist, so a scan is cheaper than a heap that renewals would make stale.
        for ticket in [t for t in self._tickets.values() if t.expires_at <= now]:
            del self._tickets[ticket.id]


def _busy(holders: Iterable[Ticket], now: float) -> Busy:
    first = min(ticket.expires_at for ticket in holders)
    return Busy(min(max(1, math.ceil(first - now)), _LONGEST_WAIT_SECONDS))
