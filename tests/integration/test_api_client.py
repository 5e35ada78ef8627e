"""The operator's client, watch and writes on a real API server, without the operator."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from edgewright_lab.installation import OPERATOR_ACCOUNT, SYSTEM
from edgewright_lab.lab import Lab
from edgewright_operator.cluster.cache import Cache
from edgewright_operator.cluster.client import ApiClient, ApiError, Conflict, Connection, NotFound
from edgewright_operator.cluster.execute import Executor
from edgewright_operator.cluster.resources import RESOURCES
from edgewright_operator.cluster.watch import Watcher
from edgewright_operator.metrics import Metrics
from edgewright_operator.planning.objects import AssignmentSpec, Key, Kind
from edgewright_operator.planning.plan import Assign, WriteStatus
from support.operator_builders import deployment_manifest

Namespace = Callable[[Lab], str]


@pytest.fixture
def connection(control_plane: Lab, tmp_path: Path) -> Connection:
    """The operator's own account, under the roles of the chart."""
    token = control_plane.kubectl("create", "token", OPERATOR_ACCOUNT, "-n", SYSTEM)
    (tmp_path / "token").write_text(token)
    return Connection(control_plane.cluster.url, control_plane.cluster.ca, tmp_path / "token")


@asynccontextmanager
async def following(api: ApiClient, kind: Kind, resync_seconds: float = 60.0) -> AsyncIterator[Cache]:
    cache = Cache(lambda *_: None)
    loop = asyncio.get_running_loop()
    watcher = Watcher(api, RESOURCES[kind], cache.stores()[kind], resync_seconds, loop.time)
    task = asyncio.create_task(watcher.follow())
    try:
        await asyncio.wait_for(watcher.listed.wait(), 10)
        yield cache
    finally:
        task.cancel()


async def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.02)


def meta(lab: Lab, *what: str) -> dict[str, Any]:
    """Return an object's metadata as an administrator sees it; the operator lists and watches, and gets none."""
    found: dict[str, Any] = json.loads(lab.kubectl("get", *what, "-o", "json"))["metadata"]
    return found


async def test_a_store_follows_the_api_server(control_plane: Lab, connection: Connection) -> None:
    async with ApiClient(connection) as api, following(api, Kind.NODE) as cache:
        body = {"apiVersion": "edgewright.dev/v1alpha1", "kind": "EdgeNode", "metadata": {"name": "heard"}}
        control_plane.kubectl.apply(json.dumps(body | {"spec": {"site": "one"}}))
        await eventually(lambda: cache.nodes.get("", "heard") is not None)
        control_plane.kubectl("delete", "edgenode", "heard")
        await eventually(lambda: cache.nodes.get("", "heard") is None)


async def test_a_list_notices_what_no_event_told(control_plane: Lab, connection: Connection) -> None:
    async with ApiClient(connection) as api, following(api, Kind.NODE, resync_seconds=1.0) as cache:
        ghost = RESOURCES[Kind.NODE].decode(b'{"metadata": {"name": "ghost", "resourceVersion": "1"}}')
        cache.nodes.apply(ghost)
        await eventually(lambda: cache.nodes.get("", "ghost") is None)


async def test_a_stale_write_is_a_conflict_and_nothing_else(
    control_plane: Lab, connection: Connection, fresh_namespace: Namespace
) -> None:
    namespace = fresh_namespace(control_plane)
    control_plane.kubectl.apply(json.dumps(deployment_manifest(namespace=namespace)))
    key = Key(Kind.DEPLOYMENT, namespace, "digits")
    async with ApiClient(connection) as api:
        cache = Cache(lambda *_: None)
        do = Executor(api, cache, Metrics(CollectorRegistry(), version="test"))

        def status(**fields: Any) -> dict[str, Any]:
            return {"observedGeneration": 1, "conditions": []} | fields

        with pytest.raises(Conflict):
            await do.run(WriteStatus(key, "1", status()))
        current = meta(control_plane, "edgedeployment", "digits", "-n", namespace)["resourceVersion"]
        with pytest.raises(ApiError, match="version") as refused:
            await do.run(WriteStatus(key, current, status(version="x" * 100)))
        assert not isinstance(refused.value, Conflict)
        await do.run(WriteStatus(key, current, status(version="1.0.0")))
        written = cache.deployments.get(namespace, "digits")
        assert written is not None
        assert written.status.version == "1.0.0"
        with pytest.raises(NotFound):
            await do.run(WriteStatus(Key(Kind.DEPLOYMENT, namespace, "gone"), "1", status()))


async def test_an_assignment_is_written_only_as_of_the_version_it_was_composed_from(
    control_plane: Lab, connection: Connection
) -> None:
    body = {"apiVersion": "edgewright.dev/v1alpha1", "kind": "EdgeNode", "metadata": {"name": "composed"}}
    control_plane.kubectl.apply(json.dumps(body | {"spec": {}}))
    async with ApiClient(connection) as api:
        cache = Cache(lambda *_: None)
        do = Executor(api, cache, Metrics(CollectorRegistry(), version="test"))
        node = meta(control_plane, "edgenode", "composed")["uid"]
        await do.run(Assign("composed", node, AssignmentSpec(term=3, serial=1), None))
        first = cache.assignments.get("", "composed")
        assert first is not None
        with pytest.raises(Conflict):
            await do.run(Assign("composed", node, AssignmentSpec(term=3, serial=2), None))
        version = first.metadata.resource_version
        await do.run(Assign("composed", node, AssignmentSpec(term=3, serial=2), version))
        with pytest.raises(Conflict):
            await do.run(Assign("composed", node, AssignmentSpec(term=3, serial=3), version))
        second = cache.assignments.get("", "composed")
        assert second is not None
        assert (second.spec.serial, second.metadata.uid) == (2, first.metadata.uid)
        with pytest.raises(ApiError, match="deposed"):
            await do.run(
                Assign("composed", node, AssignmentSpec(term=2, serial=3), second.metadata.resource_version)
            )
    control_plane.kubectl("delete", "edgenode", "composed")


async def test_a_rotated_token_is_used_and_a_lost_server_is_said(
    control_plane: Lab, connection: Connection
) -> None:
    async with ApiClient(connection) as api:
        good = connection.token_file.read_text()
        connection.token_file.write_text("worthless")
        with pytest.raises(ApiError) as refused:
            await api.request("GET", RESOURCES[Kind.NODE].collection)
        assert refused.value.status == 401
        connection.token_file.write_text(good)
        await api.request("GET", RESOURCES[Kind.NODE].collection)
    nowhere = Connection("https://127.0.0.1:1", connection.ca_file, connection.token_file)
    async with ApiClient(nowhere) as api:
        with pytest.raises(ApiError) as lost:
            await api.request("GET", "/api")
        assert lost.value.status == 0
