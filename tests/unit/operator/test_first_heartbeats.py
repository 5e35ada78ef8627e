"""When a Lease counts as a sign of life."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from edgewright_operator.app import _note_beat
from edgewright_operator.cluster.cache import Beat, Memory
from edgewright_operator.planning.objects import Lease, LeaseSpec, Meta

START: Final = datetime(2026, 11, 25, 12, tzinfo=UTC)
LATER: Final = START + timedelta(seconds=5)


def _lease(renewed: datetime) -> Lease:
    return Lease(metadata=Meta(name="n1"), spec=LeaseSpec(renew_time=renewed.isoformat()))


@pytest.mark.parametrize(
    ("listed", "heard"),
    [
        pytest.param(False, None, id="found-at-the-start-it-may-be-old"),
        pytest.param(True, START, id="new-since-the-first-list"),
    ],
)
def test_a_first_lease(listed: bool, heard: Any) -> None:
    memory = Memory()
    _note_beat(memory, None, _lease(START), START, listed=listed)
    assert memory.beats["n1"] == Beat(START, heard)


def test_a_renewal_is_heard_when_it_is_seen() -> None:
    memory = Memory()
    _note_beat(memory, None, _lease(START), START, listed=False)
    _note_beat(memory, _lease(START), _lease(LATER), LATER, listed=True)
    assert memory.beats["n1"] == Beat(START, LATER)


def test_other_changes_of_a_lease_are_no_sign_of_life() -> None:
    memory = Memory()
    _note_beat(memory, None, _lease(START), START, listed=False)
    _note_beat(memory, _lease(START), _lease(START), LATER, listed=True)
    assert memory.beats["n1"] == Beat(START, None)
