"""What a builder says when it refuses its job, and what it may not pass off as a refusal."""

import json

import pytest

from edgewright_api.errors import StalledError, TransientError
from edgewright_operator.cluster.builds import refusal


def line(reason: str = "StoreUnavailable", **changes: object) -> bytes:
    event = {"event": "refused", "reason": reason, "message": "no store", "remedy": "Wait"}
    return json.dumps(event | changes).encode()


@pytest.mark.parametrize(
    ("said", "status", "kind"),
    [
        pytest.param(line(), 3, TransientError, id="another-try-may-help"),
        pytest.param(line("BuilderFailed"), 1, StalledError, id="for-good"),
        pytest.param(line("ToolchainMismatch"), 1, TransientError, id="another-builder-than-planned-for"),
        pytest.param(line(), 7, None, id="ended-otherwise"),
        pytest.param(line("NoSuchReason"), 1, None, id="unknown-reason"),
        pytest.param(line(event="pass"), 1, None, id="another-event"),
        pytest.param(b'["refused"]', 1, None, id="no-object"),
        pytest.param(b"Traceback", 1, None, id="no-event"),
        pytest.param(b"", 1, None, id="silence"),
    ],
)
def test_refusal(said: bytes, status: int, kind: type[Exception] | None) -> None:
    got = refusal(said, status)
    assert (None if got is None else type(got)) is kind
    if got is not None:
        assert str(got) == "no store. Wait"
