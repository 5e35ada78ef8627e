"""Which model answers, and on which thread. Knows neither HTTP nor an engine's runtime."""

from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Final

from edgewright_node.serving.codec import Codec, Decoded
from edgewright_node.serving.datatypes import Array
from edgewright_node.serving.engines.base import Engine
from edgewright_node.serving.errors import ModelNotReady, NotFound, ServedNameTaken
from edgewright_node.serving.metrics import ModelInfo, ModelStats

LOOP_SECONDS: Final = 1e-3
"""An inference expected to take longer than this leaves the loop's thread: the hop costs about 40 µs, and
staying would make every other connection wait."""

_SMOOTHING: Final = 0.1
"""Weight of the newest observation in the moving average of a row's time."""


@dataclass(slots=True, eq=False)
class ServedModel:
    """One revision in memory. A swap makes a new one; nothing here is shared between revisions but stats."""

    info: ModelInfo
    engine: Engine
    codec: Codec
    stats: ModelStats
    row_seconds: float
    running: int = 0
    """Inferences on other threads right now."""
    retired: bool = False

    def observe_run(self, seconds: float, rows: int) -> None:
        """Take the time of one inference into the moving average."""
        self.row_seconds += _SMOOTHING * (seconds / rows - self.row_seconds)


@dataclass(slots=True)
class DataPlane:
    """The models that serve, by name. Used from the loop's thread only."""

    executor: Executor
    clock: Callable[[], float]
    models: dict[str, ServedModel] = field(default_factory=dict)
    awaited: frozenset[str] = frozenset()
    """Names that the node wants served, loaded or not."""

    def find(self, name: str, version: str | None) -> ServedModel:
        """Return the model of that name.

        Raises:
            NotFound: no such model here, or not in this version.
            ModelNotReady: it is wanted here and not loaded yet.
        """
        model = self.models.get(name)
        if model is None:
            if name in self.awaited:
                raise ModelNotReady(f"model {name!r} is not loaded yet")
            raise NotFound(f"there is no model {name!r}")
        if version is not None and version != model.info.version:
            raise NotFound(f"model {name!r} has version {model.info.version!r}, not {version!r}")
        return model

    def put(self, model: ServedModel) -> None:
        """Let ``model`` answer from the next request on; the one before is freed after its last answer.

        Raises:
            ServedNameTaken: another deployment has the name.
        """
        name = model.info.model
        before = self.models.get(name)
        if before is not None and before.info.deployment != model.info.deployment:
            raise ServedNameTaken(f"{before.info.deployment} is served as {name!r}")
        self.models[name] = model
        if before is not None:
            model.stats.swaps += 1
            self._retire(before)

    def remove(self, model: ServedModel) -> None:
        """Stop answering for ``model``."""
        if self.models.get(model.info.model) is model:
            del self.models[model.info.model]
            self._retire(model)

    def is_quick(self, model: ServedModel, decoded: Decoded) -> bool:
        """Tell whether the inference may run on the loop's thread."""
        return model.row_seconds * decoded.plan.rows < LOOP_SECONDS

    def infer(self, model: ServedModel, decoded: Decoded) -> Sequence[Array]:
        """Run on this thread.

        Raises:
            RequestError: as ``Engine.infer``.
        """
        start = self.clock()
        found = model.engine.infer(decoded.inputs, decoded.plan.names)
        model.observe_run(self.clock() - start, decoded.plan.rows)
        return found

    def infer_elsewhere(
        self, model: ServedModel, decoded: Decoded, loop: AbstractEventLoop
    ) -> "Future[Sequence[Array]]":
        """Run on another thread; the model stays in memory until the inference has ended."""
        model.running += 1
        future = loop.run_in_executor(self.executor, self.infer, model, decoded)
        future.add_done_callback(lambda _: self._release(model))
        return future

    def _release(self, model: ServedModel) -> None:
        model.running -= 1
        if model.retired and model.running == 0:
            self.executor.submit(model.engine.close)

    def _retire(self, model: ServedModel) -> None:
        model.retired = True
        if model.running == 0:
            self.executor.submit(model.engine.close)


def describe(model: ServedModel) -> dict[str, Any]:
    """Return the protocol's metadata of a model."""
    engine = model.engine
    return {
        "name": model.info.model,
        "versions": [model.info.version],
        "platform": engine.platform,
        "inputs": [{"name": s.name, "datatype": s.datatype, "shape": s.shape} for s in engine.inputs],
        "outputs": [{"name": s.name, "datatype": s.datatype, "shape": s.shape} for s in engine.outputs],
    }
