"""Apply a model, have it served: the main job on real parts, with a small network fitted to real digits."""

import json
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import yaml

from edgewright_lab.lab import Lab
from edgewright_lab.nodes import NodeHandle
from support.model_builders import conv_model, digits, fitted_weights, write_data_set

NAMESPACE = "main-path"
SETTLE_SECONDS = 3.0


@pytest.fixture(scope="module")
def world(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The lab with two versions of the source, the data sets, and a namespace; nothing is applied yet."""
    directory = tmp_path_factory.mktemp("main-path")
    _, calibration, acceptance = digits()
    for version, shift in (("1.0.0", 0.0), ("1.1.0", 0.01)):
        weights = fitted_weights()
        source = directory / f"{version}.onnx"
        moved = weights | {"b3": (weights["b3"] + np.float32(shift)).astype(np.float32)}
        source.write_bytes(conv_model(moved).SerializeToString())
        lab.upload(source, f"{NAMESPACE}/{version}.onnx")
    images = write_data_set(directory / "calibration.npz", calibration.images)
    lab.upload(images, f"{NAMESPACE}/calibration.npz")
    labelled = write_data_set(directory / "acceptance.npz", acceptance.images, acceptance.labels)
    lab.upload(labelled, f"{NAMESPACE}/acceptance.npz")
    lab.kubectl("create", "namespace", NAMESPACE)
    yield lab
    lab.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def model(version: str, bucket: str) -> dict[str, Any]:
    address = f"s3://{bucket}/{NAMESPACE}"
    return {
        "apiVersion": "edgewright.dev/v1alpha1",
        "kind": "EdgeModel",
        "metadata": {"name": "digits", "namespace": NAMESPACE},
        "spec": {
            "version": version,
            "source": {"uri": f"{address}/{version}.onnx"},
            "data": {
                "calibration": {"uri": f"{address}/calibration.npz"},
                "acceptance": {"uri": f"{address}/acceptance.npz"},
            },
            "metrics": [{"name": "top1", "evaluator": "Top1"}],
            "requirements": {
                "accuracy": [{"metric": "top1", "maxDropPercentagePoints": "2.0", "confidencePercent": 95}],
                "noSlowerThanBaseline": True,
            },
            "objectives": ["Latency", "Size"],
            "targets": [{"name": "x86-64-avx2"}, {"name": "x86-64-vnni"}],
        },
    }


def deployment(version: str) -> dict[str, Any]:
    return {
        "apiVersion": "edgewright.dev/v1alpha1",
        "kind": "EdgeDeployment",
        "metadata": {"name": "digits", "namespace": NAMESPACE},
        "spec": {
            "model": {"name": "digits", "version": version},
            "nodeSelector": {"matchLabels": {"inventory.edgewright.dev/architecture": "amd64"}},
            "serving": {"modelName": "digits"},
            "rollout": {"maxUnavailable": 1},
        },
    }


def confirmed(lab: Lab, version: str) -> dict[str, str]:
    """Wait until every node is confirmed, and return the digest that each proved by an inference."""

    def complete(seen: dict[str, Any]) -> bool:
        status = seen["status"]
        current = status["observedGeneration"] == seen["metadata"]["generation"]
        conditions = {c["type"]: c["status"] for c in status.get("conditions", [])}
        return current and status.get("version") == version and conditions.get("Complete") == "True"

    lab.wait("edgedeployment", "digits", NAMESPACE, until=complete, timeout=120)
    found: dict[str, str] = {}
    for name in lab.nodes:
        seen = lab.wait("nodeassignment", name, until=lambda o: bool(o["status"].get("assignments")))
        (entry,) = (e for e in seen["status"]["assignments"] if e["deployment"]["namespace"] == NAMESPACE)
        assert (entry["state"], entry["version"]) == ("Confirmed", version)
        found[name] = entry["runningDigest"]
    return found


def answer(node: NodeHandle, index: int) -> int:
    """Return the class that a node gives the acceptance image at ``index``."""
    data = digits()[2].images[index].ravel().tolist()
    tensor = {"name": "image", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": data}
    request = urllib.request.Request(
        f"{node.http_url}/v2/models/digits/infer",
        data=json.dumps({"inputs": [tensor]}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=5) as response:
        outputs = json.load(response)["outputs"]
    return int(np.argmax(outputs[0]["data"]))


def apply(lab: Lab, *objects: dict[str, Any]) -> None:
    lab.kubectl.apply(yaml.safe_dump_all(objects))


def test_a_model_is_built_rolled_out_and_answers(world: Lab) -> None:
    apply(world, model("1.0.0", world.store.bucket), deployment("1.0.0"))
    built = world.wait("edgemodel", "digits", NAMESPACE, until="Ready", timeout=180)
    assert {t["name"]: t["verdict"] for t in built["status"]["targets"]} == {
        "x86-64-avx2": "Accepted",
        "x86-64-vnni": "Accepted",
    }
    confirmed(world, "1.0.0")
    right = [answer(node, i) == digits()[2].labels[i] for node in world.nodes.values() for i in range(50)]
    assert np.mean(right) > 0.85


def test_a_new_version_replaces_the_old_and_goes_back(world: Lab) -> None:
    before = confirmed(world, "1.0.0")
    apply(world, model("1.1.0", world.store.bucket), deployment("1.1.0"))
    after = confirmed(world, "1.1.0")
    assert all(before[name] != after[name] for name in world.nodes)
    apply(world, deployment("1.0.0"))
    assert confirmed(world, "1.0.0") == before


def test_a_restarted_server_serves_again_without_agent_and_operator(world: Lab) -> None:
    confirmed(world, "1.0.0")
    node = world.nodes["edge-1"]
    world.operator.kept.hold(kill=True)
    node.agent.hold(kill=True)
    try:
        pid = node.server.pid
        node.server.kill()
        deadline = time.monotonic() + 30
        while node.server.pid == pid or not _serves(node):
            assert time.monotonic() < deadline, node.server.process.log_tail()
            time.sleep(0.1)
        assert answer(node, 0) == digits()[2].labels[0]
    finally:
        node.agent.release()
        world.operator.kept.release()


def _serves(node: NodeHandle) -> bool:
    try:
        answer(node, 0)
    except OSError:
        return False
    return True
