"""What a failure says of the digest that was tried: a verdict, a suspicion, or nothing at all. PURE.

A digest is given up for ever ("poisoned") only for what lies in its bytes. Everything that a disk, a
network, a clock or a busy machine can bring about is tried again after a pause that grows.
"""

from typing import Final

from edgewright_node.agent.journal import Journal, Outcome
from edgewright_node.reasons import Reason
from edgewright_node.states import Event

VERDICTS: Final = frozenset(
    {"GoldenSourceMismatch", "GoldenArtifactMismatch", "GoldenInvalid", Reason.MANIFEST_INVALID.value}
)
"""What only the bytes can cause: once is enough."""

SUSPICIONS: Final = frozenset({"LoadFailed", Reason.TRIAL_CRASHED.value, Reason.TRIAL_INTERRUPTED.value})
"""What the bytes cause as a rule, and a lack of memory or a power cut now and then."""

STRIKES: Final = 3
"""So many suspicions of one kind, with the pauses between them, are a verdict."""

RETRY_SECONDS: Final = 15.0
RETRY_LIMIT_SECONDS: Final = 3600.0


def retry_pause(failures: int) -> float:
    """Return the seconds to wait after so many failures in a row."""
    return min(RETRY_SECONDS * 2.0 ** min(max(failures - 1, 0), 16), RETRY_LIMIT_SECONDS)


def failed(journal: Journal, reason: str, message: str, *, cause: str = "", strikes: int = 1) -> Outcome:
    """Return the failure of the wanted digest, and what it says of it.

    Args:
        reason: What status says.
        cause: What the digest is judged by, where that is another reason.
        strikes: How many failures of this kind this one stands for.
    """
    cause = cause or reason
    before = journal.strikes.get(journal.wanted or "", {}).get(cause, 0)
    suspected = cause in SUSPICIONS
    poison = cause in VERDICTS or (suspected and before + strikes >= STRIKES)
    return Outcome(
        event=Event.FAILED,
        reason=reason,
        message=message,
        cause=cause,
        strikes=strikes if suspected else 0,
        poison=poison,
        retry=not poison,
    )
