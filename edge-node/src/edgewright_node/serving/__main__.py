"""``edgewright-node server`` and ``trial``: the only place here that reads clock and environment."""

import argparse
import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from edgewright_node.serving.errors import ArtifactRefused
from edgewright_node.serving.settings import SettingsInvalid, from_env


def server(argv: Sequence[str]) -> int:
    """Serve until a signal; 2 when a setting is wrong."""
    parser = argparse.ArgumentParser(
        prog="edgewright-node server",
        description="Serve the models of a node's directory by the Open Inference Protocol v2.",
        epilog="Settings: EDGEWRIGHT_SERVER_ROOT (required), _ID, _HTTP (host:port), _UDS (path), _THREADS, "
        "_WORKERS, _DRAIN_SECONDS.",
    )
    parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        settings = from_env(os.environ)
    except SettingsInvalid as e:
        print(f"edgewright-node server: {e}", file=sys.stderr)
        return 2
    # numpy and the runtime take a fifth of a second to import: only where they are used.
    from edgewright_node.serving.server import serve

    def started(port: int | None) -> None:
        ready = {"ready": True, "port": port, "uds": str(settings.uds) if settings.uds else None}
        print(json.dumps(ready), flush=True)

    coroutine = serve(settings, clock=time.perf_counter, now=lambda: datetime.now(UTC), started=started)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(coroutine)
    except OSError as e:
        print(f"edgewright-node server: {e}", file=sys.stderr)
        return 1
    return 0


def trial(argv: Sequence[str]) -> int:
    """Verify, load and self-test one slot; the verdict is JSON on stdout, 0 when it passed, else 1."""
    parser = argparse.ArgumentParser(
        prog="edgewright-node trial",
        description="Verify, load and self-test one slot; prints the verdict as JSON, exits 0 or 1.",
    )
    parser.add_argument("--slot", type=Path, required=True, help="the slot's directory")
    parser.add_argument("--manifest-digest", help="what manifest.json must hash to, sha256:…")
    parser.add_argument("--threads", type=int, default=1, help="threads within one operator (default 1)")
    given = parser.parse_args(argv)
    from edgewright_node.serving.errors import LoadFailed
    from edgewright_node.serving.selftest import load_slot

    verdict: dict[str, object] = {"version": 1, "manifestDigest": given.manifest_digest, "modelDigest": None}
    refused: ArtifactRefused | None = None
    error: float | None = None
    try:
        loaded = load_slot(given.slot, given.manifest_digest, threads=given.threads, clock=time.perf_counter)
        verdict["manifestDigest"] = loaded.opened.manifest_digest
        verdict["modelDigest"] = loaded.opened.model_digest
        error = loaded.deviation.max_abs_error
    except ArtifactRefused as e:
        refused = e
    except Exception as e:  # whatever a hostile file makes a parser do is a verdict too
        refused = LoadFailed(f"{type(e).__name__}: {e}"[:256])
    verdict |= {
        "state": "Failed" if refused else "Passed",
        "reason": refused.reason if refused else None,
        "message": refused.message if refused else None,
        "maxAbsError": error,
    }
    print(json.dumps(verdict))
    return 1 if refused else 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop where it is installed: a fifth more requests per second, and nothing depends on it."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


if __name__ == "__main__":
    sys.exit(server(sys.argv[1:]))
