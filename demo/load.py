"""Open-loop load on one node: requests leave on schedule, whatever became of the ones before; no retries.

``python -m demo.load URL MODEL IMAGES --rate 60 --out FILE`` runs until SIGTERM and writes what it counted.
"""

import argparse
import asyncio
import json
import signal
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np


@dataclass(slots=True)
class Tally:
    """What became of the requests of one node."""

    sent: int = 0
    answered: int = 0
    wrong_status: int = 0
    connection_errors: int = 0
    right: int = 0
    seconds: float = 0.0
    first_error: str = ""
    versions: dict[str, int] = field(default_factory=dict)
    latencies_ms: list[float] = field(default_factory=list, repr=False)

    def summary(self) -> dict[str, Any]:
        """Return the figures: rate per second, failures of any kind, latencies in milliseconds."""
        ordered = sorted(self.latencies_ms) or [0.0]
        figures = asdict(self)
        del figures["latencies_ms"]
        return figures | {
            "failed": self.sent - self.answered,
            "right_share": self.right / self.answered if self.answered else 0.0,
            "rate": self.sent / self.seconds if self.seconds else 0.0,
            "p50_ms": ordered[len(ordered) // 2],
            "p99_ms": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)],
        }


def request(image: np.ndarray) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of one inference with binary tensors (Open Inference Protocol v2)."""
    raw = image.astype(np.float32).tobytes()
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": "image",
                    "shape": list(image.shape),
                    "datatype": "FP32",
                    "parameters": {"binary_data_size": len(raw)},
                }
            ],
            "outputs": [{"name": "logits", "parameters": {"binary_data": False}}],
        }
    ).encode()
    return header + raw, {"Inference-Header-Content-Length": str(len(header))}


async def fire(session: aiohttp.ClientSession, url: str, image: np.ndarray, label: int, tally: Tally) -> None:
    """Send one request and count what became of it."""
    body, headers = request(image)
    started = time.perf_counter()
    try:
        async with session.post(url, data=body, headers=headers) as response:
            answer = await response.json(content_type=None)
            if response.status != 200:
                tally.wrong_status += 1
                tally.first_error = tally.first_error or f"{response.status}: {answer}"
                return
    except (aiohttp.ClientError, TimeoutError) as e:
        tally.connection_errors += 1
        tally.first_error = tally.first_error or repr(e)
        return
    tally.latencies_ms.append((time.perf_counter() - started) * 1e3)
    tally.answered += 1
    tally.right += int(np.argmax(answer["outputs"][0]["data"])) == label
    version = answer.get("model_version", "")
    tally.versions[version] = tally.versions.get(version, 0) + 1


async def run(url: str, data: Path, rate: float, stop: asyncio.Event) -> Tally:
    """Send until ``stop`` is set, then wait for what is under way."""
    with np.load(data) as arrays:
        images, labels = arrays["image"], arrays["labels"]
    tally = Tally()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=10)) as session:
        pending: set[asyncio.Task[None]] = set()
        started = time.perf_counter()
        while not stop.is_set():
            due = started + tally.sent / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            at = tally.sent % len(labels)
            task = asyncio.create_task(fire(session, url, images[at : at + 1], int(labels[at]), tally))
            tally.sent += 1
            pending.add(task)
            task.add_done_callback(pending.discard)
        tally.seconds = time.perf_counter() - started
        if pending:
            await asyncio.wait(pending)
    return tally


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="address of the node's server")
    parser.add_argument("model", help="served name")
    parser.add_argument("data", type=Path, help=".npz with image and labels")
    parser.add_argument("--rate", type=float, default=60.0, help="requests per second")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    tally = await run(f"{args.url}/v2/models/{args.model}/infer", args.data, args.rate, stop)
    args.out.write_text(json.dumps(tally.summary()))


if __name__ == "__main__":
    asyncio.run(main())
