"""What the demo prints: plain text that also reads well in a log."""

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgewright_api.quantity import human_bytes

_STARTED = time.monotonic()


def say(line: str) -> None:
    """Print one line behind the seconds since the start."""
    print(f"[{time.monotonic() - _STARTED:6.1f} s] {line}", flush=True)


def head(line: str) -> None:
    """Print the head of a part."""
    print(f"\n── {line}", flush=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows in columns as wide as their widest cell."""
    cells = [list(columns), *[list(r) for r in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    for row in cells:
        print("   " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip(), flush=True)


def target_rows(targets: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return a row per target: verdict, choice, size, accuracy, latency, and how each was obtained."""
    return [_target_row(t) for t in targets]


TARGET_COLUMNS = (
    "target",
    "verdict",
    "artifact",
    "size",
    "accuracy (drop, at most)",
    "evidence",
    "latency ratio",
    "evidence",
)


def _target_row(target: Mapping[str, Any]) -> list[str]:
    accuracy = (target.get("accuracy") or [{}])[0]
    latency = target.get("latency")
    verdict = target["verdict"]
    if target["reason"] != verdict:
        verdict += f" ({target['reason']})"
    return [
        target["name"],
        verdict,
        target.get("candidate", ""),
        human_bytes(target.get("sizeBytes", 0)),
        _accuracy(accuracy) if accuracy else "–",
        accuracy.get("evidence", "–"),
        f"{latency['ratio']} [{latency['ratioLow']}, {latency['ratioHigh']}]" if latency else "unproven",
        latency["evidence"] if latency else "–",
    ]


def _accuracy(figure: Mapping[str, Any]) -> str:
    return f"{figure['valuePercent']} % ({figure['dropPercentagePoints']}, {figure['dropUpperBound']})"


def digit(image: np.ndarray) -> list[str]:
    """Return an 8x8 drawing of a [1, 32, 32] image, a line each."""
    small = image[0].reshape(8, 4, 8, 4).mean((1, 3))
    return ["".join(" .:+#@"[min(5, int(v * 6))] * 2 for v in row) for row in small]


def beside(drawings: Sequence[Sequence[str]]) -> None:
    """Print drawings side by side."""
    for lines in zip(*drawings, strict=True):
        print("   " + "   ".join(lines), flush=True)


def fail(line: str) -> None:
    """Say why the demo ends with an error."""
    print(f"demo: {line}", file=sys.stderr, flush=True)
