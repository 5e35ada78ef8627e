"""What kind of file some bytes are, decided from their content before any parser of that kind opens them.

Pure. A pickle is recognised by its first bytes only: it is never loaded.
"""

from typing import Final

from edgewright_api.errors import StalledError
from edgewright_api.reasons import Reason

_MAGIC: Final = (
    (0, b"PK\x03\x04", "a zip archive (a PyTorch checkpoint, a Keras file or an .npz)"),
    (4, b"TFL3", "a TFLite model"),
    (4, b"ORTM", "a model in ONNX Runtime's own format"),
    (0, b"\x89HDF\r\n", "an HDF5 file (Keras)"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"{", "a JSON document"),
    (0, b"<", "an XML document"),
    (0, b"\x7fELF", "a program"),
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
)
_GRAPH_FIELD: Final = 7
_KNOWN_FIELDS: Final = frozenset(range(1, 32))
_FIXED_BYTES: Final = {1: 8, 5: 4}
_ACCEPTED: Final = "Give a model in ONNX format, e.g. from torch.onnx.export"


def require_onnx(data: bytes) -> None:
    """Return when ``data`` has the outer structure of an ONNX file, whole to its last byte.

    Raises:
        StalledError: FormatNotSupported for another kind of file, ModelInvalid for one that is cut off.
    """
    if not data:
        raise StalledError(Reason.MODEL_INVALID, "the source is empty", remedy="Upload the model file again")
    if data[0] == 0x80 and len(data) > 1 and data[1] <= 5:
        raise _unsupported("a Python pickle, which can run any code when it is loaded")
    for offset, magic, what in _MAGIC:
        if data[offset : offset + len(magic)] == magic:
            raise _unsupported(what)
    if _GRAPH_FIELD not in _top_level_fields(data):
        raise _unsupported("not a file that this builder knows")


def _top_level_fields(data: bytes) -> set[int]:
    """Return the field numbers of the outermost protobuf message without looking into any of them."""
    fields: set[int] = set()
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        field, wire = tag >> 3, tag & 7
        if field not in _KNOWN_FIELDS or wire not in (0, 1, 2, 5):
            raise _unsupported("not a file that this builder knows") if not fields else _damaged(at)
        if wire == 0:
            _, at = _varint(data, at)
        elif wire == 2:
            length, at = _varint(data, at)
            at += length
        else:
            at += _FIXED_BYTES[wire]
        if at > len(data):
            raise _truncated(at, len(data))
        fields.add(field)
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data):
            raise _truncated(at + 1, len(data))
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise _damaged(at)


def _unsupported(what: str) -> StalledError:
    return StalledError(Reason.FORMAT_NOT_SUPPORTED, f"the source is {what}", remedy=_ACCEPTED)


def _damaged(at: int) -> StalledError:
    return StalledError(
        Reason.MODEL_INVALID, f"the source is damaged near byte {at}", remedy="Upload the model file again"
    )


def _truncated(needed: int, size: int) -> StalledError:
    return StalledError(
        Reason.MODEL_INVALID,
        f"the source is cut off: it has {size} bytes and needs at least {needed}",
        remedy="Upload the model file again",
    )
