"""The whole lab: what operator and nodes hold, and that each comes back after a crash."""

import base64
import json
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgewright_lab.keeper import Kept
from edgewright_lab.lab import Lab
from edgewright_lab.nodes import NodeHandle
from edgewright_lab.probes import answers

NODE_NAME = "authentication.kubernetes.io/node-name"


def eventually(holds: Callable[[], bool], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.1)
    return holds()


def claims(token: Path) -> dict[str, Any]:
    """Return what a token says of itself, unverified."""
    payload = token.read_text().split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found


def environment(kept: Kept) -> dict[str, str]:
    """Return the variables that a running process was started with."""
    entries = Path(f"/proc/{kept.pid}/environ").read_text().split("\0")
    return dict(entry.split("=", 1) for entry in entries if entry)


def comes_back(kept: Kept, is_up: Callable[[], bool]) -> bool:
    """Kill a process and return whether a new one does its work."""
    before = kept.pid
    kept.kill()
    return eventually(lambda: kept.pid != before and is_up())


@pytest.fixture(params=["edge-1", "edge-2"])
def edge(lab: Lab, request: pytest.FixtureRequest) -> NodeHandle:
    return lab.nodes[request.param]


def test_a_node_is_registered_heard_and_labelled_by_its_own_agent(lab: Lab, edge: NodeHandle) -> None:
    lab.wait("edgenode", edge.name, until="Ready")  # the agent's word
    found = lab.wait("edgenode", edge.name, until="Reachable")  # the operator's
    assert found["metadata"]["labels"]["inventory.edgewright.dev/architecture"] == "amd64"
    lease = lab.kubectl.get("lease", edge.name, "edgewright-nodes")
    assert lease is not None
    assert lease["spec"]["holderIdentity"] == edge.name


def test_each_token_names_its_node_and_has_one_audience(edge: NodeHandle) -> None:
    directory = edge.root.parent
    for_api, for_gateway = claims(directory / "api-token"), claims(directory / "gateway-token")
    assert for_api["kubernetes.io"]["node"]["name"] == edge.name
    assert for_gateway["kubernetes.io"]["node"]["name"] == edge.name
    assert (for_api["aud"], for_gateway["aud"]) == (["https://kubernetes.default.svc"], ["edgewright"])
    modes = {stat.S_IMODE((directory / name).stat().st_mode) for name in ("api-token", "gateway-token")}
    assert modes == {0o600}


def test_no_process_of_a_node_has_the_stores_keys(lab: Lab, edge: NodeHandle) -> None:
    for kept in (edge.agent, edge.server):
        values = " ".join(environment(kept).values())
        assert lab.store.secret_key not in values
        assert lab.store.access_key not in values
        assert str(lab.kubeconfig) not in values


def test_a_killed_agent_registers_again(lab: Lab, edge: NodeHandle) -> None:
    def renews() -> bool:
        lease = lab.kubectl.get("lease", edge.name, "edgewright-nodes")
        return lease is not None and lease["spec"]["renewTime"] > renewed

    lease = lab.kubectl.get("lease", edge.name, "edgewright-nodes")
    assert lease is not None
    renewed = lease["spec"]["renewTime"]
    assert comes_back(edge.agent, lambda: answers(edge.metrics_url))
    assert eventually(renews)


def test_a_killed_server_listens_again(edge: NodeHandle) -> None:
    assert comes_back(edge.server, lambda: answers(f"{edge.http_url}/v2/health/live"))


def test_a_killed_operator_leads_again(lab: Lab) -> None:
    url = lab.operator.url
    assert comes_back(lab.operator.kept, lambda: answers(f"{url}/readyz"))


def test_a_held_server_is_down_until_released(edge: NodeHandle) -> None:
    health = f"{edge.http_url}/v2/health/live"
    edge.server.hold()
    assert not answers(health)
    edge.server.release()
    assert eventually(lambda: answers(health))
