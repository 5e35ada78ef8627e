"""Tensors on the wire: raw little-endian bytes or JSON numbers, to and from numpy. Strict: nothing is cast
that would change a value, since a wrong answer is worse than a refused request."""

import array
import math
import struct
from typing import Any, Final

import numpy as np

from edgewright_node.serving.datatypes import BYTES, DTYPES, Array
from edgewright_node.serving.engines.base import TensorSpec
from edgewright_node.serving.errors import InvalidRequest

_COPIED_BYTES: Final = 64 << 10
"""Outputs up to this size are copied to bytes, which is cheaper than a view of them."""


def from_binary(
    spec: TensorSpec, body: bytes | bytearray, start: int, size: int, count: int, shape: tuple[int, ...]
) -> Array:
    """Read ``count`` elements from ``size`` bytes at ``start``: a view of ``body``, except for BYTES.

    Raises:
        InvalidRequest: BYTES that are not ``count`` length-prefixed UTF-8 strings, a BOOL besides 0 and 1.
    """
    datatype = spec.datatype
    if datatype == BYTES:
        strings = np.empty(count, object)
        strings[:] = _strings(spec, memoryview(body)[start : start + size], count)
        return strings.reshape(shape)
    if count == 0:
        return np.empty(shape, DTYPES[datatype])
    found = np.frombuffer(body, DTYPES[datatype], count, start)
    if datatype == "BOOL" and found.view(np.uint8).max() > 1:
        raise InvalidRequest(f"input {spec.name!r} holds a BOOL that is neither 0 nor 1")
    return found.reshape(shape)


def to_binary(spec: TensorSpec, tensor: Array) -> bytes | memoryview:
    """Write a tensor as raw bytes, row-major."""
    if spec.datatype == BYTES:
        encoded = [str(item).encode() for item in tensor.ravel()]
        return b"".join(struct.pack("<I", len(item)) + item for item in encoded)
    if tensor.nbytes <= _COPIED_BYTES:
        return tensor.tobytes()
    return np.ascontiguousarray(tensor).reshape(-1).view(np.uint8).data


def from_json(spec: TensorSpec, data: Any, shape: tuple[int, ...]) -> Array:
    """Read the ``data`` of an input, flat or nested as its shape.

    Raises:
        InvalidRequest: another number of elements, or elements that the datatype cannot hold exactly as
            what they are: no strings for numbers, no fractions for integers, nothing out of range.
    """
    if not isinstance(data, list):
        raise InvalidRequest(f"data of {spec.name!r} is a list")
    found = _strings_of(spec, data) if spec.datatype == BYTES else _numbers(spec, data)
    count = math.prod(shape)
    # Without elements, nesting cannot show the shape: [[]] is what [1, 0, 0] looks like.
    if found.shape != shape and found.shape != (count,) and (count or found.size):
        raise InvalidRequest(f"data of {spec.name!r} has shape {list(found.shape)}, not {list(shape)}")
    return found.reshape(shape)


def to_json(spec: TensorSpec, tensor: Array) -> Any:
    """Return what orjson writes as a flat list; a NaN or an infinity becomes null, since JSON has neither."""
    if spec.datatype == BYTES:
        return [str(item) for item in tensor.ravel()]
    return np.ascontiguousarray(tensor).reshape(-1)


def _numbers(spec: TensorSpec, data: list[Any]) -> Array:
    try:
        found = _flat_floats(data) if DTYPES[spec.datatype].kind == "f" else None
        found = np.array(data) if found is None else found
    except (ValueError, OverflowError, RecursionError) as e:
        raise InvalidRequest(f"data of {spec.name!r} is not a tensor: {e}") from e
    dtype = DTYPES[spec.datatype]
    if found.size == 0:
        return found.astype(dtype)
    if spec.datatype == "UINT64" and found.dtype.kind in "fO":
        found = _exact(data)
    allowed = {"f": "fiu", "b": "b", "i": "iu", "u": "iu"}[dtype.kind]
    if found.dtype.kind not in allowed:
        raise InvalidRequest(f"data of {spec.name!r} does not hold {spec.datatype} elements")
    if dtype.kind in "iu":
        limits = np.iinfo(dtype.str)
        if int(found.min()) < limits.min or int(found.max()) > limits.max:
            raise InvalidRequest(f"data of {spec.name!r} is out of the range of {spec.datatype}")
        return found.astype(dtype)
    with np.errstate(over="ignore"):
        cast = found.astype(dtype)
    if dtype.kind == "f" and not np.isfinite(cast).all():
        raise InvalidRequest(f"data of {spec.name!r} is out of the range of {spec.datatype}")
    return cast


def _exact(data: list[Any]) -> Array:
    """Read integers that numpy would round: small ones beside some above the largest INT64 become floats."""
    found = np.array(data, dtype=object)
    if all(type(item) is int and 0 <= item < 1 << 64 for item in found.flat):
        return found.astype(np.uint64)
    return found


def _flat_floats(data: list[Any]) -> Array | None:
    """Read a flat list of numbers in half of numpy's time; None for anything else, which numpy judges."""
    if not data or isinstance(data[0], bool):
        return None
    try:
        return np.frombuffer(array.array("d", data), np.float64)
    except (TypeError, OverflowError):
        return None


def _strings_of(spec: TensorSpec, data: list[Any]) -> Array:
    try:
        found = np.array(data, dtype=object)
    except (ValueError, RecursionError) as e:
        raise InvalidRequest(f"data of {spec.name!r} is not a tensor: {e}") from e
    if not all(isinstance(item, str) for item in found.flat):
        raise InvalidRequest(f"data of {spec.name!r} does not hold strings")
    return found


def _strings(spec: TensorSpec, content: memoryview, count: int) -> list[str]:
    found: list[str] = []
    at = 0
    while at < len(content) and len(found) < count:
        end = at + 4
        if end > len(content):
            break
        end += struct.unpack_from("<I", content, at)[0]
        if end > len(content):
            break
        try:
            found.append(str(content[at + 4 : end], "utf-8"))
        except UnicodeDecodeError as e:
            raise InvalidRequest(f"input {spec.name!r} holds BYTES that are not UTF-8") from e
        at = end
    if len(found) != count or at != len(content):
        raise InvalidRequest(f"input {spec.name!r} does not hold {count} length-prefixed strings")
    return found
