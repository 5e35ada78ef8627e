"""Registration while somebody else writes to the same EdgeNode."""

import logging
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from edgewright_node.agent import node
from edgewright_node.agent.api import Api, ApiError
from edgewright_node.agent.metrics import Counters
from edgewright_node.agent.wire import Inventory

FOUND = Inventory(architecture="amd64", cores=2)
REACHABLE = {"type": "Reachable", "status": "True", "reason": "NodeHeard", "message": ""}


@dataclass
class BusyServer:
    """One EdgeNode with optimistic locking; an operator writes just before the first ``races`` updates."""

    races: int
    version: int = 1
    status: dict[str, Any] = field(default_factory=dict)

    def _object(self) -> web.Response:
        metadata = {"name": "n1", "resourceVersion": str(self.version)}
        return web.json_response({"metadata": metadata, "status": self.status})

    async def read(self, request: web.Request) -> web.Response:
        return self._object()

    async def write(self, request: web.Request) -> web.Response:
        body = await request.json()
        if self.races > 0:
            self.races -= 1
            self.version += 1
            self.status = {"conditions": [REACHABLE]}
        if body["metadata"]["resourceVersion"] != str(self.version):
            said = {"code": 409, "reason": "Conflict", "message": "the object has been modified"}
            return web.json_response(said, status=409)
        self.version += 1
        self.status = body["status"]
        return self._object()


async def register(busy: BusyServer) -> Counters:
    app = web.Application()
    app.router.add_get("/{path:.*}/n1", busy.read)
    app.router.add_patch("/{path:.*}/n1", busy.read)
    app.router.add_put("/{path:.*}/n1/status", busy.write)
    counters = Counters()
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        api = Api(session, str(server.make_url("")).rstrip("/"), lambda: "token", lambda: None)
        await node.register(api, "n1", FOUND, version="1.0.0", now="2026-11-25T12:00:00Z", counters=counters)
    return counters


async def test_a_lost_race_is_run_again_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    busy = BusyServer(races=2)
    with caplog.at_level(logging.INFO, logger="edgewright_node"):
        counters = await register(busy)
    assert (counters.status_writes, caplog.records) == (1, [])
    kinds = [condition["type"] for condition in busy.status["conditions"]]
    assert kinds[0] == "Reachable", "the operator's condition was overwritten"
    assert busy.status["inventory"]["architecture"] == "amd64"


async def test_a_race_that_is_always_lost_is_told() -> None:
    with pytest.raises(ApiError) as caught:
        await register(BusyServer(races=100))
    assert caught.value.status == 409
