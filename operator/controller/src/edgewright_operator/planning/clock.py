"""Times as the API writes them."""

from datetime import UTC, datetime


def stamp(now: datetime) -> str:
    """Return RFC 3339 in UTC to the second, as ``metav1.Time`` is written."""
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
