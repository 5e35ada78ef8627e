"""PURE: which bytes a request asks for (RFC 9110, one range)."""

import re
from dataclasses import dataclass
from typing import Final

_ONE_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Span:
    """``length`` bytes from ``start`` of an object of ``size`` bytes.

    ``partial`` says whether the answer is ``206``; a range that covers the whole object is one, too.
    """

    start: int
    length: int
    size: int
    partial: bool

    @property
    def content_range(self) -> str:
        """The value of ``Content-Range``; only for a partial answer."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{self.size}"


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """The range lies outside of the object: ``416``."""

    content_range: str


def requested(size: int, etag: str, *, range_: str | None, if_range: str | None) -> Span | Unsatisfiable:
    """Return the bytes to send.

    A header that is malformed, names several ranges, or whose ``If-Range`` names other content is ignored,
    as RFC 9110 asks: the whole object is then the answer. ``etag`` is the quoted entity tag; an ``If-Range``
    with a date never matches, since content that is named by its digest has no date.
    """
    whole = Span(0, size, size, partial=False)
    if range_ is None or (if_range is not None and if_range != etag):
        return whole
    match = _ONE_RANGE.fullmatch(range_.strip())
    if match is None or match.group() == "bytes=-" or max(map(len, match.groups())) > 19:
        return whole
    first, last = match.groups()
    if not first:
        length = min(int(last), size)
        start, end = size - length, size - 1
    else:
        start, end = int(first), min(int(last), size - 1) if last else size - 1
        if last and int(last) < start:
            return whole
    if start >= size:
        return Unsatisfiable(f"bytes */{size}")
    return Span(start, end - start + 1, size, partial=True)
