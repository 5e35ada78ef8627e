"""Open a slot: nothing in it is parsed before its bytes are those that the manifest's digest names."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import msgspec

from edgewright_node import slots
from edgewright_node.serving.errors import DigestMismatch, ManifestInvalid, SlotIncomplete

FILEPATH: Final = "org.cncf.model.filepath"
VERSION: Final = "dev.edgewright.version"

_MAX_MANIFEST_BYTES: Final = 1 << 20
_LAYER_FILES: Final = frozenset({slots.MODEL_FILE, slots.GOLDEN_FILE, slots.REPORT_FILE})


class _Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    digest: slots.Digest
    size: Annotated[int, msgspec.Meta(ge=0)]
    annotations: dict[str, str] = {}


class _Manifest(msgspec.Struct, frozen=True, rename="camel"):
    config: _Descriptor
    layers: list[_Descriptor]
    annotations: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class OpenedSlot:
    """A slot whose every file was verified."""

    manifest_digest: str
    model_digest: str
    model: Path
    golden: bytes
    annotations: Mapping[str, str]

    @property
    def version(self) -> str:
        """The version that callers see; twelve digits of the manifest's digest where none is given."""
        return self.annotations.get(VERSION) or self.manifest_digest.removeprefix("sha256:")[:12]


def open_slot(slot: Path, manifest_digest: str | None = None) -> OpenedSlot:
    """Verify a slot against the digest of its manifest; without one, against its own manifest.

    Raises:
        SlotIncomplete: the slot is not sealed, or a file is missing.
        DigestMismatch: a file's bytes are not those that its digest names.
        ManifestInvalid: the digests hold, and the manifest is not that of an artifact.
    """
    if not slots.is_complete(slot):
        raise SlotIncomplete(f"{slot.name} is not complete")
    content = _read(slot / slots.MANIFEST_FILE, _MAX_MANIFEST_BYTES)
    found = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if manifest_digest not in (None, found):
        raise DigestMismatch(f"{slot.name} holds manifest {found}, not {manifest_digest}")
    files, annotations = _parse(content)
    for name, descriptor in files.items():
        _verify(slot / name, descriptor)
    model, golden = files[slots.MODEL_FILE], files[slots.GOLDEN_FILE]
    vectors = _read(slot / slots.GOLDEN_FILE, golden.size)
    return OpenedSlot(found, model.digest, slot / slots.MODEL_FILE, vectors, annotations)


def _parse(content: bytes) -> tuple[dict[str, _Descriptor], dict[str, str]]:
    try:
        manifest = msgspec.json.decode(content, type=_Manifest)
    except (msgspec.DecodeError, RecursionError) as e:
        raise ManifestInvalid(f"manifest.json: {e}") from e
    files = {slots.CONFIG_FILE: manifest.config}
    for layer in manifest.layers:
        name = layer.annotations.get(FILEPATH, "")
        # Only known names: a path from a manifest never decides which file is opened.
        if name not in _LAYER_FILES or name in files:
            raise ManifestInvalid(f"manifest.json has a layer for {name!r}")
        files[name] = layer
    for name in (slots.MODEL_FILE, slots.GOLDEN_FILE):
        if name not in files:
            raise ManifestInvalid(f"manifest.json has no layer for {name}")
    return files, manifest.annotations


def _verify(path: Path, descriptor: _Descriptor) -> None:
    try:
        with path.open("rb") as file:
            found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError as e:
        raise SlotIncomplete(f"{path.name} cannot be read: {e.strerror}") from e
    if found != descriptor.digest:
        raise DigestMismatch(f"{path.name} has {found}, the manifest says {descriptor.digest}")


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as e:
        raise SlotIncomplete(f"{path.name} cannot be read: {e.strerror}") from e
    if len(content) > limit:
        raise DigestMismatch(f"{path.name} is larger than {limit} bytes")
    return content
