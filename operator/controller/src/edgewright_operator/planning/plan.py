"""What a decision asks for. The union is closed: an executor that forgets one fails type checking."""

from dataclasses import dataclass
from typing import Any

from edgewright_api.modelrevision import ModelRevisionSpec
from edgewright_operator.planning.objects import AssignmentSpec, Key


@dataclass(frozen=True, slots=True)
class CreateRevision:
    """Make a ModelRevision, owned by its EdgeModel."""

    namespace: str
    name: str
    spec: ModelRevisionSpec
    owner_name: str
    owner_uid: str


@dataclass(frozen=True, slots=True)
class Assign:
    """Write a node's whole assignment; made anew when ``resource_version`` is None."""

    node: str
    node_uid: str
    spec: AssignmentSpec
    resource_version: str | None


@dataclass(frozen=True, slots=True)
class WriteStatus:
    """Replace an object's status, unless the object changed since ``resource_version``."""

    key: Key
    resource_version: str
    status: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SetReachable:
    """Set the condition Reachable of an EdgeNode, and nothing else of its status."""

    node: str
    condition: dict[str, Any]


Action = CreateRevision | Assign | WriteStatus | SetReachable
