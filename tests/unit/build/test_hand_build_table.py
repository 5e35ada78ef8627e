"""What a build by hand prints and answers."""

import pytest

from edgewright_api.verdicts import TargetResult, Verdict
from edgewright_cli.catalogue import TARGETS
from edgewright_cli.table import all_required_accepted, progress_line, table


def result(
    name: str = "x86-64-avx2", verdict: Verdict = Verdict.ACCEPTED, *, required: bool = True
) -> TargetResult:
    return TargetResult(
        name=name,
        required=required,
        verdict=verdict,
        reason="Accepted",
        message="all holds",
        candidate="float",
    )


@pytest.mark.parametrize(
    ("results", "answer"),
    [
        pytest.param([], False, id="nothing-is-no-success"),
        pytest.param([result()], True, id="accepted"),
        pytest.param([result(), result("b", Verdict.REJECTED)], False, id="one-rejected"),
        pytest.param([result(), result("b", Verdict.FAILED, required=False)], True, id="optional-may-fail"),
    ],
)
def test_exit_follows_required_targets(results: list[TargetResult], answer: bool) -> None:
    assert all_required_accepted(results) is answer


def test_table_has_a_row_and_a_cause_per_target() -> None:
    text = table([result(), result("b", required=False)])
    assert text.splitlines()[0].startswith("TARGET")
    assert "b (optional)" in text
    assert "x86-64-avx2: all holds" in text


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"event": "pass", "id": "ingest", "state": "running"}, None),
        ({"event": "pass", "id": "ingest", "state": "done", "seconds": 0.5}, "ingest"),
        ({"event": "pass", "id": "x", "state": "failed", "reason": "R", "message": "why"}, "failed: R: why"),
        ({"event": "output", "line": "vendor says hi"}, "vendor says hi"),
        ({"event": "new-kind"}, None),
    ],
)
def test_progress(event: dict[str, object], line: str | None) -> None:
    got = progress_line(event)
    assert got is None if line is None else line in (got or "")


def test_catalogue_names_each_level_once() -> None:
    assert len({spec.isa for spec in TARGETS.values()}) == len(TARGETS)
