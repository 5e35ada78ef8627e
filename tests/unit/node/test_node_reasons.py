"""Every reason that a node may report can be looked up."""

import re
from pathlib import Path

import pytest

from edgewright_node.reasons import Reason
from edgewright_node.serving.errors import ArtifactRefused

ROOT = Path(__file__).resolve().parents[3]
HEADINGS = re.findall(r"^### `?(\w+)`?$", (ROOT / "docs/errors.md").read_text(), re.MULTILINE)
REPORTED = sorted(
    {reason.value for reason in Reason} | {kind.reason for kind in ArtifactRefused.__subclasses__()}
)


@pytest.mark.parametrize("reason", REPORTED)
def test_every_reason_of_a_node_has_one_heading(reason: str) -> None:
    assert HEADINGS.count(reason) == 1
