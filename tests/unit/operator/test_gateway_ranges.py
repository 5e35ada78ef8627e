"""Ranges: a resumed download gets the bytes it lacks, or the whole object, never other bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright_operator.gateway.ranges import Span, Unsatisfiable, requested

ETAG = '"sha256:00"'
WHOLE = Span(0, 100, 100, partial=False)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, WHOLE),
        ("bytes=0-", Span(0, 100, 100, partial=True)),
        ("bytes=40-", Span(40, 60, 100, partial=True)),
        ("bytes=40-49", Span(40, 10, 100, partial=True)),
        ("bytes=40-9999", Span(40, 60, 100, partial=True)),
        ("bytes=-10", Span(90, 10, 100, partial=True)),
        ("bytes=-1000", Span(0, 100, 100, partial=True)),
        ("bytes=100-", Unsatisfiable("bytes */100")),
        ("bytes=-0", Unsatisfiable("bytes */100")),
        ("bytes=9-3", WHOLE),
        ("bytes=-", WHOLE),
        ("bytes=0-1,5-6", WHOLE),
        ("pages=1-2", WHOLE),
        ("bytes=١-", WHOLE),
        ("bytes=" + "9" * 5000 + "-", WHOLE),
    ],
)
def test_range(header: str | None, expected: Span | Unsatisfiable) -> None:
    assert requested(100, ETAG, range_=header, if_range=None) == expected


@pytest.mark.parametrize(
    ("if_range", "partial"),
    [(ETAG, True), ('"sha256:11"', False), (f"W/{ETAG}", False), ("Wed, 25 Nov 2026 11:00:00 GMT", False)],
)
def test_a_range_of_other_content_gives_the_whole(if_range: str, *, partial: bool) -> None:
    span = requested(100, ETAG, range_="bytes=40-", if_range=if_range)
    assert isinstance(span, Span)
    assert span.partial is partial


def test_content_range() -> None:
    assert Span(40, 10, 100, partial=True).content_range == "bytes 40-49/100"


def test_an_empty_object() -> None:
    assert requested(0, ETAG, range_=None, if_range=None) == Span(0, 0, 0, partial=False)
    assert requested(0, ETAG, range_="bytes=0-", if_range=None) == Unsatisfiable("bytes */0")


@given(
    size=st.integers(0, 10**12), header=st.text(max_size=30) | st.from_regex(r"\Abytes=\d{0,25}-\d{0,25}\Z")
)
def test_what_is_sent_lies_within_the_object(size: int, header: str) -> None:
    span = requested(size, ETAG, range_=header, if_range=None)
    if isinstance(span, Span):
        assert span.start >= 0
        assert span.length >= 0
        assert span.start + span.length <= size
