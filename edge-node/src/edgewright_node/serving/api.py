"""The paths of the Open Inference Protocol v2 REST, and every answer that needs no inference."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import unquote

import orjson

from edgewright_node.serving.dataplane import DataPlane, describe
from edgewright_node.serving.errors import MethodNotAllowed, ModelNotReady, NotFound
from edgewright_node.serving.metrics import HttpStats, render

JSON: Final = b"application/json"
TEXT: Final = b"text/plain; version=0.0.4; charset=utf-8"

_MAX_ROUTES: Final = 1024
"""Targets kept parsed; callers repeat few. A flood of others only empties the cache."""


class Kind(Enum):
    """What a path asks for; the value is the method that it takes."""

    SERVER = "GET", 0
    LIVE = "GET", 1
    READY = "GET", 2
    METRICS = "GET", 3
    INDEX = "POST", 4
    MODEL = "GET", 5
    MODEL_READY = "GET", 6
    INFER = "POST", 7


@dataclass(frozen=True, slots=True)
class Route:
    """A path, understood."""

    kind: Kind
    model: str = ""
    version: str | None = None


_FIXED: Final = {
    "/v2": Route(Kind.SERVER),
    "/v2/": Route(Kind.SERVER),
    "/v2/health/live": Route(Kind.LIVE),
    "/v2/health/ready": Route(Kind.READY),
    "/v2/repository/index": Route(Kind.INDEX),
    "/metrics": Route(Kind.METRICS),
}

_OF_MODEL: Final = {(): Kind.MODEL, ("ready",): Kind.MODEL_READY, ("infer",): Kind.INFER}


def parse(target: bytes) -> Route:
    """Understand a request's target; its query is ignored.

    Raises:
        NotFound: no such path.
    """
    path = target.split(b"?", 1)[0].decode("latin-1")
    fixed = _FIXED.get(path)
    if fixed is not None:
        return fixed
    parts = path.split("/")
    if parts[:3] == ["", "v2", "models"] and len(parts) > 3 and parts[3]:
        model, rest, wanted = unquote(parts[3]), parts[4:], None
        if rest[:1] == ["versions"] and len(rest) > 1 and rest[1]:
            wanted, rest = unquote(rest[1]), rest[2:]
        kind = _OF_MODEL.get(tuple(rest))
        if kind is not None:
            return Route(kind, model, wanted)
    raise NotFound(f"there is no path {path[:256]!r}")


@dataclass(slots=True, eq=False)
class Api:
    """Answers requests; ``http`` brings them and takes the answers away."""

    plane: DataPlane
    ready: Callable[[], bool]
    """Whether everything that the node wants served answers."""
    http: HttpStats
    routes: dict[bytes, Route] = field(default_factory=dict)

    def route(self, method: bytes, target: bytes) -> Route:
        """Understand method and target.

        Raises:
            NotFound: no such path.
            MethodNotAllowed: the path does not take this method.
        """
        found = self.routes.get(target)
        if found is None:
            found = parse(target)
            if len(self.routes) >= _MAX_ROUTES:
                self.routes.clear()
            self.routes[target] = found
        allowed = found.kind.value[0]
        if method.decode("latin-1") != allowed:
            raise MethodNotAllowed(allowed)
        return found

    def answer(self, route: Route) -> tuple[bytes, bytes]:
        """Return content type and body of everything but an inference.

        Raises:
            RequestError: as its class says.
        """
        match route.kind:
            case Kind.SERVER:
                return JSON, orjson.dumps(_SERVER)
            case Kind.LIVE:
                return JSON, b'{"live":true}'
            case Kind.READY:
                if not self.ready():
                    raise ModelNotReady("not every model of this node is loaded")
                return JSON, b'{"ready":true}'
            case Kind.METRICS:
                models = self.plane.models.values()
                return TEXT, render(((m.info, m.stats) for m in models), self.http).encode()
            case Kind.INDEX:
                return JSON, orjson.dumps(self._index())
            case Kind.MODEL_READY:
                model = self.plane.find(route.model, route.version)
                return JSON, orjson.dumps({"name": model.info.model, "ready": True})
            case _:
                return JSON, orjson.dumps(describe(self.plane.find(route.model, route.version)))

    def _index(self) -> list[dict[str, Any]]:
        """List what serves, and what is wanted and does not yet."""
        serving = [
            {"name": m.info.model, "version": m.info.version, "state": "READY", "reason": ""}
            for m in self.plane.models.values()
        ]
        missing = sorted(self.plane.awaited - self.plane.models.keys())
        return serving + [
            {"name": name, "version": "", "state": "UNAVAILABLE", "reason": ModelNotReady.reason}
            for name in missing
        ]


_SERVER: Final = {
    "name": "edgewright",
    "version": version("edgewright-node"),
    "extensions": ["binary_tensor_data", "model_repository"],
}
