"""Sizes and shares."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright_api.quantity import human_bytes, quantity_bytes, share_of


@pytest.mark.parametrize(
    ("quantity", "size"), [("512Ki", 524_288), (17, 17), ("1.5k", 1500), ("0.3Ki", 308), ("2M", 2_000_000)]
)
def test_quantity(quantity: int | str, size: int) -> None:
    assert quantity_bytes(quantity) == size


@pytest.mark.parametrize("bad", ["-1", "1x", "", "1e3", "Ki"])
def test_nonsense_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        quantity_bytes(bad)


@given(st.integers(1, 100), st.integers(1, 10_000))
def test_a_share_is_at_least_one_and_at_most_all(percent: int, total: int) -> None:
    assert 1 <= share_of(f"{percent}%", total) <= total


@pytest.mark.parametrize(("share", "got"), [(3, 3), ("10%", 2), ("0%", 0), ("0", 0), ("1%", 1)])
def test_share_of_twenty(share: int | str, got: int) -> None:
    assert share_of(share, 20) == got


@pytest.mark.parametrize(
    ("size", "text"), [(12, "12 B"), (2048, "2.0 KiB"), (3 << 20, "3.0 MiB"), (5 << 30, "5.0 GiB")]
)
def test_for_people(size: int, text: str) -> None:
    assert human_bytes(size) == text
