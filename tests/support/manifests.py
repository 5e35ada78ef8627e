"""Manifests of every kind with defaults, for tests on a real API server."""

from typing import Any

from edgewright_api import API_VERSION
from support.api_builders import digest, revision_spec


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        inner = merged.get(key)
        merged[key] = _merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def manifest(kind: str, name: str, namespace: str | None = None, **spec: Any) -> dict[str, Any]:
    """Return an object of ``kind`` that the API server accepts, with ``spec`` merged over the defaults."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": metadata,
        "spec": _merge(_SPECS[kind], spec),
    }


_SPECS: dict[str, dict[str, Any]] = {
    "EdgeModel": {
        "version": "1.0.0",
        "source": {"uri": "s3://edgewright/models/digits.onnx"},
        "data": {
            "calibration": {"uri": "s3://edgewright/data/calibration.npz"},
            "acceptance": {"uri": "s3://edgewright/data/acceptance.npz"},
        },
        "metrics": [{"name": "top1", "evaluator": "Top1"}],
        "requirements": {"accuracy": [{"metric": "top1", "maxDropPercentagePoints": "2.0"}]},
        "targets": [{"name": "x86-64-avx2"}],
    },
    "ModelRevision": revision_spec().to_wire(),
    "EdgeDeployment": {
        "model": {"name": "digits", "version": "1.0.0"},
        "nodeSelector": {"matchLabels": {"site-class": "store"}},
        "serving": {"modelName": "digits"},
    },
    "EdgeTarget": {
        "match": {"architectures": ["amd64"]},
        "runtime": "OnnxRuntime",
        "isa": "X86Avx2",
    },
    "EdgeNode": {},
    "NodeAssignment": {
        "term": 1,
        "serial": 1,
        "assignments": [
            {
                "deployment": {"namespace": "vision", "name": "digits", "uid": "u"},
                "servedName": "digits",
                "revision": "digits-0123456789",
                "version": "1.0.0",
                "target": "x86-64-avx2",
                "manifestDigest": digest("d"),
                "state": "Run",
                "deletionPolicy": "Remove",
            }
        ],
    },
}
