"""The operator's process: the one place that reads the environment and the clock."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from datetime import UTC, datetime

from edgewright_api.assembly import Decide
from edgewright_api.decide import decide_target
from edgewright_operator.app import Operator
from edgewright_operator.cluster.supervise import undumpable
from edgewright_operator.settings import SECRETS, Settings, SettingsError


def main(decide: Decide = decide_target) -> int:
    """Run the operator until SIGTERM or SIGINT; return the exit status. Only a test gives another ``decide``."""
    try:
        settings = Settings.from_env(os.environ)
        connection = settings.connection(os.environ)
    except SettingsError as e:
        print(f"edgewright-operator: {e}", file=sys.stderr)
        return 2
    # Build steps are children of this process, of the same user, and run other people's models.
    undumpable()
    for name in SECRETS:
        os.environ.pop(name, None)
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("kopf").setLevel(logging.WARNING)
    path = os.environ.get("PATH", os.defpath)
    operator = Operator(settings, connection, path, lambda: datetime.now(UTC), decide)
    return asyncio.run(_run(operator))


async def _run(operator: Operator) -> int:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is None:
        raise RuntimeError("not in a task")
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await operator.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
