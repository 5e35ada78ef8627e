"""The demo is the whole product once through, and runs every manifest of examples/: it must end well."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_keeps_its_promises() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demo"], cwd=ROOT, capture_output=True, text=True, timeout=580, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "everything that was promised was seen" in done.stdout


def test_the_demo_runs_every_example() -> None:
    story = (ROOT / "demo" / "__main__.py").read_text()
    examples = sorted(p.name for p in (ROOT / "examples").iterdir())
    applied = set(re.findall(r'EXAMPLES / "([a-z-]+)"', story))
    assert examples == sorted(applied)
