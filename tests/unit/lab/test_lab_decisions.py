"""What the lab decides without touching anything: versions to build, what to apply, when to start again."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edgewright_lab.binaries import replacements
from edgewright_lab.errors import LabError
from edgewright_lab.installation import split
from edgewright_lab.instances import Instance
from edgewright_lab.keeper import restart_delay
from edgewright_lab.kube import condition
from edgewright_lab.nodes import NodeFiles, agent_command, server_command
from edgewright_lab.operators import Cluster, operator_command
from edgewright_lab.store import Store
from edgewright_lab.wheels import Wheel

GO_MOD = """
module k8s.io/kubernetes

require (
	github.com/spf13/cobra v1.10.0
	k8s.io/api v0.0.0
)

replace (
	k8s.io/api => ./staging/src/k8s.io/api
	k8s.io/client-go => ./staging/src/k8s.io/client-go
	example.com/other => example.com/fork v1.2.3
)

replace k8s.io/alone => ./staging/src/k8s.io/alone
"""
CLUSTER = Cluster("https://127.0.0.1:6443", Path("/lab/ca.crt"))
STORE = Store("http://127.0.0.1:8333", "bucket", "access", "secret", None)
FILES = NodeFiles(Path("/lab/nodes/edge-1"), Path("/lab/run/edge-1.sock"))


def test_every_staging_module_and_nothing_else_is_replaced() -> None:
    assert replacements(GO_MOD, "0.36.3") == [
        "replace k8s.io/api => k8s.io/api v0.36.3",
        "replace k8s.io/client-go => k8s.io/client-go v0.36.3",
        "replace k8s.io/alone => k8s.io/alone v0.36.3",
    ]


def test_a_wheel_is_asked_for_by_version_and_hash() -> None:
    assert Wheel("tool", "1.0", ("aa", "bb")).requirement() == "tool==1.0 --hash=sha256:aa --hash=sha256:bb"


def test_workloads_are_left_out_and_namespaces_come_first() -> None:
    kinds = ("Deployment", "ClusterRole", "Namespace", "Service", "PodDisruptionBudget", "EdgeTarget")
    documents: list[Any] = [{"kind": kind} for kind in kinds]
    first, then = split([*documents, None])
    assert [d["kind"] for d in first] == ["Namespace"]
    assert [d["kind"] for d in then] == ["ClusterRole", "EdgeTarget"]


@given(st.integers(0, 10_000))
def test_the_delay_of_a_restart_grows_to_a_limit(restarts: int) -> None:
    assert 0.5 <= restart_delay(restarts) <= restart_delay(restarts + 1) <= 10.0


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param({}, None, id="no-status"),
        pytest.param({"status": None}, None, id="null-status"),
        pytest.param({"status": {"conditions": []}}, None, id="no-such-condition"),
        pytest.param({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}, "False", id="found"),
    ],
)
def test_a_condition_is_read_or_absent(status: dict[str, Any], expected: str | None) -> None:
    assert condition(status, "Ready") == expected


@pytest.mark.parametrize("name", ["", "..", "a/b", "Upper", "-dash", "x" * 32])
def test_a_lab_has_a_name_that_is_safe_as_a_directory(name: str) -> None:
    with pytest.raises(LabError, match="names no lab"):
        Instance.named(Path("/cache"), name)


def test_agents_and_servers_never_get_an_administrators_or_the_stores_keys() -> None:
    agent = agent_command(
        "edge-1",
        FILES,
        cluster=CLUSTER,
        gateway="https://127.0.0.1:8443",
        gateway_ca=Path("/lab/gateway-ca.crt"),
        metrics_port=9000,
    )
    server = server_command("edge-1", FILES, http_port=8000)
    given_out = yaml.safe_dump([dict(agent.env), dict(server.env), list(agent.argv), list(server.argv)])
    assert "kubeconfig" not in given_out
    assert STORE.secret_key not in given_out
    assert agent.env["EDGEWRIGHT_AGENT_API_TOKEN"] != agent.env["EDGEWRIGHT_AGENT_GATEWAY_TOKEN"]


def test_what_a_test_asks_of_the_operator_wins() -> None:
    command = operator_command(
        directory=Path("/lab/operator"),
        cluster=CLUSTER,
        token=Path("/lab/operator/token"),
        store=STORE,
        http_port=8080,
        gateway_port=8443,
        argv=("python", "-m", "edgewright_operator"),
        extra={"EDGEWRIGHT_OPERATOR_NAMESPACE": "other"},
    )
    assert command.env["EDGEWRIGHT_OPERATOR_NAMESPACE"] == "other"
    assert command.env["EDGEWRIGHT_OPERATOR_GATEWAY_URL"] == "https://127.0.0.1:8443"
