"""Whether a node is heard of: judged by when the operator saw its Lease change, never by the node's own clock."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

MISSED_BEATS: Final = 3
"""How many heartbeats a node may miss, where its Lease does not say how long it is good for."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A node's Lease as the operator saw it."""

    first_seen: datetime
    """When the operator first saw this Lease at all."""
    changed: datetime | None
    """When the operator last saw it renewed; None when it has not since the operator started."""
    good_for: timedelta
    """How long a renewal lasts."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether the node is heard of, and in how many seconds that may change by silence alone."""

    reachable: bool
    requeue_after: float | None


def judge(
    beat: Heartbeat | None, *, renewed: datetime | None, before: bool | None, now: datetime
) -> Judgement:
    """Judge a node.

    A renewal that was seen lasts ``good_for``. After a start of the operator nothing has been seen yet: what was
    judged before holds for as long, and a node never judged is taken at its own word (``renewed``) until then.
    """
    if beat is None:
        return Judgement(False, None)
    if beat.changed is not None:
        left = (beat.changed + beat.good_for - now).total_seconds()
    else:
        fresh = renewed is not None and abs(now - renewed) < beat.good_for
        if before is False or (before is None and not fresh):
            return Judgement(False, None)
        left = (beat.first_seen + beat.good_for - now).total_seconds()
    return Judgement(True, left + 1.0) if left > 0 else Judgement(False, None)
