"""An event loop whose time passes only while it would sleep, and then at once: hours of backing off take no time."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Hurry(selectors.SelectSelector):
    """Instead of waiting it sets the clock forward."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing is planned: this would wait for ever")
        self.now += max(0.0, timeout)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._hurry = _Hurry()
        super().__init__(self._hurry)

    def time(self) -> float:
        return self._hurry.now


def run_hurried(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` to its end. It must not wait for anything but time and its own tasks."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)
