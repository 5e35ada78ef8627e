"""``edgewright-node agent``: reads environment and clock, opens the session, handles signals."""

import asyncio
import fcntl
import logging
import os
import random
import signal
import ssl
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

import aiohttp

from edgewright_node import slots
from edgewright_node.agent.api import Api
from edgewright_node.agent.gateway import Gateway
from edgewright_node.agent.loop import Agent
from edgewright_node.agent.settings import AgentSettings, SettingsError, from_env
from edgewright_node.agent.situation import Limits
from edgewright_node.agent.worker import Kit


def main() -> int:
    """Run the agent until SIGTERM or SIGINT. Returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = from_env(os.environ)
    except SettingsError as e:
        print(f"edgewright-node agent: {e}", file=sys.stderr)
        return 2
    settings.root.mkdir(parents=True, exist_ok=True)
    with _alone(settings.root):
        asyncio.run(_run(settings))
    return 0


async def _run(settings: AgentSettings) -> None:
    stopped = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopped.set)
    # The API server takes the name of who manages a field from the user agent.
    headers = {"User-Agent": f"edgewright-agent/{version('edgewright-node')}"}
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), headers=headers) as session:
        running = asyncio.create_task(_agent(settings, session).run())
        stopping = asyncio.create_task(stopped.wait())
        await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if running.done():
            running.result()  # a bug: leave with its traceback, the service manager starts anew
        running.cancel()
        await asyncio.wait((running,))


def _agent(settings: AgentSettings, session: aiohttp.ClientSession) -> Agent:
    gateway = Gateway(
        session=session,
        url=settings.gateway.rstrip("/"),
        token=_token(settings.gateway_token),
        tls=_trust(settings.gateway_ca),
        store_tls=_trust(settings.gateway_ca, public=True),
        jitter=random.random,
    )

    def make_kit(changed: Callable[[], None]) -> Kit:
        return Kit(
            root=settings.root,
            gateway=gateway,
            now=lambda: datetime.now(UTC),
            monotonic=time.monotonic,
            changed=changed,
            trial_command=(sys.executable, "-I", "-m", "edgewright_node", "trial"),
            trial_environment={"PATH": os.environ.get("PATH", os.defpath)},
            limits=Limits(settings.trial_seconds, settings.confirm_seconds),
            reserve=settings.reserve_bytes,
        )

    api = Api(session, settings.api_server.rstrip("/"), _token(settings.api_token), _trust(settings.api_ca))
    return Agent(
        settings=settings,
        api=api,
        version=version("edgewright-node"),
        make_kit=make_kit,
        jitter=random.random,
    )


def _token(path: Path) -> Callable[[], str]:
    def read() -> str:
        try:
            return path.read_text().strip()
        except OSError as e:
            logging.warning("token: %s", e)
            return ""

    return read


def _trust(ca: Path | None, *, public: bool = False) -> Callable[[], ssl.SSLContext | None]:
    """Trust ``ca`` as the file says now, and public CAs when asked; the context is kept until it changes."""
    known: tuple[object, ssl.SSLContext] | None = None

    def context() -> ssl.SSLContext | None:
        nonlocal known
        if ca is None:
            return None
        mark = slots.change_mark(ca)
        if known is None or (mark is not None and mark != known[0]):
            try:
                fresh = ssl.create_default_context(cafile=None if public else str(ca))
                fresh.load_verify_locations(str(ca))
            except OSError as e:  # ssl.SSLError included: callers try again later
                raise ssl.SSLError(f"{ca} cannot be used: {e}") from e
            known = (mark, fresh)
        return known[1]

    return context


def _alone(root: Path) -> TextIO:
    """Wait until no other agent works on this directory; the lock goes with the process."""
    file = (root / "agent.lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        logging.warning("another agent works on %s: waiting for it to end", root)
        fcntl.flock(file, fcntl.LOCK_EX)
    return file


if __name__ == "__main__":
    sys.exit(main())
