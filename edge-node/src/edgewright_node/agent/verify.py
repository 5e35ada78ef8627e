"""Bytes in, verdict out: no file is opened by a parser before its digest was checked. PURE."""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

import msgspec

from edgewright_node import slots
from edgewright_node.agent.errors import Refused, RetryLater
from edgewright_node.reasons import Reason

MAX_MANIFEST_BYTES: Final = 1 << 20
"""A manifest is a few KiB; more is not read."""

MAX_LAYER_BYTES: Final = 1 << 36
"""64 GiB: a sanity bound, the disk preflight is what decides."""

ARTIFACT_TYPE: Final = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE: Final = "application/vnd.cncf.model.config.v1+json"
PATH_ANNOTATION: Final = "org.cncf.model.filepath"

LAYER_FILES: Final = {
    "application/vnd.cncf.model.weight.v1.raw": slots.MODEL_FILE,
    "application/vnd.edgewright.golden.v1+npz": slots.GOLDEN_FILE,
    "application/vnd.edgewright.report.v1+json": slots.REPORT_FILE,
}
"""Media type → the one name its file may have in a slot; a manifest chooses no path."""

_REQUIRED: Final = (slots.MODEL_FILE, slots.GOLDEN_FILE)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


class _Descriptor(msgspec.Struct, frozen=True, rename="camel"):
    media_type: str
    digest: str
    size: int
    annotations: dict[str, str] = {}


class _Manifest(msgspec.Struct, frozen=True, rename="camel"):
    schema_version: int
    artifact_type: str
    config: _Descriptor
    layers: tuple[_Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """One file of a slot: its name there, its digest and its size in bytes."""

    file: str
    digest: str
    size: int


def digest_of(content: bytes) -> str:
    """Return ``sha256:<hex>`` of ``content``."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def is_digest(text: str) -> bool:
    """Tell whether ``text`` names content by SHA-256, in lower case hex."""
    return _DIGEST.fullmatch(text) is not None


def pieces_of(content: bytes, *, digest: str) -> tuple[Piece, ...]:
    """Return the files that a manifest names, config first.

    Raises:
        RetryLater: ``content`` is not what ``digest`` names; it was not parsed.
        Refused: it is, and the manifest is not one that this agent accepts.
    """
    found = digest_of(content)
    if found != digest:
        raise RetryLater(Reason.DIGEST_MISMATCH, f"the manifest {digest} arrived as {found}")
    try:
        manifest = msgspec.json.decode(content, type=_Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise Refused(Reason.MANIFEST_INVALID, f"the manifest cannot be read: {e}") from e
    if manifest.schema_version != 2 or manifest.artifact_type != ARTIFACT_TYPE:
        raise Refused(
            Reason.MANIFEST_INVALID,
            f"the manifest is a {manifest.artifact_type!r}, this agent accepts {ARTIFACT_TYPE!r}",
        )
    if manifest.config.media_type != CONFIG_TYPE:
        raise Refused(Reason.MANIFEST_INVALID, f"the config is a {manifest.config.media_type!r}")
    pieces = (_piece(manifest.config, slots.CONFIG_FILE), *(_layer(layer) for layer in manifest.layers))
    names = [piece.file for piece in pieces]
    if len(set(names)) != len(names):
        raise Refused(Reason.MANIFEST_INVALID, f"the manifest names a file twice: {', '.join(sorted(names))}")
    for required in _REQUIRED:
        if required not in names:
            raise Refused(Reason.MANIFEST_INVALID, f"the manifest has no {required}")
    return pieces


def _layer(layer: _Descriptor) -> Piece:
    name = LAYER_FILES.get(layer.media_type)
    if name is None:
        raise Refused(Reason.MANIFEST_INVALID, f"a layer is a {layer.media_type!r}, which is not known")
    given = layer.annotations.get(PATH_ANNOTATION, name)
    if given != name:
        raise Refused(Reason.MANIFEST_INVALID, f"a layer wants to be {given!r} and may only be {name!r}")
    return _piece(layer, name)


def _piece(descriptor: _Descriptor, name: str) -> Piece:
    if not is_digest(descriptor.digest):
        raise Refused(Reason.MANIFEST_INVALID, f"{name} has the digest {descriptor.digest[:80]!r}")
    if not 0 <= descriptor.size <= MAX_LAYER_BYTES:
        raise Refused(Reason.MANIFEST_INVALID, f"{name} is said to have {descriptor.size} bytes")
    return Piece(name, descriptor.digest, descriptor.size)


def check_space(*, needed: int, free: int, reserve: int) -> None:
    """Refuse to begin what cannot fit. All in bytes.

    Raises:
        RetryLater: with the numbers.
    """
    if needed and needed + reserve > free:
        raise RetryLater(
            Reason.INSUFFICIENT_DISK,
            f"needs {needed} bytes and a reserve of {reserve}, {free} are free: "
            f"{needed + reserve - free} bytes too few",
        )
