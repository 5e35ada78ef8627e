"""The gateway on a real API server and object store: who gets what, how it travels, and how it is cut off."""

import asyncio
import base64
import json
import ssl
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from edgewright_api.canonical import digest_bytes
from edgewright_api.manifest import (
    CONFIG,
    MODEL_FILE,
    WEIGHT,
    Descriptor,
    layer,
    manifest_bytes,
)
from edgewright_lab.lab import Lab
from edgewright_lab.store import Store
from edgewright_operator.cluster.client import ApiClient, Connection
from edgewright_operator.gateway.artifacts import Artifacts
from edgewright_operator.gateway.keeper import CA_FILE, CONFIG_MAP, SECRET, Keeper
from edgewright_operator.gateway.metrics import GatewayMetrics
from edgewright_operator.gateway.run import serving
from edgewright_operator.gateway.server import Gateway, Mode
from edgewright_operator.gateway.tickets import Limits, TicketBook
from edgewright_operator.gateway.tokens import AUDIENCE, TokenCache, reviewer
from edgewright_operator.store import ObjectStore, blob_key, manifest_key
from support.publisher_builders import object_store

SYSTEM = "edgewright-system"


def utc_now() -> datetime:
    """Real time: TLS clients look at it, too."""
    return datetime.now(UTC)  # noqa: TID251 - a test is its own __main__


NODES = ("gateway-edge-1", "gateway-edge-2")


@dataclass
class Site:
    """A gateway that serves, what it may give to whom, and a client that trusts it."""

    url: str
    client: aiohttp.ClientSession
    store: ObjectStore
    gateway: Gateway
    registry: CollectorRegistry
    tokens: dict[str, str]
    assigned: dict[str, set[str]] = field(default_factory=dict)
    offset: float = 0.0
    """What the gateway's clock is ahead of ours, in seconds."""

    async def ask(self, token: str | None, digest: str) -> tuple[int, dict[str, Any], Any]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with self.client.post(
            f"{self.url}/v1/tickets", json={"digest": digest}, headers=headers
        ) as answer:
            return answer.status, await answer.json(), answer.headers

    async def ticket(self, node: str, digest: str) -> dict[str, Any]:
        status, body, _ = await self.ask(self.tokens[node], digest)
        assert status == 200, body
        return body

    async def publish(self, node: str, model: bytes) -> tuple[str, str]:
        """Publish an artifact and assign it; return the digests of its manifest and its model."""
        config = b"{}"
        manifest = manifest_bytes(
            Descriptor(media_type=CONFIG, digest=digest_bytes(config), size=len(config)),
            [layer(WEIGHT, digest_bytes(model), len(model), MODEL_FILE)],
            {},
        )
        for content in (model, config):
            await self.store.put(blob_key(digest_bytes(content)), content)
        await self.store.put(manifest_key(digest_bytes(manifest)), manifest)
        self.assigned.setdefault(node, set()).add(digest_bytes(manifest))
        return digest_bytes(manifest), digest_bytes(model)


Start = Callable[..., Any]


@pytest.fixture(scope="session")
def node_tokens(control_plane: Lab) -> dict[str, str]:
    """Tokens of the nodes' service account: one bound to each node, and one bound to none."""
    tokens = {}
    for name in NODES:
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
        control_plane.kubectl.apply(json.dumps(node))
        found = control_plane.kubectl.get("node", name)
        assert found is not None
        tokens[name] = control_plane.kubectl.token("edgewright-node", SYSTEM, node=found, audience=AUDIENCE)
        tokens[f"{name}-api"] = control_plane.kubectl.token("edgewright-node", SYSTEM, node=found)
    tokens["unbound"] = control_plane.kubectl.token("edgewright-node", SYSTEM, audience=AUDIENCE)
    other = control_plane.kubectl.get("node", NODES[0])
    assert other is not None
    tokens["tenant"] = control_plane.kubectl.token("default", "default", node=other, audience=AUDIENCE)
    return tokens


@pytest.fixture
async def start(
    control_plane: Lab, store: Store, node_tokens: dict[str, str], tmp_path: Path
) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def run(mode: Mode = Mode.PROXY, limits: Limits | None = None) -> Site:
            return await _site(
                stack, control_plane, store, node_tokens, tmp_path, mode, limits or Limits(fleet=8)
            )

        yield run


async def _site(
    stack: AsyncExitStack,
    control_plane: Lab,
    lab_store: Store,
    tokens: dict[str, str],
    scratch: Path,
    mode: Mode,
    limits: Limits,
) -> Site:
    api = await stack.enter_async_context(ApiClient(operator_connection(control_plane, scratch)))
    objects = await stack.enter_async_context(object_store(lab_store, f"gateway-{uuid.uuid4().hex[:8]}/"))
    registry = CollectorRegistry()
    metrics = GatewayMetrics(registry)
    site: Site

    def clock() -> float:
        return asyncio.get_running_loop().time() + site.offset

    gateway = Gateway(
        store=objects,
        tokens=TokenCache(
            reviewer(api),
            frozenset({f"system:serviceaccount:{SYSTEM}:edgewright-node"}),
            clock,
            lambda source: metrics.reviews.labels(source).inc(),
        ),
        artifacts=Artifacts(objects, lambda node: site.assigned.get(node, set())),
        book=TicketBook(limits),
        metrics=metrics,
        clock=clock,
        now=utc_now,
        url="",
        mode=mode,
    )
    keeper = Keeper(api=api, namespace=SYSTEM, hosts=("127.0.0.1",), now=utc_now)
    port = await stack.enter_async_context(serving(gateway, keeper, "127.0.0.1", 0))
    trusted = control_plane.kubectl.get("configmap", CONFIG_MAP, SYSTEM)
    assert trusted is not None
    tls = ssl.create_default_context(cadata=trusted["data"][CA_FILE])
    connector = aiohttp.TCPConnector(ssl=tls)
    client = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
    gateway.url = f"https://127.0.0.1:{port}"
    site = Site(gateway.url, client, objects, gateway, registry, tokens)
    return site


def operator_connection(control_plane: Lab, scratch: Path) -> Connection:
    """Connect as the operator, under the role that the chart ships."""
    token = scratch / "operator-token"
    token.write_text(control_plane.kubectl.token("edgewright-operator", SYSTEM))
    return Connection(control_plane.cluster.url, control_plane.cluster.ca, token)


MODEL = bytes(range(256)) * 4096  # 1 MiB, so that it takes several chunks


async def test_a_node_downloads_what_it_was_assigned(start: Start) -> None:
    site = await start()
    manifest, model = await site.publish(NODES[0], MODEL)
    for digest, size in ((manifest, None), (model, len(MODEL))):
        ticket = await site.ticket(NODES[0], digest)
        assert size in (None, ticket["size"])
        left = datetime.fromisoformat(ticket["expiresAt"]) - utc_now()
        assert (
            290 <= left.total_seconds() <= 300
        )  # by the wall's clock, although tickets are counted by another
        async with site.client.get(ticket["url"]) as answer:
            assert answer.status == 200
            assert answer.headers["ETag"] == f'"{digest}"'
            content = await answer.read()
        assert (digest_bytes(content), len(content)) == (digest, ticket["size"])
        async with site.client.head(ticket["url"]) as answer:
            assert (answer.status, answer.content_length) == (200, ticket["size"])


@pytest.mark.parametrize("whose", ["unbound", "tenant"])
async def test_a_token_that_speaks_for_no_node_is_refused(start: Start, whose: str) -> None:
    site = await start()
    manifest, _ = await site.publish(NODES[0], MODEL)
    status, body, _ = await site.ask(site.tokens[whose], manifest)
    assert (status, list(body)) == (403, ["message"])


@pytest.mark.parametrize("token", [None, "not-a-token", "api"], ids=["none", "made-up", "other-audience"])
async def test_a_token_that_is_not_for_the_gateway_is_refused(start: Start, token: str | None) -> None:
    site = await start()
    manifest, _ = await site.publish(NODES[0], MODEL)
    sent = site.tokens[f"{NODES[0]}-api"] if token == "api" else token
    status, _, headers = await site.ask(sent, manifest)
    assert status == 401
    assert headers["WWW-Authenticate"] == "Bearer"


async def test_another_nodes_artifact_is_refused_whether_it_exists_or_not(start: Start) -> None:
    site = await start()
    manifest, model = await site.publish(NODES[0], MODEL)
    nowhere = "sha256:" + "0" * 64
    for digest in (manifest, model, nowhere, "blobs/../secret"):
        status, _, _ = await site.ask(site.tokens[NODES[1]], digest)
        assert status == 403, digest


async def test_what_is_assigned_but_gone_is_not_found(start: Start) -> None:
    site = await start()
    digest = "sha256:" + "1" * 64
    site.assigned[NODES[0]] = {digest}
    status, _, _ = await site.ask(site.tokens[NODES[0]], digest)
    assert status == 404


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'{"digest": 5}', b"x" * 5000])
async def test_a_malformed_request(start: Start, body: bytes) -> None:
    site = await start()
    headers = {"Authorization": f"Bearer {site.tokens[NODES[0]]}"}
    async with site.client.post(f"{site.url}/v1/tickets", data=body, headers=headers) as answer:
        assert answer.status in (400, 413)


async def test_a_download_is_resumed(start: Start) -> None:
    site = await start()
    _, model = await site.publish(NODES[0], MODEL)
    ticket = await site.ticket(NODES[0], model)
    async with site.client.get(ticket["url"]) as answer:
        first = await answer.content.readexactly(300_001)
        etag = answer.headers["ETag"]
    again = await site.ticket(NODES[0], model)
    assert again["ticket"] == ticket["ticket"]  # its place, kept
    headers = {"Range": f"bytes={len(first)}-", "If-Range": etag}
    async with site.client.get(again["url"], headers=headers) as answer:
        assert answer.status == 206
        assert answer.headers["Content-Range"] == f"bytes 300001-{len(MODEL) - 1}/{len(MODEL)}"
        assert first + await answer.read() == MODEL
    async with site.client.get(again["url"], headers={"Range": f"bytes={len(MODEL)}-"}) as answer:
        assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{len(MODEL)}")
    async with site.client.get(again["url"], headers=headers | {"If-Range": '"other"'}) as answer:
        assert (answer.status, answer.content_length) == (200, len(MODEL))


async def test_the_fleet_cap(start: Start) -> None:
    site = await start(limits=Limits(fleet=1, per_node=1))
    first, _ = await site.publish(NODES[0], b"one")
    second, _ = await site.publish(NODES[1], b"two")
    ticket = await site.ticket(NODES[0], first)
    status, _, headers = await site.ask(site.tokens[NODES[1]], second)
    assert status == 429
    assert 1 <= int(headers["Retry-After"]) <= 30
    path = f"{site.url}/v1/tickets/{ticket['ticket']}"
    for node, expected in ((NODES[1], 404), (NODES[0], 204), (NODES[0], 404)):
        async with site.client.delete(
            path, headers={"Authorization": f"Bearer {site.tokens[node]}"}
        ) as answer:
            assert answer.status == expected
    await site.ticket(NODES[1], second)
    sample = site.registry.get_sample_value("edgewright_gateway_tickets_total", {"outcome": "Busy"})
    assert sample == 1


async def test_an_expired_ticket_opens_nothing_and_cuts_its_stream(start: Start) -> None:
    site = await start()
    large = MODEL * 32
    _, model = await site.publish(NODES[0], large)
    ticket = await site.ticket(NODES[0], model)
    async with site.client.get(ticket["url"]) as answer:
        await answer.content.readexactly(10)
        site.offset = 301.0
        with pytest.raises(aiohttp.ClientError):
            await answer.read()
    async with site.client.get(ticket["url"]) as answer:
        assert answer.status == 404
    renewed = await site.ticket(NODES[0], model)
    async with site.client.get(renewed["url"], headers={"Range": "bytes=10-"}) as answer:
        assert await answer.read() == large[10:]


async def test_the_newest_stream_of_a_ticket_wins(start: Start) -> None:
    """A node that lost its link comes back at once, while the old connection still seems open."""
    site = await start()
    large = MODEL * 32
    _, model = await site.publish(NODES[0], large)
    ticket = await site.ticket(NODES[0], model)
    async with site.client.get(ticket["url"]) as old:
        await old.content.readexactly(10)
        async with site.client.get(ticket["url"]) as new:
            assert digest_bytes(await new.read()) == model
        with pytest.raises(aiohttp.ClientError):
            await old.read()


async def test_a_reader_that_takes_nothing_is_dropped(start: Start, control_plane: Lab) -> None:
    """It must not hold a place, a connection to the store and buffers for as long as its ticket lasts."""
    site = await start()
    site.gateway.stall_seconds = 0.5
    _, model = await site.publish(NODES[0], MODEL * 32)
    ticket = await site.ticket(NODES[0], model)
    trusted = control_plane.kubectl.get("configmap", CONFIG_MAP, SYSTEM)
    assert trusted is not None
    tls = ssl.create_default_context(cadata=trusted["data"][CA_FILE])
    port = int(site.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, limit=1024)
    path = ticket["url"].removeprefix(site.url)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    async with asyncio.timeout(20):
        # ruff's advice, an Event, is not to be had: the gateway only counts.
        while _streams(site, "Stalled") != 1:
            await asyncio.sleep(0.1)
    writer.close()
    sent = site.registry.get_sample_value("edgewright_gateway_sent_bytes_total") or 0
    assert sent < len(MODEL) * 32


def _streams(site: Site, outcome: str) -> float | None:
    return site.registry.get_sample_value("edgewright_gateway_streams_total", {"outcome": outcome})


async def test_a_pre_signed_url_needs_no_token_and_takes_ranges(start: Start, store: Store) -> None:
    site = await start(Mode.REDIRECT)
    _, model = await site.publish(NODES[0], MODEL)
    ticket = await site.ticket(NODES[0], model)
    assert ticket["url"].startswith(store.endpoint)
    async with aiohttp.ClientSession() as anyone:
        async with anyone.get(ticket["url"]) as answer:
            assert (answer.status, await answer.read()) == (200, MODEL)
        async with anyone.get(ticket["url"], headers={"Range": "bytes=1000-"}) as answer:
            assert (answer.status, await answer.read()) == (206, MODEL[1000:])
    async with site.client.get(f"{site.url}/v1/content/{ticket['ticket']}") as answer:
        assert answer.status == 404


async def test_the_certificate_is_kept_and_made_anew_when_it_is_lost(
    start: Start, control_plane: Lab, tmp_path: Path
) -> None:
    await start()
    async with ApiClient(operator_connection(control_plane, tmp_path)) as api:
        keeper = Keeper(api=api, namespace=SYSTEM, hosts=("127.0.0.1",), now=utc_now)
        before = _versions(control_plane)
        first, second = await asyncio.gather(keeper.keep(), keeper.keep())
        assert first == second
        assert _versions(control_plane) == before
        control_plane.kubectl("-n", SYSTEM, "delete", "secret", SECRET)
        made = await asyncio.gather(*(keeper.keep() for _ in range(4)))
        assert len({material.serving.certificate for material in made}) == 1
        found = control_plane.kubectl.get("configmap", CONFIG_MAP, SYSTEM)
        secret = control_plane.kubectl.get("secret", SECRET, SYSTEM)
        assert found is not None
        assert secret is not None
        assert found["data"][CA_FILE].encode() == made[0].bundle
        assert base64.b64decode(secret["data"]["tls.crt"]) == made[0].serving.certificate


def _versions(control_plane: Lab) -> list[str]:
    found = [
        control_plane.kubectl.get(*what, SYSTEM) for what in (("secret", SECRET), ("configmap", CONFIG_MAP))
    ]
    return [each["metadata"]["resourceVersion"] for each in found if each is not None]
