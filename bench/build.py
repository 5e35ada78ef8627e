"""Seconds of each pass of a build, cold, and of the same build when everything is known.

    python -m bench.build

Cold and warm runs are whole processes of ``edgewright build`` on the demo's model, with an empty cache
directory and with the one that the cold run left.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import digits
from bench.results_format import Figure, publish

ROOT = Path(__file__).parent.parent


def run(work: Path, out: str) -> float:
    """Build by hand and return the seconds it took."""
    command = [
        *(sys.executable, "-m", "edgewright_cli", "build", "--quiet", "-o", str(work / out)),
        *("-f", str(ROOT / "examples/digits/edgemodel.yaml"), "--cache", str(work / "cache")),
        *("--source", str(work / "digits-1.0.0.onnx")),
        *("--calibration", str(work / "calibration.npz"), "--acceptance", str(work / "acceptance.npz")),
    ]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def pass_seconds(cache: Path) -> list[tuple[str, float]]:
    """Return the seconds of each pass that the cache recorded, summed by the pass's name."""
    total: dict[str, float] = {}
    for path in cache.rglob("*.json"):
        record = json.loads(path.read_bytes())
        if "passName" in record:
            total[record["passName"]] = total.get(record["passName"], 0.0) + record.get("seconds", 0.0)
    return sorted(total.items(), key=lambda item: -item[1])


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        digits.make(work)
        cold, warm = run(work, "cold"), run(work, "warm")
        figures = [
            Figure(name="build cold", value=cold, unit="s"),
            Figure(name="build warm, zero passes", value=warm, unit="s", ratio_to={"cold": warm / cold}),
        ]
        figures += [Figure(name=f"pass {n}", value=s, unit="s") for n, s in pass_seconds(work / "cache")]
    publish("build", figures, conditions="edgewright build of examples/digits, whole processes, 2 targets")


if __name__ == "__main__":
    main()
