"""Canonical JSON and SHA-256: the same value always gives the same bytes, so content can be identity."""

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> bytes:
    """Return ``value`` as UTF-8 JSON with sorted keys and no spaces; NaN and infinity are refused."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest_bytes(data: bytes) -> str:
    """Return the digest of ``data`` as ``sha256:<64 hex>``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_value(value: Any) -> str:
    """Return the digest of a JSON value's canonical bytes."""
    return digest_bytes(canonical_json(value))


def hex_of(digest: str) -> str:
    """Return the 64 hex digits of a digest.

    Raises:
        ValueError: ``digest`` is not a SHA-256 digest.
    """
    algorithm, _, value = digest.partition(":")
    if algorithm != "sha256" or len(value) != 64 or set(value) - set("0123456789abcdef"):
        raise ValueError(f"{digest!r} is not a sha256 digest")
    return value
