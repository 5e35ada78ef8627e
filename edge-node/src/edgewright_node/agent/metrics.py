"""The agent's figures as Prometheus text, on an endpoint of a few lines: a web framework costs megabytes."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Final

PREFIX: Final = "edgewright_agent_"

HELP: Final = {
    "downloaded_bytes": "Bytes fetched from gateway and store.",
    "status_writes": "Writes of status objects to the API server.",
    "lease_renewals": "Renewals of this node's Lease.",
    "watch_restarts": "Watches of the assignment that were begun.",
    "api_failures": "Calls to the API server without a good answer.",
}


@dataclass(slots=True)
class Counters:
    """Totals since the agent began."""

    downloaded_bytes: int = 0
    status_writes: int = 0
    lease_renewals: int = 0
    watch_restarts: int = 0
    api_failures: int = 0


def render(counters: Counters, states: dict[str, int], version: str) -> str:
    """Return the exposition text; ``states`` counts deployments by reported state. PURE."""
    lines = []
    for one in fields(counters):
        name = f"{PREFIX}{one.name}_total"
        lines += [f"# HELP {name} {HELP[one.name]}", f"# TYPE {name} counter"]
        lines.append(f"{name} {getattr(counters, one.name)}")
    name = f"{PREFIX}deployments"
    lines += [f"# HELP {name} Deployments on this node by state.", f"# TYPE {name} gauge"]
    lines += [f'{name}{{state="{state}"}} {count}' for state, count in sorted(states.items())]
    name = f"{PREFIX}build_info"
    lines += [f"# HELP {name} The agent's version.", f"# TYPE {name} gauge"]
    lines.append(f'{name}{{version="{version}"}} 1')
    return "\n".join(lines) + "\n"


async def serve(address: str, text: Callable[[], str]) -> asyncio.Server:
    """Answer ``GET /metrics`` and ``GET /healthz`` on host:port, one request a connection."""
    host, _, port = address.rpartition(":")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(5):
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(request.split(b" ")[1:2], text))
                await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, host.strip("[]"), int(port), limit=8192)


def _response(path: list[bytes], text: Callable[[], str]) -> bytes:
    body, status = b"not found\n", b"404 Not Found"
    if path == [b"/metrics"]:
        body, status = text().encode(), b"200 OK"
    elif path == [b"/healthz"]:
        body, status = b"ok\n", b"200 OK"
    head = b"HTTP/1.1 %s\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: %d\r\n" % (
        status,
        len(body),
    )
    return head + b"Connection: close\r\n\r\n" + body
