"""Conditions change only when something changed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright_api.conditions import ConditionType as Type
from edgewright_api.conditions import Summary, apply_summary, complete, find, stalled, waiting, working
from edgewright_api.reasons import Reason

ROWS = [
    (working(Reason.BUILDING, "m"), ("False", "False", "True", "False")),
    (waiting(Reason.NODES_OFFLINE, "m"), ("True", "False", "False", "False")),
    (complete("m"), ("True", "True", "False", "False")),
    (stalled(Reason.UNDERPOWERED, "m"), ("False", "False", "False", "True")),
]


@pytest.mark.parametrize(("summary", "expected"), ROWS)
def test_rows_of_the_status_table(summary: Summary, expected: tuple[str, ...]) -> None:
    got = apply_summary((), summary, generation=3, now="2026-01-01T00:00:00Z")
    order = (Type.READY, Type.COMPLETE, Type.RECONCILING, Type.STALLED)
    found = [find(got, kind) for kind in order]
    assert tuple(c.status.value for c in found if c) == expected
    assert {c.observed_generation for c in found if c} == {3}


@given(st.sampled_from(ROWS), st.sampled_from(ROWS))
def test_the_same_summary_again_changes_nothing(
    first: tuple[Summary, object], second: tuple[Summary, object]
) -> None:
    old = apply_summary((), first[0], generation=1, now="2026-01-01T00:00:00Z")
    new = apply_summary(old, second[0], generation=1, now="2026-01-02T00:00:00Z")
    again = apply_summary(new, second[0], generation=1, now="2026-01-03T00:00:00Z")
    assert again == new
    for kind in Type:
        was, now = find(old, kind), find(new, kind)
        if was and now and was.status == now.status:
            assert now.last_transition_time == was.last_transition_time
