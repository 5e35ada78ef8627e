"""Events of the kinds that people write, from Kopf's watches to the cache.

A handler returns nothing (a returned value would land in ``.status``) and registers nothing but events: timers,
daemons and change handlers would put Kopf's finalizer or annotations on users' objects.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

import kopf
import msgspec

from edgewright_operator.cluster.client import Connection
from edgewright_operator.cluster.resources import GROUP, RESOURCES, USER_KINDS, VERSION
from edgewright_operator.planning.objects import Kind

_LOG: Final = logging.getLogger(__name__)
_TOKEN_MINUTES: Final = 5
"""How long Kopf may use a token before it asks again; the kubelet rotates it well before it expires."""

Deliver = Callable[[Kind, Any, bool], None]
"""Takes the kind, the object, and whether it was deleted. Called on Kopf's thread."""


def registry(connection: Connection, deliver: Deliver, now: Callable[[], datetime]) -> kopf.OperatorRegistry:
    """Return what Kopf is to do: log in, and tell of every event of the kinds that people write."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    def login(**_: Any) -> kopf.ConnectionInfo:
        return kopf.ConnectionInfo(
            server=connection.server,
            ca_path=str(connection.ca_file),
            scheme="Bearer",
            token=connection.token(),
            expiration=now() + timedelta(minutes=_TOKEN_MINUTES),
        )

    for kind in USER_KINDS:
        _subscribe(handlers, kind, deliver)
    return handlers


def _subscribe(handlers: kopf.OperatorRegistry, kind: Kind, deliver: Deliver) -> None:
    resource = RESOURCES[kind]

    @kopf.on.event(GROUP, VERSION, resource.plural, registry=handlers, id=f"hear-{resource.plural}")
    def hear(event: kopf.RawEvent, **_: Any) -> None:
        try:
            obj = resource.decode(msgspec.json.encode(event["object"]))
        except ValueError as e:
            _LOG.error("a %s can't be read: %s", kind, str(e)[:500])
            return
        deliver(kind, obj, event["type"] == "DELETED")
