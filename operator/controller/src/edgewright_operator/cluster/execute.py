"""Actions become calls: one match, closed by the type checker."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, assert_never

from msgspec import to_builtins

from edgewright_operator.cluster.cache import Cache
from edgewright_operator.cluster.client import ApiClient, ApiError, Conflict, NotFound
from edgewright_operator.cluster.resources import API_VERSION, RESOURCES
from edgewright_operator.metrics import Metrics
from edgewright_operator.planning.objects import Key, Kind
from edgewright_operator.planning.plan import Action, Assign, CreateRevision, SetReachable, WriteStatus

FIELD_MANAGER: Final = "edgewright-operator"


@dataclass(frozen=True, slots=True)
class Executor:
    """Carries out actions. The answer goes into the cache at once, so the next decision sees its own write."""

    api: ApiClient
    cache: Cache
    metrics: Metrics

    async def run(self, action: Action) -> None:
        """Carry out one action.

        Raises:
            ApiError: it was refused; Conflict when the decision rests on something outdated.
        """
        match action:
            case CreateRevision():
                await self._create_revision(action)
            case Assign():
                await self._assign(action)
            case WriteStatus():
                await self._write_status(action)
            case SetReachable():
                await self._set_reachable(action)
            case other:
                assert_never(other)

    async def _create_revision(self, action: CreateRevision) -> None:
        body = {
            "apiVersion": API_VERSION,
            "kind": Kind.REVISION.value,
            "metadata": {
                "name": action.name,
                "namespace": action.namespace,
                "labels": {"edgewright.dev/model": action.owner_name},
                "ownerReferences": [_owner(Kind.MODEL, action.owner_name, action.owner_uid)],
            },
            "spec": action.spec.to_wire(),
        }
        await self._send("POST", Key(Kind.REVISION, action.namespace, action.name), body)

    async def _assign(self, action: Assign) -> None:
        key = Key(Kind.ASSIGNMENT, "", action.node)
        spec = to_builtins(action.spec)
        if action.resource_version is None:
            body = {
                "apiVersion": API_VERSION,
                "kind": Kind.ASSIGNMENT.value,
                "metadata": {
                    "name": action.node,
                    "ownerReferences": [_owner(Kind.NODE, action.node, action.node_uid)],
                },
                "spec": spec,
            }
            await self._send("POST", key, body)
        else:
            # With a resourceVersion in it, a merge patch is refused with 409 when someone was faster.
            body = {"metadata": {"resourceVersion": action.resource_version}, "spec": spec}
            await self._send("PATCH", key, body, "application/merge-patch+json")
        self.metrics.assignment_writes.inc()

    async def _write_status(self, action: WriteStatus) -> None:
        # A PUT would need the spec, too, and a merge patch can't replace the whole status.
        body = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": action.resource_version},
            {"op": "add", "path": "/status", "value": action.status},
        ]
        try:
            await self._send("PATCH", action.key, body, "application/json-patch+json", "status")
        except ApiError as e:
            # The API server answers a failed test with 422 and this sentence; a status that breaks the schema
            # is named in the message.
            if e.status == HTTPStatus.UNPROCESSABLE_ENTITY and "error in our request" in e.what:
                raise Conflict(e.status, e.what) from e
            raise
        self.metrics.status_writes.labels(action.key.kind.value).inc()

    async def _set_reachable(self, action: SetReachable) -> None:
        # Server-side apply: the condition is ours, its neighbours are the agent's.
        body = {
            "apiVersion": API_VERSION,
            "kind": Kind.NODE.value,
            "metadata": {"name": action.node},
            "status": {"conditions": [action.condition]},
        }
        await self._send(
            "PATCH", Key(Kind.NODE, "", action.node), body, "application/apply-patch+yaml", "status"
        )
        self.metrics.status_writes.labels(Kind.NODE.value).inc()

    async def _send(
        self, method: str, key: Key, body: Any, content_type: str = "application/json", subresource: str = ""
    ) -> None:
        resource, store = RESOURCES[key.kind], self.cache.stores()[key.kind]
        name = "" if method == "POST" else key.name
        query = {"fieldManager": FIELD_MANAGER}
        if content_type == "application/apply-patch+yaml":
            query["force"] = "true"
        try:
            answer = await self.api.request(
                method,
                resource.path(key.namespace, name, subresource),
                query=query,
                body=body,
                content_type=content_type,
            )
        except NotFound:
            store.drop(key.namespace, key.name)
            raise
        store.apply(resource.decode(answer))


def _owner(kind: Kind, name: str, uid: str) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind.value, "name": name, "uid": uid, "controller": True}
