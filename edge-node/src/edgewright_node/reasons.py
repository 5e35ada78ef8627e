"""Why a deployment on a node is where it is: each is a status reason and a heading in docs/errors.md."""

from enum import StrEnum


class Reason(StrEnum):
    """Stable constants of the node's side; servers add those of the self-test."""

    COMPLETE = "Complete"
    """All that this node was given is confirmed or removed."""

    REGISTERED = "Registered"
    """The agent runs and has reported what the node is made of."""

    UPDATING = "Updating"
    """At least one deployment is on its way."""

    HELD = "Held"
    """The assignment says Hold: the node keeps what it runs."""

    ORPHANED = "Orphaned"
    """The assignment no longer names this deployment. Absence is no command: it serves on."""

    REMOVING = "Removing"
    """Servers are asked to let go of the deployment."""

    AGENT_TOO_OLD = "AgentTooOld"
    """The assignment needs a feature that this agent lacks; it keeps what it runs."""

    SERIAL_BEHIND = "SerialBehind"
    """The assignment is older than one seen before (a restored control plane); it is ignored."""

    INSUFFICIENT_DISK = "InsufficientDisk"
    """The artifact, with the reserve, does not fit; the message has the numbers."""

    DISK_ERROR = "DiskError"
    """The operating system refused to read or write the node's directory."""

    DIGEST_MISMATCH = "DigestMismatch"
    """Bytes are not those that their digest names; no parser has opened them."""

    MANIFEST_INVALID = "ManifestInvalid"
    """The manifest has the right digest and a content that this agent does not accept."""

    GATEWAY_UNREACHABLE = "GatewayUnreachable"
    """The gateway or the store does not answer; the transfer goes on when it does."""

    GATEWAY_BUSY = "GatewayBusy"
    """The fleet's cap is used up; the node waits as long as the gateway said."""

    GATEWAY_REFUSED = "GatewayRefused"
    """The gateway does not accept the node's token, or the digest is not assigned to this node."""

    ARTIFACT_NOT_FOUND = "ArtifactNotFound"
    """The gateway does not know the digest."""

    TRIAL_TIMEOUT = "TrialTimeout"
    """Servers live and did not finish the self-test in time."""

    TRIAL_CRASHED = "TrialCrashed"
    """The one-shot self-test died without an answer."""

    TRIAL_INTERRUPTED = "TrialInterrupted"
    """The agent or the node went down during the self-test, more often than chance explains."""

    TRIAL_UNAVAILABLE = "TrialUnavailable"
    """No server lives and the one-shot self-test cannot be started."""

    NOT_CONFIRMED = "NotConfirmed"
    """Servers did not prove the new digest in time, and there is nothing to go back to."""

    SERVERS_ABSENT = "ServersAbsent"
    """No server lives here; a trial of the agent's proved the model in their place."""

    ROLLED_BACK = "RolledBack"
    """Servers did not prove the new digest; the node went back to the one confirmed last."""
