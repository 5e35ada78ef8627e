"""The agent as a process of its own: a real API server, a real inference server, a gateway that misbehaves."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgewright_lab.lab import Lab
from edgewright_node import slots
from support.api_client import JSON
from support.artifact_builders import Artifact, make_artifact
from support.gateway_simulator import GatewaySimulator, run_in_thread
from support.server_process import run_server, wait_for


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

    def has_served(self, count: float) -> bool:
        return self.gateway.served > count

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
    first, second = make_artifact(seed=1), make_artifact(seed=2)
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


def test_a_killed_agent_resumes_at_the_byte(site: Site) -> None:
    filler = np.random.default_rng(5).bytes(16 << 20)
    artifact = make_artifact(replace={slots.REPORT_FILE: filler})
    site.publish(artifact)
    size = sum(len(content) for content in artifact.files.values())
    site.gateway.chunk_bytes, site.gateway.chunk_delay = 1 << 16, 0.005
    site.assign(artifact)
    for share in (0.2, 0.5, 0.8):
        agent = site.start_agent()
        wait_for(partial(site.has_served, share * size))
        agent.send_signal(signal.SIGKILL)
        agent.wait(10)
    site.gateway.chunk_delay = 0.0
    site.start_agent()
    entry = site.wait(artifact)  # no server lives: a process of its own tests and proves
    assert (entry["provenBy"], entry["reason"]) == ("trial", "ServersAbsent")
    assert entry["totalBytes"] > 16 << 20
    assert site.gateway.served <= 1.05 * size


def test_a_corrupted_blob_never_becomes_a_slot(site: Site) -> None:
    artifact = make_artifact()
    site.publish(artifact)
    site.gateway.blobs[artifact.model_digest] = bytes(len(artifact.files[slots.MODEL_FILE]))
    site.assign(artifact)
    site.start_agent()
    entry = site.wait(artifact, "Failed")
    assert entry["reason"] == "DigestMismatch"
    assert "runningDigest" not in entry
    assert not list(site.root.glob("deployments/*/slot-*/complete"))


def test_at_rest_nothing_is_written_and_a_restart_without_api_serves_on(site: Site, tmp_path: Path) -> None:
    artifact = make_artifact()
    site.publish(artifact)
    site.assign(artifact)
    agent = site.start_agent()
    with run_server(site.root, tmp_path / "s.sock") as server:
        site.wait(artifact)
        kubectl = site.lab.kubectl
        node = wait_for(lambda: (kubectl.get("edgenode", site.name) or {}).get("status", {}).get("inventory"))
        assert node["cores"] == os.cpu_count()
        assert {r["name"] for r in node["runtimes"]} == {"onnxruntime"}
        lease = kubectl.get("lease", site.name, "edgewright-nodes")
        assert lease is not None
        assert lease["spec"]["holderIdentity"] == site.name
        time.sleep(1.5)
        before = _versions(site)
        time.sleep(10)
        assert _versions(site) == before, "something was written at rest"

        agent.terminate()
        agent.wait(10)
        site.start_agent(API_SERVER="https://127.0.0.1:1", GATEWAY="http://127.0.0.1:1")
        where = slots.deployment(site.root, "vision", "digits")
        time.sleep(2)
        assert _served(server.report(where)) == artifact.manifest_digest
        journal = json.loads((where.path / "journal" / "deployment.json").read_bytes())
        assert journal["state"] == "Confirmed"


def test_what_an_agent_must_not_act_on(site: Site) -> None:
    first, second = make_artifact(seed=1), make_artifact(seed=2)
    site.publish(first, second)
    site.serial = 7
    site.assign(first)
    site.start_agent()
    site.wait(first)

    site.assign(second, requires=["Teleport"])
    entry = site.wait(second, "Failed")
    assert (entry["reason"], entry["runningDigest"]) == ("AgentTooOld", first.manifest_digest)
    site.serial = 2
    site.assign(second)
    wait_for(lambda: _condition(site, "Stalled") == ("True", "SerialBehind"))
    assert site.status()["seenSerial"] == 9
    assert site.entry()["runningDigest"] == first.manifest_digest
    site.serial = 9
    site.assign(second, state="Hold")
    wait_for(lambda: site.entry().get("reason") == "Held")
    assert second.manifest_digest not in site.gateway.tickets
    site.assign(second)
    site.wait(second)


def test_the_object_and_its_absence(site: Site) -> None:
    artifact = make_artifact()
    site.publish(artifact)
    site.assign(artifact)
    agent = site.start_agent()
    site.wait(artifact)
    site.lab.kubectl("delete", "nodeassignment", site.name)
    time.sleep(1)
    assert agent.poll() is None
    assert (site.root / "deployments" / "vision.digits" / "active").is_symlink()
    site.serial = 0  # an object made anew by an operator that lost its memory
    site.assign(artifact)
    site.assign(artifact, serial=50)
    site.wait(artifact)


def _versions(site: Site) -> list[str]:
    found = [site.lab.kubectl.get(kind, site.name) for kind in ("nodeassignment", "edgenode")]
    return [obj["metadata"]["resourceVersion"] for obj in found if obj is not None]


def _condition(site: Site, kind: str) -> tuple[str, str] | None:
    conditions = site.status().get("conditions", [])
    return next(((c["status"], c["reason"]) for c in conditions if c["type"] == kind), None)


def _served(report: slots.ServerReport | None) -> str | None:
    return report.active.manifest_digest if report and report.active else None
