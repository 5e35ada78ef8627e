"""Counters of the server, and their text for Prometheus. Counting costs a few additions per request."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

BOUNDS: Final = (
    50e-6, 100e-6, 200e-6, 400e-6, 800e-6, 1.6e-3, 3.2e-3, 6.4e-3,
    12.8e-3, 25.6e-3, 51.2e-3, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2,
)  # fmt: skip
"""Upper edges of the latency buckets, in seconds: a tiny model answers in 60 µs, a large one in tenths."""

HELP: Final = {
    "edgewright_server_requests_total": ("counter", "Inference requests that reached this model."),
    "edgewright_server_failures_total": ("counter", "Inference requests that failed by the server's fault."),
    "edgewright_server_request_duration_seconds": (
        "histogram",
        "From the whole request to its answer, of the inference requests that succeeded.",
    ),
    "edgewright_server_model_info": ("gauge", "1 for each model that serves, with what it is."),
    "edgewright_server_swaps_total": ("counter", "Times that a model took another's place."),
    "edgewright_server_error_responses_total": ("counter", "Answers of status 400 and above, by status."),
    "edgewright_server_connections_count": ("gauge", "Open connections."),
}


@dataclass(slots=True)
class ModelStats:
    """What one deployment's requests came to since the server started; outlives a swap."""

    requests: int = 0
    failures: int = 0
    swaps: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))

    def observe(self, seconds: float) -> None:
        """Count one request that succeeded."""
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


@dataclass(slots=True)
class HttpStats:
    """What the connections came to since the server started."""

    connections: int = 0
    errors: dict[int, int] = field(default_factory=dict)

    def error(self, status: int) -> None:
        """Count one answer that is an error."""
        self.errors[status] = self.errors.get(status, 0) + 1


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The labels of a model that serves."""

    model: str
    version: str
    deployment: str
    manifest_digest: str
    model_digest: str


def render(models: Iterable[tuple[ModelInfo, ModelStats]], http: HttpStats) -> str:
    """Return the Prometheus text exposition, metrics in the order of ``HELP``."""
    lines: dict[str, list[str]] = {name: [] for name in HELP}
    for info, stats in models:
        label = _labels(model=info.model)
        lines["edgewright_server_requests_total"].append(f"{label} {stats.requests}")
        lines["edgewright_server_failures_total"].append(f"{label} {stats.failures}")
        lines["edgewright_server_swaps_total"].append(f"{label} {stats.swaps}")
        lines["edgewright_server_request_duration_seconds"] += _histogram(info.model, stats)
        facts = _labels(
            model=info.model,
            version=info.version,
            deployment=info.deployment,
            manifest_digest=info.manifest_digest,
            model_digest=info.model_digest,
        )
        lines["edgewright_server_model_info"].append(f"{facts} 1")
    for status, count in sorted(http.errors.items()):
        lines["edgewright_server_error_responses_total"].append(f"{_labels(status=str(status))} {count}")
    lines["edgewright_server_connections_count"].append(f" {http.connections}")
    text = []
    for name, (kind, explanation) in HELP.items():
        text += [f"# HELP {name} {explanation}", f"# TYPE {name} {kind}"]
        text += [name + line for line in lines[name]]
    return "\n".join(text) + "\n"


def _histogram(model: str, stats: ModelStats) -> list[str]:
    lines, count = [], 0
    for bound, bucket in zip((*BOUNDS, float("inf")), stats.buckets, strict=True):
        count += bucket
        edge = "+Inf" if bound == float("inf") else f"{bound:g}"
        lines.append(f"_bucket{_labels(model=model, le=edge)} {count}")
    label = _labels(model=model)
    return [*lines, f"_sum{label} {stats.seconds:.9g}", f"_count{label} {count}"]


def _labels(**labels: str) -> str:
    def escape(value: str) -> str:
        return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

    return "{" + ",".join(f'{name}="{escape(value)}"' for name, value in labels.items()) + "}"
