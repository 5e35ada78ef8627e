"""Errors of the server::

    ServingError
    ├── RequestError            this request is at fault, or cannot be served now
    │   ├── InvalidRequest
    │   ├── NotFound
    │   ├── MethodNotAllowed
    │   ├── TooLarge
    │   ├── HeadTooLarge
    │   ├── RequestTimeout
    │   ├── ModelNotReady
    │   ├── Overloaded
    │   └── InferenceFailed     the one that is our fault
    └── ArtifactRefused         a slot that must not serve
        ├── SlotIncomplete
        ├── DigestMismatch
        ├── ManifestInvalid
        ├── LoadFailed
        ├── GoldenInvalid
        ├── GoldenSourceMismatch
        ├── GoldenArtifactMismatch
        ├── ServedNameTaken
        └── TrialTimeout

``reason`` is a stable constant: reports and metrics carry it, docs/errors.md has a heading for it.
"""

from typing import ClassVar

# ruff: noqa: N818 - the names say what happened, and all of them derive from ServingError


class ServingError(Exception):
    """Base of every error that the server raises on purpose."""

    reason: ClassVar[str]

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class RequestError(ServingError):
    """A request that is answered by an error; ``http`` has the status of each class in a table."""


class InvalidRequest(RequestError):
    """The bytes, the names, the shapes or the types are not what the model takes."""

    reason = "InvalidRequest"


class NotFound(RequestError):
    """No such path, model or version here."""

    reason = "NotFound"


class MethodNotAllowed(RequestError):
    """The path is known, the method is not one of its own."""

    reason = "MethodNotAllowed"

    def __init__(self, allowed: str) -> None:
        super().__init__(f"only {allowed} is allowed here")
        self.allowed = allowed


class TooLarge(RequestError):
    """The body is larger than the server takes."""

    reason = "TooLarge"


class HeadTooLarge(RequestError):
    """The request line and headers are larger than the server takes."""

    reason = "HeadTooLarge"


class RequestTimeout(RequestError):
    """The client began a request and did not finish sending it in time."""

    reason = "RequestTimeout"


class ModelNotReady(RequestError):
    """The model is wanted here and is not loaded (yet)."""

    reason = "ModelNotReady"


class Overloaded(RequestError):
    """Connections or bodies in memory are at their limit."""

    reason = "Overloaded"


class InferenceFailed(RequestError):
    """The engine failed on a request that looked right."""

    reason = "InferenceFailed"


class ArtifactRefused(ServingError):
    """A slot that must not serve; the reason goes to the agent."""


class SlotIncomplete(ArtifactRefused):
    """The slot is missing, or not sealed."""

    reason = "SlotIncomplete"


class DigestMismatch(ArtifactRefused):
    """A file's bytes are not those that its digest names; no parser has opened it."""

    reason = "DigestMismatch"


class ManifestInvalid(ArtifactRefused):
    """The manifest has the right digest and not the content of an artifact that this server can run."""

    reason = "ManifestInvalid"


class LoadFailed(ArtifactRefused):
    """The runtime refuses the model: unknown operator, damaged graph, not enough memory."""

    reason = "LoadFailed"


class GoldenInvalid(ArtifactRefused):
    """golden.npz cannot be read, or does not fit the model: nothing is proven."""

    reason = "GoldenInvalid"


class GoldenSourceMismatch(ArtifactRefused):
    """The answers are not those of the source model, within what the gate allows: a wrong artifact."""

    reason = "GoldenSourceMismatch"


class GoldenArtifactMismatch(ArtifactRefused):
    """The answers are not the artifact's own: a damaged file or a wrong runtime."""

    reason = "GoldenArtifactMismatch"


class ServedNameTaken(ArtifactRefused):
    """Another deployment on this node is served under this name; the one that has it keeps it."""

    reason = "ServedNameTaken"


class TrialTimeout(ArtifactRefused):
    """The trial was not over, or not acted on, by its deadline."""

    reason = "TrialTimeout"
