"""The artifact on the wire: OCI image manifests with ModelPack media types, one per target, and their index.

Source of the media types: the CNCF Model Format Specification (ModelPack), v0.0.7.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import Field

from edgewright_api.base import Digest, WireModel
from edgewright_api.canonical import canonical_json

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
ARTIFACT: Final = "application/vnd.cncf.model.manifest.v1+json"
CONFIG: Final = "application/vnd.cncf.model.config.v1+json"
WEIGHT: Final = "application/vnd.cncf.model.weight.v1.raw"
GOLDEN: Final = "application/vnd.edgewright.golden.v1+npz"
REPORT: Final = "application/vnd.edgewright.report.v1+json"
FILEPATH: Final = "org.cncf.model.filepath"

MODEL_FILE: Final = "model.onnx"
GOLDEN_FILE: Final = "golden.npz"
REPORT_FILE: Final = "report.json"
CONFIG_FILE: Final = "config.json"


class Descriptor(WireModel):
    """A reference to content: what it is, which bytes, how many."""

    media_type: str
    """mediaType of the content."""

    digest: Digest
    """digest of its bytes."""

    size: int = Field(ge=0)
    """size in bytes."""

    annotations: dict[str, str] = Field(default_factory=dict)
    """annotations of the reference."""


class ImageManifest(WireModel):
    """One artifact: its configuration and its files."""

    schema_version: int = 2
    media_type: str = MANIFEST
    artifact_type: str = ARTIFACT
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: dict[str, str] = Field(default_factory=dict)

    def file(self, path: str) -> Descriptor:
        """Return the layer that holds a file.

        Raises:
            KeyError: no layer holds it.
        """
        for layer in self.layers:
            if layer.annotations.get(FILEPATH) == path:
                return layer
        raise KeyError(path)

    def total_bytes(self) -> int:
        """Return the size of everything that a node fetches beside the manifest itself."""
        return self.config.size + sum(layer.size for layer in self.layers)


def layer(media_type: str, digest: str, size: int, path: str) -> Descriptor:
    """Return the descriptor of one file of an artifact."""
    return Descriptor(media_type=media_type, digest=digest, size=size, annotations={FILEPATH: path})


def manifest_bytes(config: Descriptor, layers: Sequence[Descriptor], annotations: Mapping[str, str]) -> bytes:
    """Return the canonical bytes of a manifest; their digest is the artifact's identity."""
    manifest = ImageManifest(config=config, layers=tuple(layers), annotations=dict(annotations))
    return canonical_json(manifest.to_wire())


def config_bytes(*, model: str, version: str, target: str, candidate: str, weight_digest: str) -> bytes:
    """Return the canonical bytes of a ModelPack configuration. It holds no time, so a rebuild gives the same."""
    document: dict[str, Any] = {
        "descriptor": {"name": model, "version": version},
        "config": {
            "format": "onnx",
            "precision": "int8" if "int8" in candidate else "fp32",
            "target": target,
            "candidate": candidate,
        },
        "modelfs": {"type": "layers", "diffIds": [weight_digest]},
    }
    return canonical_json(document)


def index_bytes(manifests: Sequence[Descriptor], annotations: Mapping[str, str]) -> bytes:
    """Return the canonical bytes of an index: one manifest per accepted target."""
    return canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "artifactType": ARTIFACT,
            "manifests": [m.to_wire() for m in manifests],
            "annotations": dict(annotations),
        }
    )
