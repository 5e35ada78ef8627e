"""Benchmarks: `python -m bench.<suite>` prints a table and writes bench/results/<suite>.json."""

import sys
from pathlib import Path

# Suites lay out nodes and objects with the builders of the tests, which are no package of their own.
_BUILDERS = str(Path(__file__).parents[1] / "tests")
if _BUILDERS not in sys.path:
    sys.path.append(_BUILDERS)
