"""Kubernetes quantities and shares as plain numbers."""

import re
from decimal import Decimal as Number
from typing import Final

_SUFFIX: Final = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
_QUANTITY: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(Ki|Mi|Gi|Ti|k|M|G|T)?")


def quantity_bytes(quantity: int | str) -> int:
    """Return a size Quantity in bytes, a fraction rounded up.

    Raises:
        ValueError: ``quantity`` is not a size, e.g. negative or with an unknown suffix.
    """
    found = _QUANTITY.fullmatch(str(quantity))
    if found is None:
        raise ValueError(f"{quantity!r} is not a size such as 512Ki or 2M")
    exact = Number(found[1]) * _SUFFIX[found[2] or ""]
    return int(exact.to_integral_value(rounding="ROUND_CEILING"))


def share_of(share: int | str, total: int) -> int:
    """Return how many of ``total`` an IntOrString share names: a percentage is rounded down, but is at least 1.

    At least 1, because a budget of nought would stop every rollout for ever; an explicit ``0`` stays 0.

    Raises:
        ValueError: ``share`` is neither a count nor a percentage.
    """
    text = str(share)
    if text.endswith("%"):
        return max(1, total * int(text[:-1]) // 100) if text != "0%" else 0
    count = int(text)
    if count < 0:
        raise ValueError(f"{share!r} is negative")
    return count


def human_bytes(size: int) -> str:
    """Return a size for people, e.g. ``512 B``, ``73.1 KiB``."""
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
