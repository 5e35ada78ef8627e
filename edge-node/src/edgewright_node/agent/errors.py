"""What may go wrong on the way of an artifact; each says its reason and what follows."""

from edgewright_node.reasons import Reason


class AgentError(Exception):
    """Base of what the agent raises on purpose. ``reason`` goes to status, a heading of docs/errors.md."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class RetryLater(AgentError):  # noqa: N818 - named for what follows
    """The world may change by itself: the step ends as failed and is begun again after a pause."""


class Refused(AgentError):  # noqa: N818 - named for what follows
    """The digest is no good, whenever it is tried: it is not fetched again on this node."""


class Superseded(Exception):  # noqa: N818 - named for what follows
    """Another digest is wanted by now; what was fetched so far is kept or swept by the next step."""
