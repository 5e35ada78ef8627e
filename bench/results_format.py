"""How every benchmark tells its figures: a table on stdout and bench/results/<suite>.json."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    """The value to stay at or below; None where there is none."""
    ratio_to: Mapping[str, float] = field(default_factory=dict)
    """This value divided by a peer's, by the peer's name."""
    conditions: str = ""
    """How it was obtained, as far as it differs from the suite's conditions."""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one. A NaN meets nothing."""
        return None if self.goal is None else self.value <= self.goal

    def as_json(self) -> dict[str, Any]:
        """Return the members of architecture §5."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "goal": self.goal,
            "met": self.met,
            "ratioTo": dict(self.ratio_to),
            "conditions": self.conditions,
        }


def publish(suite: str, figures: Sequence[Figure], *, conditions: str) -> Path:
    """Print a table and write the suite's JSON. Returns the file."""
    print(f"\n{suite}: {conditions}; {machine()}")
    rows = [("figure", "value", "unit", "goal", "met", "ratio to")]
    for each in figures:
        ratios = ", ".join(f"{peer} {ratio:.2f}x" for peer, ratio in each.ratio_to.items())
        goal = "" if each.goal is None else f"{each.goal:g}"
        met = {None: "", True: "yes", False: "NO"}[each.met]
        rows.append((each.name, f"{each.value:,.4g}", each.unit, goal, met, ratios))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{suite}.json"
    content = {
        "figures": [each.as_json() for each in figures],
        "conditions": conditions,
        "machine": machine(),
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    return path


def machine() -> str:
    """Name processor, cores and Python, so that a figure can be read elsewhere."""
    name = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            name = line.partition(":")[2].strip()
            break
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}"
