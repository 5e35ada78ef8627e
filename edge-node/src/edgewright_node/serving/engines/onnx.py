"""ONNX Runtime on the CPU."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from edgewright_node.serving.datatypes import Array
from edgewright_node.serving.engines.base import Tensors, TensorSpec
from edgewright_node.serving.errors import InferenceFailed, InvalidRequest, LoadFailed, ManifestInvalid

OPTIMIZATION_LEVEL: Final = "dev.edgewright.ort.optimization-level"
"""Annotation: all, extended, basic or disabled; without it, all."""

X64_QUANT_PRECISION: Final = "dev.edgewright.ort.x64quantprecision"
"""Annotation: "1" makes x86 kernels without VNNI exact for U8S8, at some cost, instead of saturating."""

_LEVELS: Final = {
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "disabled": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}

_DATATYPES: Final = {
    "tensor(bool)": "BOOL",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}

_ERROR_LENGTH: Final = 256


class OnnxEngine:
    """One session. ``infer`` takes what the session takes, by name."""

    platform = "onnxruntime_onnx"

    def __init__(self, session: ort.InferenceSession) -> None:
        self.inputs = tuple(_spec(arg) for arg in session.get_inputs())
        self.outputs = tuple(_spec(arg) for arg in session.get_outputs())
        # The wrapper's `run` checks names, which the plan of a request has done; the binding is 1.5 µs less.
        self._session = session
        self._run = session._sess.run

    def infer(self, inputs: Tensors, outputs: Sequence[str]) -> Sequence[Array]:
        try:
            found: Sequence[Array] = self._run(outputs, inputs, None)
        except InvalidArgument as e:
            raise InvalidRequest(_short(e)) from e
        except Exception as e:  # the runtime has a class of its own for each status, without a common base
            raise InferenceFailed(_short(e)) from e
        return found

    def close(self) -> None:
        del self._run
        del self._session


def load(model: Path, annotations: Mapping[str, str], *, threads: int) -> OnnxEngine:
    """Open a model whose bytes were verified.

    Args:
        model: An ONNX file.
        annotations: Those of the artifact's manifest.
        threads: Threads within one operator, at least 1; operators run one after the other.

    Raises:
        ManifestInvalid: an annotation has a value that is not known.
        LoadFailed: the runtime refuses the file.
    """
    options = _options(annotations, threads)
    try:
        return OnnxEngine(ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]))
    except LoadFailed:
        raise
    except Exception as e:  # as above: no common base
        raise LoadFailed(_short(e)) from e


def _options(annotations: Mapping[str, str], threads: int) -> ort.SessionOptions:
    level = _LEVELS.get(annotations.get(OPTIMIZATION_LEVEL, "all").lower())
    if level is None:
        raise ManifestInvalid(f"{OPTIMIZATION_LEVEL} is one of {', '.join(_LEVELS)}")
    precision = annotations.get(X64_QUANT_PRECISION, "0")
    if precision not in ("0", "1"):
        raise ManifestInvalid(f"{X64_QUANT_PRECISION} is 0 or 1, not {precision!r}")
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A spinning pool would take the second core from the agent, and a session waits here most of the time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if precision == "1":
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


def _spec(arg: Any) -> TensorSpec:
    datatype = _DATATYPES.get(arg.type)
    if datatype is None:
        raise LoadFailed(f"tensor {arg.name!r} has type {arg.type}, which the protocol cannot carry")
    return TensorSpec(arg.name, datatype, tuple(n if isinstance(n, int) else -1 for n in arg.shape))


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:_ERROR_LENGTH]
