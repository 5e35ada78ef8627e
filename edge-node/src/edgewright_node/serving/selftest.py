"""Load a verified slot and prove it with its golden vectors: what a trial is, in a server or alone."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from edgewright_node.serving import golden
from edgewright_node.serving.artifact import OpenedSlot, open_slot
from edgewright_node.serving.engines import onnx
from edgewright_node.serving.engines.base import Engine, Tensors
from edgewright_node.serving.errors import GoldenSourceMismatch, RequestError

_WARM_RUNS: Final = 5
"""Runs before the timed one: the first ones allocate arenas."""


@dataclass(frozen=True, slots=True)
class LoadedSlot:
    """A slot whose model is in memory and has passed its self-test."""

    opened: OpenedSlot
    engine: Engine
    batches: tuple[Tensors, ...]
    vectors: golden.Golden
    deviation: golden.Deviation
    row_seconds: float
    """How long one row of the smallest request takes, measured warm."""


def load_slot(
    slot: Path, manifest_digest: str | None, *, threads: int, clock: Callable[[], float]
) -> LoadedSlot:
    """Verify, load, warm and self-test. Blocks for as long as the model takes to load.

    Raises:
        ArtifactRefused: whatever is wrong with the slot.
    """
    opened = open_slot(slot, manifest_digest)
    vectors = golden.restrict(golden.read(opened.golden), opened.annotations)
    engine = onnx.load(opened.model, opened.annotations, threads=threads)
    try:
        batches = golden.batches(vectors, engine.inputs)
        deviation = prove(engine, vectors, batches)
        row_seconds = _warm(engine, batches[0], clock)
    except BaseException:
        engine.close()
        raise
    return LoadedSlot(opened, engine, batches, vectors, deviation, row_seconds)


def prove(engine: Engine, vectors: golden.Golden, batches: tuple[Tensors, ...]) -> golden.Deviation:
    """Answer every golden vector and compare.

    Raises:
        GoldenSourceMismatch: also when the engine cannot answer at all.
        GoldenArtifactMismatch: as ``golden.judge``.
    """
    names = [spec.name for spec in engine.outputs]
    try:
        parts = [engine.infer(batch, names) for batch in batches]
        answers = {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(names)}
    except (RequestError, ValueError) as e:
        raise GoldenSourceMismatch(f"the model cannot answer its golden vectors: {e}") from e
    return golden.judge(vectors, answers)


def _warm(engine: Engine, batch: Tensors, clock: Callable[[], float]) -> float:
    """Time the smallest request that the model takes, per row, in seconds."""
    names = [spec.name for spec in engine.outputs]
    dynamic = all(not spec.shape or spec.shape[0] == -1 for spec in engine.inputs)
    request = {name: array[:1] if dynamic else array for name, array in batch.items()}
    rows = max(len(array) for array in request.values())
    try:
        for _ in range(_WARM_RUNS):
            engine.infer(request, names)
        start = clock()
        engine.infer(request, names)
    except RequestError:
        # Some models take the batch that they were built with and no other; they are timed as they serve.
        return 0.0
    return (clock() - start) / rows
