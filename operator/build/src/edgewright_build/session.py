"""ONNX Runtime sessions, opened one way everywhere: one thread, CPU, no messages of its own."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edgewright_api.errors import StalledError
from edgewright_api.reasons import Reason

Arrays = Mapping[str, NDArray[Any]]

BATCH: Final = 32
"""Samples per inference where the model lets us choose: large enough to be quick, small enough for memory."""


class Level(StrEnum):
    """How far ONNX Runtime rewrites a graph when it loads it."""

    OFF = "Off"
    BASIC = "Basic"
    EXTENDED = "Extended"
    ALL = "All"


_LEVELS: Final = {
    Level.OFF: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    Level.BASIC: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    Level.EXTENDED: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    Level.ALL: ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


def open_session(
    model: bytes, *, level: Level = Level.ALL, exact: bool = False, save_to: Path | None = None
) -> Any:
    """Return a session for ``model``, as a node runs it unless told otherwise.

    Args:
        model: ONNX bytes.
        level: How far the graph is rewritten first.
        exact: Compute u8·s8 products without saturation on processors without VNNI. It changes nothing elsewhere.
        save_to: Where the rewritten graph is written, if anywhere.

    Raises:
        StalledError: OperatorNotSupported, when ONNX Runtime can't run the model; its own words are in the message.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = _LEVELS[level]
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if exact:
        options.add_session_config_entry("session.x64quantprecision", "1")
    if save_to is not None:
        options.optimized_model_filepath = str(save_to)
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own classes share no useful base
        raise StalledError(
            Reason.OPERATOR_NOT_SUPPORTED,
            f"ONNX Runtime {ort.__version__} can't run this model: {_first_line(error)}",
            remedy="Export it with operators that this version of ONNX Runtime has",
        ) from error


def run_batches(
    session: Any, batches: Iterator[dict[str, NDArray[Any]]]
) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield the outputs by name for each batch, in order."""
    names = [o.name for o in session.get_outputs()]
    for batch in batches:
        yield dict(zip(names, session.run(names, batch), strict=True))


def decisions(session: Any, batches: Iterator[dict[str, NDArray[Any]]]) -> NDArray[np.int32]:
    """Return ``[N]``, the largest entry along the last axis of the first output; a row with a NaN decides -1."""
    parts: list[NDArray[np.int32]] = []
    name = session.get_outputs()[0].name
    for outputs in run_batches(session, batches):
        values = outputs[name].reshape(outputs[name].shape[0], -1)
        chosen = values.argmax(axis=1).astype(np.int32)
        chosen[~np.isfinite(values).all(axis=1)] = -1
        parts.append(chosen)
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:400]
