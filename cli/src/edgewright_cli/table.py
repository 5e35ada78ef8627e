"""What people read of a build: a line per pass while it runs, one table at its end. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from edgewright_api.quantity import human_bytes
from edgewright_api.verdicts import TargetResult, Verdict

_HEAD = ("TARGET", "VERDICT", "REASON", "ARTIFACT", "SIZE", "ACCURACY", "LATENCY", "EVIDENCE")


def progress_line(event: Mapping[str, Any]) -> str | None:
    """Return the line of an event, or None when it is not worth one."""
    match event.get("event"):
        case "step":
            return f"{event['step']}: {event['passes']} passes"
        case "pass" if event.get("state") == "done":
            return f"  {event['id']:<52} {event['seconds']:>8.3f} s"
        case "pass" if event.get("state") == "failed":
            return f"  {event['id']:<52} failed: {event.get('reason')}: {event.get('message')}"
        case "pass" if event.get("state") == "skipped":
            return f"  {event['id']:<52} skipped: {event.get('because')} failed"
        case "refused":
            return f"refused: {event.get('reason')}: {event.get('message')}"
        case "output":
            return str(event.get("line"))
        case _:
            return None


def table(results: Sequence[TargetResult]) -> str:
    """Return a row per target, the cause of each under the rows."""
    rows = [_HEAD, *(_row(result) for result in results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    lines += [f"{result.name}: {result.message}" for result in results if result.message]
    return "\n".join(lines)


def _row(result: TargetResult) -> tuple[str, ...]:
    accuracy = " ".join(
        f"{a.metric} {a.value_percent} % (drop {a.drop_percentage_points}, at most {a.drop_upper_bound})"
        for a in result.accuracy
    )
    latency = result.latency
    ratio = f"x{latency.ratio} [{latency.ratio_low}, {latency.ratio_high}]" if latency else "unproven"
    evidence = {str(a.evidence) for a in result.accuracy} | ({str(latency.evidence)} if latency else set())
    return (
        result.name + ("" if result.required else " (optional)"),
        result.verdict.value,
        result.reason,
        result.candidate or "-",
        human_bytes(result.size_bytes) if result.size_bytes else "-",
        accuracy or "-",
        ratio if result.candidate else "-",
        ", ".join(sorted(evidence)) or "-",
    )


def all_required_accepted(results: Sequence[TargetResult]) -> bool:
    """Return whether every required target has an artifact; no target at all is not a success."""
    required = [r for r in results if r.required]
    return bool(results) and all(r.verdict is Verdict.ACCEPTED for r in required)
