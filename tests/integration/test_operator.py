"""The operator on a real API server, under the chart's roles: order of arrival, refusals, names, removal, restarts."""

import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from edgewright_lab.lab import Lab
from edgewright_lab.progress import to_stderr
from edgewright_lab.settings import LabSettings
from support.model_builders import conv_model, digits, fitted_weights, write_data_set
from support.operator_builders import deployment_manifest, model_manifest

REMOVAL_SECONDS = 4
FAST = {
    "EDGEWRIGHT_OPERATOR_REMOVAL_DELAY_SECONDS": str(REMOVAL_SECONDS),
    "EDGEWRIGHT_OPERATOR_PROGRESS_DEADLINE_SECONDS": "3",
}
Namespace = Callable[[Lab], str]
Json = dict[str, Any]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of its own, where what waits waits seconds, not minutes; with a model and its data uploaded."""
    directory = tmp_path_factory.mktemp("operator")
    _, calibration, acceptance = digits()
    with Lab(LabSettings.from_env(nodes=2, operator_env=FAST), report=to_stderr()) as lab:
        source = directory / "digits.onnx"
        source.write_bytes(conv_model(fitted_weights()).SerializeToString())
        lab.upload(source, "in/digits.onnx")
        lab.upload(write_data_set(directory / "c.npz", calibration.images), "in/calibration.npz")
        labelled = write_data_set(directory / "a.npz", acceptance.images, acceptance.labels)
        lab.upload(labelled, "in/acceptance.npz")
        yield lab


def model(lab: Lab, namespace: str, source: str = "in/digits.onnx", **spec: Any) -> Json:
    address = f"s3://{lab.store.bucket}"
    data = {name: {"uri": f"{address}/in/{name}.npz"} for name in ("calibration", "acceptance")}
    changes: Json = {"source": {"uri": f"{address}/{source}"}, "data": data}
    changes["targets"] = [{"name": "x86-64-avx2"}]
    return model_manifest(namespace=namespace, **(changes | spec))


def apply(lab: Lab, *objects: Json) -> None:
    lab.kubectl.apply("\n---\n".join(json.dumps(o) for o in objects))


def told(kind: str, status: str, reason: str) -> Callable[[Json], bool]:
    """Return whether an object says so of its current generation."""

    def holds(seen: Json) -> bool:
        said = seen.get("status", {})
        return said.get("observedGeneration") == seen["metadata"]["generation"] and any(
            (c["type"], c["status"], c["reason"]) == (kind, status, reason)
            for c in said.get("conditions", [])
        )

    return holds


def entries(lab: Lab, node: str, namespace: str) -> dict[str, str]:
    """Return the state of a namespace's entries in a node's assignment, by deployment."""
    seen = json.loads(lab.kubectl("get", "nodeassignment", node, "-o", "json"))
    found = [e for e in seen["spec"]["assignments"] if e["deployment"]["namespace"] == namespace]
    return {e["deployment"]["name"]: e["state"] for e in found}


def eventually(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.2)


def roll_out(lab: Lab, namespace: str, name: str = "digits", **spec: Any) -> None:
    """Apply model and deployment, and wait until every node has confirmed."""
    apply(lab, model(lab, namespace), deployment_manifest(name, namespace, **spec))
    lab.wait("edgedeployment", name, namespace, until=told("Complete", "True", "Complete"), timeout=120)


def test_things_may_arrive_in_any_order(fleet: Lab, fresh_namespace: Namespace) -> None:
    namespace = fresh_namespace(fleet)
    apply(fleet, deployment_manifest(namespace=namespace, nodeSelector={"matchLabels": {"no": "node"}}))
    missing = told("Reconciling", "True", "ModelNotFound")
    fleet.wait("edgedeployment", "digits", namespace, until=missing, timeout=20)
    fleet.wait(
        "edgedeployment", "digits", namespace, until=told("Stalled", "True", "ModelNotFound"), timeout=20
    )
    apply(fleet, model(fleet, namespace, targets=[{"name": "x86-64-avx2"}, {"name": "not-yet"}]))
    fleet.wait("edgemodel", "digits", namespace, until=told("Stalled", "True", "TargetNotFound"), timeout=20)
    avx2 = json.loads(fleet.kubectl("get", "edgetarget", "x86-64-avx2", "-o", "json"))
    apply(fleet, {**avx2, "metadata": {"name": "not-yet"}})
    try:
        fleet.wait("edgemodel", "digits", namespace, until=told("Ready", "True", "Complete"), timeout=120)
        fleet.wait(
            "edgedeployment", "digits", namespace, until=told("Ready", "True", "NoMatchingNodes"), timeout=20
        )
    finally:
        fleet.kubectl("delete", "edgetarget", "not-yet")


def test_a_source_may_be_uploaded_later_but_not_changed_under_its_version(
    fleet: Lab, fresh_namespace: Namespace, tmp_path: Any
) -> None:
    namespace = fresh_namespace(fleet)
    apply(fleet, model(fleet, namespace, source=f"{namespace}.onnx"))
    fleet.wait(
        "edgemodel", "digits", namespace, until=told("Reconciling", "True", "SourceNotReadable"), timeout=20
    )
    source = tmp_path / "digits.onnx"
    weights = fitted_weights()
    source.write_bytes(conv_model(weights).SerializeToString())
    fleet.upload(source, f"{namespace}.onnx")
    fleet.wait("edgemodel", "digits", namespace, until=told("Ready", "True", "Complete"), timeout=120)

    source.write_bytes(conv_model(weights | {"b3": weights["b3"] * 2}).SerializeToString())
    fleet.upload(source, f"{namespace}.onnx")
    apply(fleet, model(fleet, namespace, source=f"{namespace}.onnx", objectives=["Size"]))
    changed = told("Stalled", "True", "VersionContentChanged")
    seen = fleet.wait("edgemodel", "digits", namespace, until=changed, timeout=30)
    assert seen["status"]["revision"] == seen["status"]["readyRevision"] != ""
    revisions = json.loads(fleet.kubectl("get", "modelrevisions", "-n", namespace, "-o", "json"))["items"]
    assert len(revisions) == 1
    apply(fleet, model(fleet, namespace, source=f"{namespace}.onnx", version="1.0.1"))
    fleet.wait("edgemodel", "digits", namespace, until=told("Ready", "True", "Complete"), timeout=120)


def test_a_requirement_that_can_not_be_shown_stalls_the_model(fleet: Lab, fresh_namespace: Namespace) -> None:
    namespace = fresh_namespace(fleet)
    accuracy = {"accuracy": [{"metric": "top1", "maxDropPercentagePoints": "0.3"}]}
    apply(fleet, model(fleet, namespace, requirements=accuracy), deployment_manifest(namespace=namespace))
    seen = fleet.wait(
        "edgemodel", "digits", namespace, until=told("Stalled", "True", "Underpowered"), timeout=120
    )
    assert "need n ≥" in seen["status"]["targets"][0]["message"]
    fleet.wait(
        "edgedeployment", "digits", namespace, until=told("Stalled", "True", "RevisionNotReady"), timeout=20
    )
    assert entries(fleet, "edge-1", namespace) == {}


def test_a_pruned_deployment_is_adopted_and_one_that_stays_away_is_removed(
    fleet: Lab, fresh_namespace: Namespace
) -> None:
    namespace = fresh_namespace(fleet)
    serving: Json = {"serving": {"modelName": namespace}}
    roll_out(fleet, namespace, **serving)
    before = json.loads(fleet.kubectl("get", "nodeassignment", "edge-1", "-o", "json"))
    fleet.kubectl("delete", "edgedeployment", "digits", "-n", namespace)
    apply(fleet, deployment_manifest(namespace=namespace, **serving))
    fleet.wait("edgedeployment", "digits", namespace, until=told("Complete", "True", "Complete"), timeout=20)
    time.sleep(REMOVAL_SECONDS + 1)
    after = json.loads(fleet.kubectl("get", "nodeassignment", "edge-1", "-o", "json"))
    assert entries(fleet, "edge-1", namespace) == {"digits": "Run"}
    confirmed_at = [a["status"]["assignments"][-1]["confirmedAt"] for a in (before, after)]
    assert confirmed_at[0] == confirmed_at[1]  # nothing restarted

    fleet.kubectl("delete", "edgemodel", "digits", "-n", namespace)
    fleet.kubectl("delete", "edgedeployment", "digits", "-n", namespace)
    assert entries(fleet, "edge-1", namespace) == {"digits": "Run"}
    for node in fleet.nodes:
        eventually(lambda node=node: entries(fleet, node, namespace) == {})  # type: ignore[misc]


def test_a_node_that_loses_its_label_serves_on_for_the_delay(fleet: Lab, fresh_namespace: Namespace) -> None:
    namespace = fresh_namespace(fleet)
    fleet.kubectl("label", "node", "edge-1", f"{namespace}=here")
    selector = {"matchLabels": {namespace: "here"}}
    roll_out(fleet, namespace, serving={"modelName": namespace}, nodeSelector=selector)
    fleet.kubectl("label", "node", "edge-1", f"{namespace}-")
    nobody = told("Ready", "True", "NoMatchingNodes")
    fleet.wait("edgedeployment", "digits", namespace, until=nobody, timeout=20)
    assert entries(fleet, "edge-1", namespace) == {"digits": "Run"}
    eventually(lambda: entries(fleet, "edge-1", namespace) == {})


def test_times_are_told_in_one_form(fleet: Lab) -> None:
    for node in json.loads(fleet.kubectl("get", "edgenodes", "-o", "json"))["items"]:
        times = {c["type"]: c["lastTransitionTime"] for c in node["status"]["conditions"]}
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", times["Reachable"])


def test_deleting_the_model_touches_no_node(fleet: Lab, fresh_namespace: Namespace) -> None:
    namespace = fresh_namespace(fleet)
    roll_out(fleet, namespace, serving={"modelName": namespace})
    fleet.kubectl("delete", "edgemodel", "digits", "-n", namespace)
    gone = told("Stalled", "True", "ModelNotFound")
    fleet.wait("edgedeployment", "digits", namespace, until=gone, timeout=60)
    assert entries(fleet, "edge-1", namespace) == {"digits": "Run"}


def test_a_served_name_belongs_to_one_deployment_until_it_is_given_up(
    fleet: Lab, fresh_namespace: Namespace
) -> None:
    namespace = fresh_namespace(fleet)
    serving = {"modelName": f"{namespace}-x"}
    roll_out(fleet, namespace, "first", serving=serving)
    apply(fleet, deployment_manifest("second", namespace, serving=serving))
    taken = told("Stalled", "True", "ServedNameTaken")
    seen = fleet.wait("edgedeployment", "second", namespace, until=taken, timeout=20)
    assert f"{namespace}/first" in seen["status"]["problems"][0]["message"]
    assert entries(fleet, "edge-1", namespace) == {"first": "Run"}
    fleet.kubectl("delete", "edgedeployment", "first", "-n", namespace)
    fleet.wait("edgedeployment", "second", namespace, until=told("Complete", "True", "Complete"), timeout=90)
    assert entries(fleet, "edge-1", namespace) == {"second": "Run"}


def test_a_restart_writes_nothing_and_the_next_change_has_a_larger_term(
    fleet: Lab, fresh_namespace: Namespace
) -> None:
    namespace = fresh_namespace(fleet)
    roll_out(fleet, namespace, serving={"modelName": namespace})
    eventually(lambda: at_rest(fleet))
    before = versions(fleet)
    fleet.operator.kept.restart()
    eventually(lambda: is_ready(fleet))
    time.sleep(3)
    assert versions(fleet) == before
    old = json.loads(fleet.kubectl("get", "nodeassignment", "edge-1", "-o", "json"))["spec"]
    fleet.kubectl("delete", "edgedeployment", "digits", "-n", namespace)
    eventually(lambda: entries(fleet, "edge-1", namespace) == {})
    new = json.loads(fleet.kubectl("get", "nodeassignment", "edge-1", "-o", "json"))["spec"]
    assert new["term"] > old["term"]
    assert new["serial"] > old["serial"]


def test_health_and_metrics_are_served(fleet: Lab) -> None:
    for path in ("healthz", "readyz"):
        with urllib.request.urlopen(f"{fleet.operator.url}/{path}", timeout=5) as answer:
            assert answer.status == 200
    with urllib.request.urlopen(f"{fleet.operator.url}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    assert 'edgewright_operator_reconciles_total{kind="EdgeNode",outcome="ok"}' in text
    assert "edgewright_operator_build_info" in text


KINDS = "edgemodels,modelrevisions,edgedeployments,edgenodes,nodeassignments"


def versions(lab: Lab) -> dict[tuple[str, str, str], str]:
    listed = json.loads(lab.kubectl("get", KINDS, "--all-namespaces", "-o", "json"))["items"]
    metas = [(o["kind"], o["metadata"]) for o in listed]
    return {(kind, m.get("namespace", ""), m["name"]): m["resourceVersion"] for kind, m in metas}


def at_rest(lab: Lab) -> bool:
    """Whether nothing is written for two seconds."""
    before = versions(lab)
    time.sleep(2)
    return versions(lab) == before


def is_ready(lab: Lab) -> bool:
    try:
        with urllib.request.urlopen(f"{lab.operator.url}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
