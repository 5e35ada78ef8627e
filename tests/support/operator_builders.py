"""What tests of the operator say in few words: user kinds as manifests, nodes and entries as values."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import json as msgjson

from edgewright_api.edgedeployment import EdgeDeployment
from edgewright_api.edgemodel import EdgeModel
from edgewright_api.edgetarget import EdgeTarget
from edgewright_api.modelrevision import ModelRevision, ResolvedContent, ResolvedData
from edgewright_api.resolving import Pins, content, revision_name
from edgewright_operator.planning.deployments import DeploymentSeen
from edgewright_operator.planning.objects import (
    AssignmentSpec,
    AssignmentStatus,
    DeploymentRef,
    Entry,
    EntryStatus,
    Inventory,
    Meta,
    NodeAssignment,
    RuntimeView,
)
from edgewright_operator.planning.rollout import NodeView
from support.api_builders import digest, target

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
AVX2 = Inventory("amd64", ("avx2", "fma"), (RuntimeView("OnnxRuntime", "1.32.0"),))
VNNI = Inventory("amd64", ("avx2", "fma", "avx512f", "avx512_vnni"), AVX2.runtimes)


def model_manifest(name: str = "digits", namespace: str = "vision", **spec: Any) -> dict[str, Any]:
    """Return an EdgeModel as a user writes it; ``spec`` replaces top-level fields."""
    return {
        "apiVersion": "edgewright.dev/v1alpha1",
        "kind": "EdgeModel",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "version": "1.0.0",
            "source": {"uri": "s3://edgewright/models/digits.onnx"},
            "data": {
                "calibration": {"uri": "s3://edgewright/data/calibration.npz"},
                "acceptance": {"uri": "s3://edgewright/data/acceptance.npz"},
            },
            "metrics": [{"name": "top1", "evaluator": "Top1"}],
            "requirements": {"accuracy": [{"metric": "top1", "maxDropPercentagePoints": "3.0"}]},
            "targets": [{"name": "x86-64-avx2"}],
        }
        | spec,
    }


def deployment_manifest(name: str = "digits", namespace: str = "vision", **spec: Any) -> dict[str, Any]:
    """Return an EdgeDeployment as a user writes it; ``spec`` replaces top-level fields."""
    return {
        "apiVersion": "edgewright.dev/v1alpha1",
        "kind": "EdgeDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": {"name": "digits", "version": "1.0.0"},
            "nodeSelector": {"matchLabels": {}},
            "serving": {"modelName": "digits"},
            "rollout": {"maxUnavailable": 1},
        }
        | spec,
    }


def _live(manifest: Mapping[str, Any], **metadata: Any) -> dict[str, Any]:
    meta = {"uid": f"uid-{manifest['metadata']['name']}", "generation": 1, "resourceVersion": "1"}
    meta |= {"creationTimestamp": "2026-11-25T10:00:00Z"} | manifest["metadata"] | metadata
    return {**manifest, "metadata": meta, "status": manifest.get("status", {"observedGeneration": -1})}


def edge_model(*, status: Mapping[str, Any] | None = None, meta: Any = None, **spec: Any) -> EdgeModel:
    """Return an EdgeModel as the API server holds it."""
    body = _live(model_manifest(**spec), **(meta or {}))
    return EdgeModel.parse(body | ({"status": dict(status)} if status else {}))


def edge_deployment(
    name: str = "digits", *, status: Mapping[str, Any] | None = None, meta: Any = None, **spec: Any
) -> EdgeDeployment:
    """Return an EdgeDeployment as the API server holds it."""
    body = _live(deployment_manifest(name, **spec), **(meta or {}))
    return EdgeDeployment.parse(body | ({"status": dict(status)} if status else {}))


def edge_target(name: str = "x86-64-avx2", isa: str = "X86Avx2", **changes: Any) -> EdgeTarget:
    """Return an EdgeTarget of the catalogue's shape."""
    return EdgeTarget.parse({"metadata": {"name": name}, "spec": target(name, isa, **changes)["target"]})


def pins(source: str = "a", data: str = "b") -> Pins:
    """Return what the addresses of :func:`edge_model` resolve to; the letters make the digests."""

    def found(uri: str, letter: str) -> ResolvedContent:
        return ResolvedContent(uri=f"s3://edgewright/{uri}", digest=digest(letter), size_bytes=10)

    resolved = ResolvedData(
        calibration=found("data/calibration.npz", data), acceptance=found("data/acceptance.npz", "c")
    )
    return Pins(found("models/digits.onnx", source), resolved)


def condition(kind: str, status: str, reason: str = "Complete") -> dict[str, Any]:
    """Return a condition on the wire."""
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": "",
        "observedGeneration": 1,
        "lastTransitionTime": "2026-11-25T11:00:00+00:00",
    }


def result(name: str = "x86-64-avx2", letter: str = "1", **changes: Any) -> dict[str, Any]:
    """Return an accepted verdict, whose manifest's digest is made of ``letter``."""
    accepted = {"name": name, "verdict": "Accepted", "reason": "Accepted", "manifestDigest": digest(letter)}
    return accepted | changes


def revision(
    model: EdgeModel | None = None,
    *,
    created: str = "2026-11-25T10:30:00Z",
    ready: bool = True,
    targets: Mapping[str, EdgeTarget] | None = None,
    found: Pins | None = None,
    results: list[dict[str, Any]] | None = None,
    reason: str = "Complete",
) -> ModelRevision:
    """Return the revision of ``model``, settled: ready, or stalled for ``reason``."""
    model = model or edge_model()
    spec = content(model, targets or {"x86-64-avx2": edge_target()}, found or pins())
    said = {True: "True", False: "False"}
    conditions = [condition("Ready", said[ready], reason), condition("Stalled", said[not ready], reason)]
    return ModelRevision.parse(
        {
            "metadata": {
                "name": revision_name(spec),
                "namespace": "vision",
                "uid": "uid-revision",
                "generation": 1,
                "resourceVersion": "1",
                "creationTimestamp": created,
            },
            "spec": spec.to_wire(),
            "status": {
                "observedGeneration": 1,
                "conditions": conditions,
                "targets": results if results is not None else [result()],
            },
        }
    )


def ref(name: str = "digits", uid: str | None = None, namespace: str = "vision") -> DeploymentRef:
    return DeploymentRef(namespace, name, uid or f"uid-{name}")


def entry(name: str = "digits", letter: str = "1", *, uid: str | None = None, **changes: Any) -> Entry:
    """Return an entry to run the artifact whose digest is made of ``letter``."""
    fields: dict[str, Any] = {
        "deployment": ref(name, uid),
        "served_name": name,
        "revision": "digits-0123456789",
        "version": "1.0.0",
        "target": "x86-64-avx2",
        "manifest_digest": digest(letter),
        "state": "Run",
        "deletion_policy": "Remove",
    }
    return Entry(**(fields | changes))


def said(name: str = "digits", letter: str = "1", state: str = "Confirmed", **changes: Any) -> EntryStatus:
    """Return what a node says of an entry."""
    running = digest(letter) if state == "Confirmed" else None
    fields: dict[str, Any] = {
        "deployment": ref(name),
        "state": state,
        "wanted_digest": digest(letter),
        "running_digest": running,
    }
    return EntryStatus(**(fields | changes))


def assignment(
    *entries: Entry, node: str = "node-a", statuses: tuple[EntryStatus, ...] = (), **spec: Any
) -> NodeAssignment:
    """Return a node's assignment with what the node says of it."""
    seen = spec.pop("seen_serial", 1)
    written = AssignmentSpec(assignments=entries, **({"term": 1, "serial": 1} | spec))
    return NodeAssignment(Meta(name=node, resource_version="7"), written, AssignmentStatus(seen, statuses))


def view(name: str = "node-a", **changes: Any) -> NodeView:
    """Return a node as a deployment sees it: online, an AVX2 machine, nothing assigned."""
    fields: dict[str, Any] = {"labels": {}, "labels_known": True, "inventory": AVX2, "reachable": True}
    return NodeView(name=name, **(fields | changes))


def seen(*nodes: NodeView, deployment: EdgeDeployment | None = None, **changes: Any) -> DeploymentSeen:
    """Return what a deployment's decision looks at: a Ready revision, and these nodes."""
    fields: dict[str, Any] = {"model_exists": True, "ready_revision": "", "revisions": (revision(),)}
    return DeploymentSeen(deployment=deployment or edge_deployment(), nodes=nodes, **(fields | changes))


def wire(value: Any) -> bytes:
    """Return the JSON of a manifest or a struct."""
    return msgjson.encode(value)
