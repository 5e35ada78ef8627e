"""What servers' reports prove of a digest. PURE."""

from edgewright_node.agent.journal import Outcome
from edgewright_node.reasons import Reason
from edgewright_node.slots import ActiveState, ServerReport
from edgewright_node.states import Event


def proof_of(servers: tuple[ServerReport, ...], digest: str) -> Outcome | None:
    """Return the confirmation, when every live server proved ``digest`` by an inference."""
    newest = None
    for server in servers:
        active = server.active
        if active is None or active.manifest_digest != digest or active.state is not ActiveState.SERVING:
            return None
        if active.proven_at is None or not active.proven_by:
            return None
        if newest is None or (newest.proven_at and active.proven_at > newest.proven_at):
            newest = active
    if newest is None or newest.proven_at is None:
        return None
    stamp = newest.proven_at.isoformat(timespec="seconds").replace("+00:00", "Z")
    return Outcome(event=Event.OK, proven_by=newest.proven_by or "", proven_at=stamp)


def stray(servers: tuple[ServerReport, ...], digest: str) -> tuple[str, str]:
    """Return reason and message of the first server that does not prove ``digest``; there must be one."""
    server = next(s for s in servers if proof_of((s,), digest) is None)
    active = server.active
    reason = (active.reason if active else None) or Reason.NOT_CONFIRMED
    what = f"{active.state} {active.manifest_digest}: {active.message or reason}" if active else "no model"
    return reason, f"{server.server_id} has {what}"
