"""The agent as a process of its own: a real API server, a real inference server, a gateway that misbehaves."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgewright_lab.lab import Lab
from edgewright_node import slots
from support.api_client import JSON
from support.artifact_builders import Artifact, make_artifact
from support.gateway_simulator import GatewaySimulator, run_in_thread
from support.server_process import run_server, wait_for

GOLDEN_FILE = slots.GOLDEN_FILE


@dataclass
class Site:
    """One node: its directory, its gateway and how to talk to its assignment."""

    lab: Lab
    name: str
    root: Path
    files: Path
    gateway: GatewaySimulator
    serial: int = 0
    uid: str = "u1"
    agents: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def publish(self, *artifacts: Artifact) -> None:
        for artifact in artifacts:
            self.gateway.blobs.update(artifact.blobs)

    def assign(self, artifact: Artifact | None, *, state: str = "Run", **spec: Any) -> None:
        self.serial += 1
        entries = []
        if artifact is not None:
            entries.append(
                {
                    "deployment": {"namespace": "vision", "name": "digits", "uid": self.uid},
                    "servedName": "digits",
                    "revision": "digits-0123456789",
                    "version": "1.0.0",
                    "target": "x86-64-avx2",
                    "manifestDigest": artifact.manifest_digest,
                    "state": state,
                    "deletionPolicy": "Remove",
                }
            )
        body = {
            "apiVersion": "edgewright.dev/v1alpha1",
            "kind": "NodeAssignment",
            "metadata": {"name": self.name},
            "spec": {"term": 1, "serial": self.serial, "heartbeatSeconds": 20, "assignments": entries} | spec,
        }
        self.lab.kubectl.apply(json.dumps(body))

    def status(self) -> JSON:
        found = self.lab.kubectl.get("nodeassignment", self.name)
        return dict(found["status"]) if found else {}

    def entry(self) -> JSON:
        entries = self.status().get("assignments") or [{}]
        return dict(entries[0])

    def wait(self, artifact: Artifact, state: str = "Confirmed", seconds: float = 30) -> JSON:
        def there() -> JSON | None:
            entry = self.entry()
            digest = entry.get("wantedDigest")
            return entry if (entry.get("state"), digest) == (state, artifact.manifest_digest) else None

        try:
            return dict(wait_for(there, seconds=seconds))
        except AssertionError:
            raise AssertionError(f"not {state}: {self.entry()}\n{self.log()}") from None

    def log(self) -> str:
        return (self.files / "agent.log").read_text()

    def start_agent(self, **environment: str) -> subprocess.Popen[bytes]:
        values = {
            "NODE_NAME": self.name,
            "ROOT": str(self.root),
            "API_SERVER": self.lab.cluster.url,
            "API_CA": str(self.lab.cluster.ca),
            "API_TOKEN": str(self.files / "api.token"),
            "GATEWAY": self.gateway.url,
            "GATEWAY_TOKEN": str(self.files / "gateway.token"),
            "RESERVE_BYTES": "1000000",
            **environment,
        }
        env = {k: v for k, v in os.environ.items() if not k.startswith("EDGEWRIGHT_")}  # noqa: TID251
        env |= {f"EDGEWRIGHT_AGENT_{name}": value for name, value in values.items()}
        with (self.files / "agent.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "edgewright_node", "agent"], env=env, stdout=log, stderr=log
            )
        self.agents.append(process)
        return process

    def stop(self) -> None:
        for agent in self.agents:
            agent.terminate()
        for agent in self.agents:
            agent.wait(10)


@pytest.fixture
def site(control_plane: Lab, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A node that the cluster knows, with its bound token; no agent and no server yet."""
    name = "agent-" + request.node.name.removeprefix("test_").replace("_", "-")[:40].strip("-")
    kubectl = control_plane.kubectl
    kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}))
    node = kubectl.get("node", name)
    assert node is not None
    files = tmp_path / "files"
    files.mkdir()
    token = kubectl.token("edgewright-node", "edgewright-system", node=node)
    (files / "api.token").write_text(token)
    simulator = GatewaySimulator({})
    (files / "gateway.token").write_text(simulator.token)
    with run_in_thread(simulator):
        one = Site(control_plane, name, tmp_path / "node", files, simulator)
        one.root.mkdir()
        yield one
        one.stop()
    kubectl("delete", "nodeassignment,edgenode,node", name, "--ignore-not-found", "--wait=false")


def test_the_life_of_a_deployment(site: Site, tmp_path: Path) -> None:
    first, second, wrong = make_artifact(seed=1), make_artifact(seed=2), make_artifact(seed=3)
    other_model = make_artifact(seed=9).files[slots.MODEL_FILE]
    wrong = make_artifact(seed=3, replace={slots.MODEL_FILE: other_model})
    site.publish(first, second, wrong)
    site.assign(first)
    site.start_agent()
    with run_server(site.root, tmp_path / "s.sock") as server:
        entry = site.wait(first)
        assert (entry["runningDigest"], entry["provenBy"]) == (first.manifest_digest, "golden")
        assert entry["confirmedAt"]
        where = slots.deployment(site.root, "vision", "digits")
        assert _served(server.report(where)) == first.manifest_digest

        site.assign(second)
        entry = site.wait(second)
        assert entry["previousDigest"] == first.manifest_digest
        assert _served(server.report(where)) == second.manifest_digest

        before = site.gateway.served
        site.assign(first)
        site.wait(first)
        assert site.gateway.served == before, "going back fetched something"

        site.assign(wrong)
        entry = site.wait(wrong, "Failed")
        assert entry["reason"] == "GoldenSourceMismatch"
        assert entry["runningDigest"] == first.manifest_digest
        assert _served(server.report(where)) == first.manifest_digest
        fetched = len(site.gateway.tickets)
        site.assign(second)
        site.wait(second)
        site.assign(wrong)
        entry = site.wait(wrong, "Failed")
        assert "before" in entry["message"]
        assert wrong.manifest_digest not in site.gateway.tickets[fetched:], "a poisoned digest was fetched"

        site.assign(None)
        wait_for(lambda: site.entry().get("state") == "Orphaned")
        assert _served(server.report(where)) == second.manifest_digest
        site.assign(second, state="Remove")
        wait_for(lambda: site.entry().get("state") == "Removed")
        assert not where.path.exists()


def _served(report: slots.ServerReport | None) -> str | None:
    return report.active.manifest_digest if report and report.active else None
