"""Tiny real artifacts for tests of the node: an ONNX classifier, golden vectors and a manifest that fit.

The classifier is one MatMul and one Add, ``logits = image @ weights + bias``, so that a test knows every
right answer without a runtime (``Artifact.expected``).
"""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgewright_node import slots

FloatArray = npt.NDArray[np.float32]

SAMPLES = 16
FILES = {
    slots.MODEL_FILE: "application/vnd.cncf.model.weight.v1.raw",
    slots.GOLDEN_FILE: "application/vnd.edgewright.golden.v1+npz",
    slots.REPORT_FILE: "application/vnd.edgewright.report.v1+json",
}


@dataclass(frozen=True, slots=True)
class Artifact:
    """One built variant: the files of its slot by name, and what it should answer."""

    files: Mapping[str, bytes]
    weights: FloatArray
    bias: FloatArray

    @property
    def manifest_digest(self) -> str:
        return digest_of(self.files[slots.MANIFEST_FILE])

    @property
    def model_digest(self) -> str:
        return digest_of(self.files[slots.MODEL_FILE])

    @property
    def blobs(self) -> Mapping[str, bytes]:
        """Every file by its digest, the manifest included: what a store or a gateway hands out."""
        return {digest_of(content): content for content in self.files.values()}

    def expected(self, images: FloatArray) -> FloatArray:
        return images @ self.weights + self.bias


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def make_artifact(
    *,
    seed: int = 0,
    features: int = 8,
    classes: int = 4,
    version: str = "1.0.0",
    batch: int | None = None,
    annotations: Mapping[str, str] | None = None,
    policy: Mapping[str, Any] | None = None,
    replace: Mapping[str, bytes] | None = None,
) -> Artifact:
    """Build an artifact whose weights follow from ``seed``; ``replace`` swaps files before they are digested.

    ``batch`` fixes the first axis; ``policy`` overrides members of the golden policy. Replacing model.onnx
    by another seed's gives what a builder gone wrong would ship: right digests, wrong model.
    """
    random = np.random.default_rng(seed)
    weights = random.normal(size=(features, classes)).astype(np.float32)
    bias = random.normal(size=classes).astype(np.float32)
    images = random.normal(size=(SAMPLES, features)).astype(np.float32)
    files = {
        slots.MODEL_FILE: make_model(weights, bias, batch=batch),
        slots.GOLDEN_FILE: make_golden(images, images @ weights + bias, policy or {}),
        slots.REPORT_FILE: canonical({"version": 1, "metrics": []}),
        slots.CONFIG_FILE: canonical({"descriptor": {"name": "digits", "version": version}}),
        **(replace or {}),
    }
    facts = {"dev.edgewright.model": "digits", "dev.edgewright.version": version}
    manifest = make_manifest(files, {**facts, "dev.edgewright.target": "x86-64-avx2", **(annotations or {})})
    return Artifact({slots.MANIFEST_FILE: manifest, **files}, weights, bias)


def make_model(weights: FloatArray, bias: FloatArray, *, batch: int | None = None) -> bytes:
    """Return the ONNX bytes of ``logits = image @ weights + bias``."""
    first: int | str = "batch" if batch is None else batch
    features, classes = weights.shape
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["image", "weights"], ["product"]),
            helper.make_node("Add", ["product", "bias"], ["logits"]),
        ],
        "classifier",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [first, features])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [first, classes])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def make_golden(images: FloatArray, logits: FloatArray, policy: Mapping[str, Any]) -> bytes:
    """Return golden.npz: the source and the artifact both answer ``logits``."""
    rules = {
        "version": 1,
        "samples": len(images),
        "output": "logits",
        "sourceMaxDisagreements": 0,
        "sourceMaxNrmse": 0.05,
        "artifactAtol": 1e-5,
        "artifactRtol": 1e-4,
        **policy,
    }
    arrays: dict[str, Any] = {
        "input:image": images,
        "source:logits": logits,
        "artifact:logits": logits,
        "policy": np.array(canonical(rules)),
    }
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def make_manifest(files: Mapping[str, bytes], annotations: Mapping[str, str]) -> bytes:
    """Return the canonical bytes of the OCI image manifest over ``files``."""
    layers = [
        descriptor(media_type, files[name]) | {"annotations": {"org.cncf.model.filepath": name}}
        for name, media_type in FILES.items()
    ]
    return canonical(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.cncf.model.manifest.v1+json",
            "config": descriptor("application/vnd.cncf.model.config.v1+json", files[slots.CONFIG_FILE]),
            "layers": layers,
            "annotations": dict(annotations),
        }
    )


def descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def lay_out(slot: Path, artifact: Artifact) -> None:
    """Write a complete slot, as the agent does after a download."""
    slots.clear_slot(slot)
    for name, content in artifact.files.items():
        (slot / name).write_bytes(content)
    slots.mark_complete(slot)


def make_deployment(root: Path, artifact: Artifact, *, served_name: str = "digits") -> slots.Deployment:
    """Lay out a deployment that has ``artifact`` active in slot-a and wants nothing else."""
    where = slots.deployment(root, "vision", served_name)
    slots.create(where)
    lay_out(where.slot(slots.SLOT_A), artifact)
    slots.activate(where, slots.SLOT_A)
    active = slots.SlotRef(slot="slot-a", manifest_digest=artifact.manifest_digest)
    slots.write_want(where, slots.Want(served_name=served_name, active=active))
    return where
