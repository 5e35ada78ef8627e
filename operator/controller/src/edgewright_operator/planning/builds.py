"""What a build looks like from outside: the contract between the reconcilers and whoever runs builds."""

from dataclasses import dataclass
from typing import Protocol

from edgewright_api.edgemodel import BuildProgress, Interface
from edgewright_api.errors import EdgewrightError
from edgewright_api.modelrevision import ModelRevision
from edgewright_api.verdicts import TargetResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What the publisher decided and put into the store."""

    index_digest: str | None
    """The digest of the OCI index; None when no target was accepted."""
    interface: Interface | None
    """What the source model looks like from outside; None when it could not be read."""
    targets: tuple[TargetResult, ...]
    """A verdict for every target of the revision, in the order of its spec."""
    passes_run: int
    passes_cached: int


@dataclass(frozen=True, slots=True)
class BuildState:
    """Where the build of one revision is: exactly one of running, published and failed."""

    progress: BuildProgress
    published: Published | None = None
    failure: EdgewrightError | None = None
    """A TransientError is worth another attempt; a StalledError is not."""
    retry_after: float | None = None
    """In how many seconds the next attempt is due, where there is one; ``ensure`` makes it."""


class Builds(Protocol):
    """Runs builds beside the reconcilers, some at a time, each in the place it needs."""

    def ensure(self, revision: ModelRevision) -> BuildState:
        """Return where the build of ``revision`` is, having started or queued it if it was not known.

        What failed and may heal is started again when its delay has passed, longer after each failure in a row.
        Never waits. Whoever runs builds marks the revision's key dirty when its state changes.
        """

    def forget(self, namespace: str, name: str) -> None:
        """Drop what is known of a build: stop it if it runs, so that ``ensure`` starts anew."""
