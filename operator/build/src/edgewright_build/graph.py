"""ONNX graphs as bytes: parse, serialise the same way every time, walk, and read the interface.

A helper of passes and evaluators; nothing here decides.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import onnx

from edgewright_api.edgemodel import DataType, Interface, Tensor
from edgewright_api.errors import StalledError
from edgewright_api.reasons import Reason

_DATA_TYPES: Final = {
    onnx.TensorProto.BOOL: DataType.BOOL,
    onnx.TensorProto.INT8: DataType.INT8,
    onnx.TensorProto.INT16: DataType.INT16,
    onnx.TensorProto.INT32: DataType.INT32,
    onnx.TensorProto.INT64: DataType.INT64,
    onnx.TensorProto.UINT8: DataType.UINT8,
    onnx.TensorProto.UINT16: DataType.UINT16,
    onnx.TensorProto.UINT32: DataType.UINT32,
    onnx.TensorProto.UINT64: DataType.UINT64,
    onnx.TensorProto.FLOAT16: DataType.FP16,
    onnx.TensorProto.FLOAT: DataType.FP32,
    onnx.TensorProto.DOUBLE: DataType.FP64,
}
NUMPY_TYPES: Final = {
    DataType.BOOL: "bool",
    DataType.INT8: "int8",
    DataType.INT16: "int16",
    DataType.INT32: "int32",
    DataType.INT64: "int64",
    DataType.UINT8: "uint8",
    DataType.UINT16: "uint16",
    DataType.UINT32: "uint32",
    DataType.UINT64: "uint64",
    DataType.FP16: "float16",
    DataType.FP32: "float32",
    DataType.FP64: "float64",
}


def parse(data: bytes) -> Any:
    """Return the ModelProto in ``data``.

    Raises:
        StalledError: ModelInvalid, when it is no ONNX model.
    """
    try:
        return onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's own class has no types and moves between its implementations
        raise StalledError(
            Reason.MODEL_INVALID, f"the model can't be parsed: {error}", remedy="Export and upload it again"
        ) from error


def dump(model: Any) -> bytes:
    """Return the model's bytes; the same model gives the same bytes in every process."""
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def graphs(model: Any) -> Iterator[Any]:
    """Yield the main graph and every graph nested in an attribute."""
    pending = [model.graph]
    while pending:
        graph = pending.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                pending.extend(attribute.graphs)
                if attribute.HasField("g"):
                    pending.append(attribute.g)


def operators(model: Any) -> dict[str, int]:
    """Return how often each operator occurs, sorted by name; others than ONNX's own carry their domain."""
    names = (
        f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        for graph in graphs(model)
        for node in graph.node
    )
    return dict(sorted(Counter(names).items()))


def default_opset(model: Any) -> int:
    """Return the version of ONNX's own operator set that the model uses, 0 when it names none."""
    return next((int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)


def interface(model: Any) -> Interface:
    """Return what goes in and comes out; a symbolic or unknown dimension is -1.

    Raises:
        StalledError: ModelInvalid, when an input or output is no plain tensor of a known type and rank.
    """
    constants = {t.name for t in model.graph.initializer}
    inputs = tuple(_tensor(i) for i in model.graph.input if i.name not in constants)
    outputs = tuple(_tensor(o) for o in model.graph.output)
    if not inputs or not outputs:
        raise StalledError(
            Reason.MODEL_INVALID, "the model has no input or no output", remedy="Export it with both"
        )
    return Interface(inputs=inputs, outputs=outputs)


def _tensor(value: Any) -> Tensor:
    kind = value.type
    if not kind.HasField("tensor_type") or kind.tensor_type.elem_type not in _DATA_TYPES:
        raise StalledError(
            Reason.MODEL_INVALID,
            f"{value.name} is not a tensor of numbers",
            remedy="Export the model with tensors of numbers as inputs and outputs",
        )
    if not kind.tensor_type.HasField("shape"):
        raise StalledError(
            Reason.MODEL_INVALID,
            f"the rank of {value.name} is unknown",
            remedy="Export the model with shapes",
        )
    shape = tuple(int(d.dim_value) if d.HasField("dim_value") else -1 for d in kind.tensor_type.shape.dim)
    return Tensor(name=value.name, shape=shape, data_type=_DATA_TYPES[kind.tensor_type.elem_type])


def declared(interface_options: Any) -> Interface | None:
    """Return the interface that a plan's options declare, if any."""
    return Interface.model_validate(interface_options) if interface_options else None
