"""What the gateway counts."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class GatewayMetrics:
    """The counters of one gateway, in the registry of its process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.tickets = Counter(
            "edgewright_gateway_tickets_total",
            "Answers to requests for a ticket, by outcome.",
            ["outcome"],
            registry=registry,
        )
        self.outstanding = Gauge(
            "edgewright_gateway_tickets_outstanding_count",
            "Tickets that count against the cap of the fleet.",
            registry=registry,
        )
        self.reviews = Counter(
            "edgewright_gateway_token_checks_total",
            "Tokens looked at, by whether the API server was asked or the answer remembered.",
            ["source"],
            registry=registry,
        )
        self.sent = Counter(
            "edgewright_gateway_sent_bytes_total",
            "Bytes of artifacts sent to nodes by the gateway's own stream.",
            registry=registry,
        )
        self.streams = Counter(
            "edgewright_gateway_streams_total",
            "Streams of artifacts that ended, by outcome.",
            ["outcome"],
            registry=registry,
        )
