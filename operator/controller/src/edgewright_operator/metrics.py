"""What the operator counts; the gateway has counters of its own in the same registry."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """The counters of one operator process."""

    def __init__(self, registry: CollectorRegistry, *, version: str) -> None:
        self.registry = registry
        self.reconciles = Counter(
            "edgewright_operator_reconciles_total",
            "Visits to an object, by kind and outcome.",
            ["kind", "outcome"],
            registry=registry,
        )
        self.duration = Histogram(
            "edgewright_operator_reconcile_duration_seconds",
            "How long a visit took.",
            ["kind"],
            buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0),
            registry=registry,
        )
        self.queue_depth = Gauge(
            "edgewright_operator_queue_depth_count", "Objects that wait for a worker.", registry=registry
        )
        self.queue_planned = Gauge(
            "edgewright_operator_queue_planned_count", "Objects that wait for their time.", registry=registry
        )
        self.builds_running = Gauge(
            "edgewright_operator_builds_running_count", "Builds that are not settled.", registry=registry
        )
        self.passes = Counter(
            "edgewright_operator_passes_total",
            "Passes of finished builds, by whether they were run or known.",
            ["result"],
            registry=registry,
        )
        self.status_writes = Counter(
            "edgewright_operator_status_writes_total",
            "Writes of an object's status, by kind.",
            ["kind"],
            registry=registry,
        )
        self.assignment_writes = Counter(
            "edgewright_operator_assignment_writes_total",
            "Writes of a node's assignment.",
            registry=registry,
        )
        self.events = Counter(
            "edgewright_operator_events_total",
            "Objects that were seen to change, by kind.",
            ["kind"],
            registry=registry,
        )
        Gauge(
            "edgewright_operator_build_info", "1, with the version.", ["version"], registry=registry
        ).labels(version).set(1)
