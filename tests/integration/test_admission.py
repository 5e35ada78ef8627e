"""Each node is held to its own objects: the shipped RBAC and admission policies on a real API server."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import pytest

from support.api_client import APPLY, JSON, MERGE_PATCH, Answer, ApiClient
from support.chart_cluster import ChartCluster, chart_cluster
from support.node_objects import (
    ASSIGNMENTS,
    EDGE_NODES,
    LEASES,
    NODES,
    assignment,
    condition,
    edge_node,
    lease,
    node,
)

BOUND: Final = "bound to node n1"
UNBOUND: Final = "not bound to a node"
OPERATOR: Final = "operator"

INVENTORY: Final = "inventory.edgewright.dev/architecture"
READY: Final = condition("Ready")
REACHABLE: Final = condition("Reachable")
LABELS: Final = {"site-class": "store", INVENTORY: "amd64"}


@dataclass(frozen=True, slots=True)
class Case:
    """One request and what is to come of it."""

    id: str
    method: str
    path: str
    body: JSON | None = None
    who: str = BOUND
    refused: str = ""
    """A part of the message of the refusal; empty when the request is to succeed."""

    content: str = MERGE_PATCH
    """The content type of a PATCH."""


def _labels(**changes: str | None) -> JSON:
    return {"metadata": {"labels": changes}}


def _conditions(*conditions: JSON) -> JSON:
    return {"status": {"conditions": list(conditions)}}


OWN_NODE, OTHER_NODE, NEW_NODE = f"{EDGE_NODES}/n1", f"{EDGE_NODES}/n2", f"{EDGE_NODES}/n3"
OWNER: Final = {"apiVersion": "v1", "kind": "Node", "name": "n2", "uid": "1"}
NO_NODE, OTHER, RBAC = "names no node", "objects of its own name only", "cannot"

CASES: Final = (
    # Registration: EdgeNode itself.
    Case("create-own", "POST", EDGE_NODES, edge_node("n1", labels={INVENTORY: "amd64"})),
    Case("create-another", "POST", EDGE_NODES, edge_node("n3"), refused="not n3"),
    Case("create-without-node", "POST", EDGE_NODES, edge_node("n1"), who=UNBOUND, refused=NO_NODE),
    Case("create-with-spec", "POST", EDGE_NODES, edge_node("n1", spec={"site": "north"}), refused="spec"),
    Case("create-with-label", "POST", EDGE_NODES, edge_node("n1", labels={"site": "x"}), refused="not site"),
    Case(
        "create-with-annotation",
        "POST",
        EDGE_NODES,
        edge_node("n1", annotations={"a": "b"}),
        refused="annotations",
    ),
    Case(
        "create-with-owner",
        "POST",
        EDGE_NODES,
        edge_node("n1", ownerReferences=[OWNER]),
        refused="ownerReferences",
    ),
    Case(
        "create-with-finalizer", "POST", EDGE_NODES, edge_node("n1", finalizers=["a/b"]), refused="finalizers"
    ),
    Case(
        "apply-own",
        "PATCH",
        f"{OWN_NODE}?fieldManager=agent&force=true",
        edge_node("n1", labels={INVENTORY: "arm64"}),
        content=APPLY,
    ),
    Case("label-inventory", "PATCH", OWN_NODE, _labels(**{INVENTORY: "arm64"})),
    Case("drop-inventory-label", "PATCH", OWN_NODE, _labels(**{INVENTORY: None})),
    Case("label-another", "PATCH", OTHER_NODE, _labels(**{INVENTORY: "arm64"}), refused=OTHER),
    Case(
        "label-without-node", "PATCH", OWN_NODE, _labels(**{INVENTORY: "arm64"}), who=UNBOUND, refused=NO_NODE
    ),
    Case("add-foreign-label", "PATCH", OWN_NODE, _labels(tier="gold"), refused="not tier"),
    Case(
        "change-foreign-label", "PATCH", OWN_NODE, _labels(**{"site-class": "hub"}), refused="not site-class"
    ),
    Case("drop-foreign-label", "PATCH", OWN_NODE, _labels(**{"site-class": None}), refused="not site-class"),
    Case(
        "label-look-alike",
        "PATCH",
        OWN_NODE,
        _labels(**{"inventory.edgewright.dev.example.com/a": "b"}),
        refused="not inventory",
    ),
    Case("change-spec", "PATCH", OWN_NODE, {"spec": {"site": "south"}}, refused="spec"),
    Case("drop-spec", "PATCH", OWN_NODE, {"spec": {"site": None}}, refused="spec"),
    Case("annotate", "PATCH", OWN_NODE, {"metadata": {"annotations": {"a": "c"}}}, refused="annotations"),
    Case("own-it", "PATCH", OWN_NODE, {"metadata": {"ownerReferences": [OWNER]}}, refused="ownerReferences"),
    Case("finalize", "PATCH", OWN_NODE, {"metadata": {"finalizers": ["a/b"]}}, refused="finalizers"),
    Case("delete-own", "DELETE", OWN_NODE, refused=RBAC),
    Case("delete-all", "DELETE", EDGE_NODES, refused=RBAC),
    # Status of EdgeNode.
    Case("report", "PATCH", f"{OWN_NODE}/status", _conditions(READY, REACHABLE)),
    Case(
        "report-without-what-is-empty",
        "PATCH",
        f"{OWN_NODE}/status",
        _conditions(READY, {k: v for k, v in REACHABLE.items() if k != "message"}),
    ),
    Case("report-of-another", "PATCH", f"{OTHER_NODE}/status", _conditions(READY, REACHABLE), refused=OTHER),
    Case(
        "report-without-node",
        "PATCH",
        f"{OWN_NODE}/status",
        _conditions(REACHABLE),
        who=UNBOUND,
        refused=NO_NODE,
    ),
    Case("drop-reachable", "PATCH", f"{OWN_NODE}/status", _conditions(READY), refused="Reachable"),
    Case("drop-status", "PATCH", f"{OWN_NODE}/status", {"status": None}, refused="Reachable"),
    Case(
        "turn-reachable",
        "PATCH",
        f"{OWN_NODE}/status",
        _conditions(condition("Reachable", "False")),
        refused="Reachable",
    ),
    Case(
        "date-reachable",
        "PATCH",
        f"{OWN_NODE}/status",
        _conditions(REACHABLE | {"lastTransitionTime": "2026-11-25T12:00:01Z"}),
        refused="Reachable",
    ),
    Case(
        "explain-reachable",
        "PATCH",
        f"{OWN_NODE}/status",
        _conditions(condition("Reachable", reason="Fine")),
        refused="Reachable",
    ),
    Case(
        "operator-turns-reachable",
        "PATCH",
        f"{OWN_NODE}/status",
        _conditions(condition("Reachable", "False")),
        who=OPERATOR,
    ),
    # NodeAssignment: only the status, only of its own.
    Case("progress", "PATCH", f"{ASSIGNMENTS}/n1/status", {"status": {"seenSerial": 1}}),
    Case(
        "progress-of-another",
        "PATCH",
        f"{ASSIGNMENTS}/n2/status",
        {"status": {"seenSerial": 9}},
        refused=OTHER,
    ),
    Case(
        "progress-without-node",
        "PATCH",
        f"{ASSIGNMENTS}/n1/status",
        {"status": {"seenSerial": 1}},
        who=UNBOUND,
        refused=NO_NODE,
    ),
    Case("read-own-assignment", "GET", f"{ASSIGNMENTS}/n1"),
    Case("assign-itself", "PATCH", f"{ASSIGNMENTS}/n1", {"spec": {"serial": 2}}, refused=RBAC),
    Case("create-assignment", "POST", ASSIGNMENTS, assignment("n3"), refused=RBAC),
    Case("delete-assignment", "DELETE", f"{ASSIGNMENTS}/n1", refused=RBAC),
    Case("operator-assigns", "PATCH", f"{ASSIGNMENTS}/n1", {"spec": {"serial": 2}}, who=OPERATOR),
    Case("operator-deletes-assignment", "DELETE", f"{ASSIGNMENTS}/n1", who=OPERATOR, refused=RBAC),
    # Heartbeats.
    Case("beat", "PATCH", f"{LEASES}/n1", {"spec": {"leaseDurationSeconds": 300}}),
    Case("beat-for-another", "PATCH", f"{LEASES}/n2", {"spec": {"leaseDurationSeconds": 300}}, refused=OTHER),
    Case("first-beat-for-another", "POST", LEASES, lease("n3"), refused="not n3"),
    Case(
        "beat-without-node",
        "PATCH",
        f"{LEASES}/n1",
        {"spec": {"leaseDurationSeconds": 300}},
        who=UNBOUND,
        refused=NO_NODE,
    ),
    Case(
        "beat-elsewhere", "POST", LEASES.replace("edgewright-nodes", "kube-system"), lease("n1"), refused=RBAC
    ),
    Case("stop-a-heart", "DELETE", f"{LEASES}/n1", refused=RBAC),
    Case("list-heartbeats", "GET", LEASES, refused=RBAC),
    # What is none of a node's business.
    Case("read-models", "GET", f"{EDGE_NODES.replace('edgenodes', 'edgemodels')}", refused=RBAC),
    Case("read-secrets", "GET", "/api/v1/secrets", refused=RBAC),
    Case("read-nodes", "GET", NODES, refused=RBAC),
)

# The same account with every verb on every resource: the policies hold without RBAC's help.
WITH_FULL_POWERS: Final = (
    Case("delete-own", "DELETE", OWN_NODE, refused="a node deletes nothing"),
    Case("delete-another", "DELETE", OTHER_NODE, refused="a node deletes nothing"),
    Case("delete-all", "DELETE", EDGE_NODES, refused="a node deletes nothing"),
    Case("delete-assignment", "DELETE", f"{ASSIGNMENTS}/n1", refused="a node deletes nothing"),
    Case("stop-a-heart", "DELETE", f"{LEASES}/n1", refused="a node deletes nothing"),
    Case("assign-itself", "PATCH", f"{ASSIGNMENTS}/n1", {"spec": {"serial": 2}}, refused="the operator's"),
    Case(
        "beat-elsewhere",
        "POST",
        LEASES.replace("edgewright-nodes", "default"),
        lease("n1") | {"metadata": {"name": "n1"}},
        refused="edgewright-nodes",
    ),
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChartCluster]:
    with chart_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="module")
def callers(cluster: ChartCluster) -> Mapping[str, ApiClient]:
    """Return the clients by who calls, once the policies are in force."""
    nodes = {name: cluster.admin.must("POST", NODES, node(name)) for name in ("n1", "n2")}
    found = {
        BOUND: cluster.account("edgewright-node", node=nodes["n1"]),
        UNBOUND: cluster.account("edgewright-node"),
        OPERATOR: cluster.account("edgewright-operator"),
    }
    _begin(cluster.admin, "n1")
    _until_in_force(found[BOUND])
    return found


def _until_in_force(client: ApiClient) -> None:
    """The API server compiles new policies in the background: wait until each of them has refused something."""
    probes = (
        ("POST", EDGE_NODES, edge_node("n3")),
        ("PATCH", OWN_NODE, {"spec": {"site": "south"}}),
        ("PATCH", f"{OWN_NODE}/status", {"status": None}),
    )
    deadline = time.monotonic() + 30
    for method, path, body in probes:
        content = MERGE_PATCH if method == "PATCH" else ""
        while client.call(method, f"{path}?dryRun=All", body, content=content).code != 403:
            assert time.monotonic() < deadline, "the admission policies are not in force after 30 s"
            time.sleep(0.1)


@pytest.fixture
def fleet(cluster: ChartCluster) -> None:
    """Set the objects of the nodes n1 and n2 back to where every case begins."""
    for name in ("n1", "n2"):
        _begin(cluster.admin, name)


def _begin(client: ApiClient, name: str) -> None:
    for path in (f"{EDGE_NODES}/{name}", f"{ASSIGNMENTS}/{name}", f"{LEASES}/{name}"):
        client.call("DELETE", path)
    begin = edge_node(name, spec={"site": "north"}, labels=LABELS, annotations={"a": "b"})
    client.must("POST", EDGE_NODES, begin)
    client.must("PATCH", f"{EDGE_NODES}/{name}/status", _conditions(REACHABLE), content=MERGE_PATCH)
    client.must("POST", ASSIGNMENTS, assignment(name))
    client.must("POST", LEASES, lease(name))


def _ask(case: Case, client: ApiClient) -> Answer:
    return client.call(
        case.method, case.path, case.body, content=case.content if case.method == "PATCH" else ""
    )


def _check(case: Case, answer: Answer) -> None:
    if case.refused:
        assert (answer.code, case.refused in answer.message) == (403, True), (answer.code, answer.message)
    else:
        assert answer.code < 300, (answer.code, answer.message)


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_the_shipped_rules(case: Case, cluster: ChartCluster, callers: Mapping[str, ApiClient]) -> None:
    if case.method == "POST" and case.path == EDGE_NODES:
        cluster.admin.must("DELETE", OWN_NODE)  # creating is about a node that is not there yet
    _check(case, _ask(case, callers[case.who]))


@pytest.fixture
def full_powers(cluster: ChartCluster) -> Iterator[None]:
    path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    account = {"kind": "ServiceAccount", "name": "edgewright-node", "namespace": "edgewright-system"}
    body = {
        "metadata": {"name": "too-much"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [account],
    }
    cluster.admin.must("POST", path, body)
    yield
    cluster.admin.must("DELETE", f"{path}/too-much")


@pytest.mark.usefixtures("fleet", "full_powers")
@pytest.mark.parametrize("case", WITH_FULL_POWERS, ids=lambda c: c.id)
def test_the_policies_alone(case: Case, callers: Mapping[str, ApiClient]) -> None:
    deadline = time.monotonic() + 10
    while (answer := _ask(case, callers[case.who])).code == 403 and "cannot" in answer.message:
        assert time.monotonic() < deadline, "the binding is not in force"  # RBAC reads it from a cache
        time.sleep(0.05)
    _check(case, answer)


@pytest.mark.usefixtures("fleet")
def test_a_status_write_leaves_metadata_alone(
    cluster: ChartCluster, callers: Mapping[str, ApiClient]
) -> None:
    """The registration policy needs no status rule: the API server ignores metadata there."""
    body = _conditions(REACHABLE) | {"metadata": {"labels": {"tier": "gold"}, "annotations": {"a": "c"}}}
    callers[BOUND].must("PATCH", f"{OWN_NODE}/status", body, content=MERGE_PATCH)
    metadata = cluster.admin.must("GET", OWN_NODE)["metadata"]
    assert (metadata["labels"], metadata["annotations"]) == (LABELS, {"a": "b"})


@pytest.mark.usefixtures("fleet", "callers")
def test_a_gateway_token_opens_nothing_here(cluster: ChartCluster) -> None:
    n1 = cluster.admin.must("GET", f"{NODES}/n1")
    holder = cluster.account("edgewright-node", node=n1, audience="edgewright")
    assert holder.call("GET", f"{ASSIGNMENTS}/n1").code == 401


def test_a_deleted_node_takes_its_tokens_along(cluster: ChartCluster) -> None:
    """The API server remembers an accepted token for ten seconds."""
    lost = cluster.admin.must("POST", NODES, node("lost"))
    thief = cluster.account("edgewright-node", node=lost)
    assert thief.call("GET", ASSIGNMENTS).code == 200
    cluster.admin.must("DELETE", f"{NODES}/lost")
    deadline = time.monotonic() + 20
    while thief.call("GET", ASSIGNMENTS).code != 401:
        assert time.monotonic() < deadline, "the token still opens the door"
        time.sleep(0.2)
