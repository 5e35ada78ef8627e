"""The addresses that are resolved beside the reconcilers: a large source takes minutes, and no worker waits for it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from edgewright_api.edgemodel import EdgeModel, EdgeModelSpec
from edgewright_api.errors import EdgewrightError
from edgewright_api.modelrevision import ResolvedContent, ResolvedData
from edgewright_api.resolving import Pins

Changed = Callable[[str, str], None]
"""Told namespace and name of a model whose addresses are resolved; marks its key dirty."""


class Resolver(Protocol):
    """Turns an address into a digest."""

    async def resolve(self, uri: str) -> ResolvedContent:
        """Raises TransientError or StalledError."""
        ...


class _Asked(NamedTuple):
    """Of which object, as it was then, the addresses are."""

    uid: str
    generation: int


@dataclass(slots=True)
class Resolutions:
    """One task a model. All methods run on one event loop."""

    sources: Resolver
    changed: Changed
    _tasks: dict[tuple[str, str], tuple[_Asked, asyncio.Task[Pins | EdgewrightError]]] = field(
        default_factory=dict
    )

    def take(self, model: EdgeModel) -> Pins | EdgewrightError | None:
        """Return what the model's addresses lead to, or None while that is being found out: never waits.

        An answer is given once; the next call asks the store anew. Whatever else went wrong is raised.
        """
        meta = model.metadata
        place, asked = (meta.namespace or "", meta.name), _Asked(meta.uid, meta.generation)
        if place in self._tasks and self._tasks[place][0] != asked:
            self.forget(*place)
        if place not in self._tasks:
            task = asyncio.create_task(self._resolve(model.spec))
            task.add_done_callback(lambda done: None if done.cancelled() else self.changed(*place))
            self._tasks[place] = (asked, task)
        task = self._tasks[place][1]
        if not task.done():
            return None
        del self._tasks[place]
        return task.result()

    def forget(self, namespace: str, name: str) -> None:
        """Drop what is asked or known of a model's addresses."""
        known = self._tasks.pop((namespace, name), None)
        if known is not None:
            known[1].cancel()

    async def close(self) -> None:
        """Stop all that is under way."""
        tasks = [task for _, task in self._tasks.values()]
        for place in list(self._tasks):
            self.forget(*place)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _resolve(self, spec: EdgeModelSpec) -> Pins | EdgewrightError:
        try:
            source = await self.sources.resolve(spec.source.uri)
            calibration = await self.sources.resolve(spec.data.calibration.uri)
            acceptance = await self.sources.resolve(spec.data.acceptance.uri)
        except EdgewrightError as e:
            return e
        return Pins(source, ResolvedData(calibration=calibration, acceptance=acceptance))
