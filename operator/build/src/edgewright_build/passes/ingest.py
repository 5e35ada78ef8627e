"""ingest: any file in, a checked ONNX model of a known opset out, or a clear refusal."""

from typing import Any, Final

import onnx
from onnx import version_converter

from edgewright_api.edgemodel import Interface, Tensor
from edgewright_api.errors import StalledError
from edgewright_api.reasons import Reason
from edgewright_build import graph
from edgewright_build.formats import require_onnx
from edgewright_build.passes import PassInput, PassOutput
from edgewright_build.session import Level, open_session

MIN_OPSET: Final = 13
"""The first opset whose QuantizeLinear takes a scale per channel."""
_DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})


def run(given: PassInput) -> PassOutput:
    """Return the source as ONNX of opset 13 or newer that ONNX Runtime can run.

    Raises:
        StalledError: FormatNotSupported, ModelInvalid, OperatorNotSupported or InterfaceMismatch.
    """
    source = given.read("source")
    require_onnx(source)
    model = graph.parse(source)
    _require_self_contained(model)
    _check(model)
    opset = graph.default_opset(model)
    if opset < MIN_OPSET:
        model = _raise_opset(model, opset)
    found = graph.interface(model)
    _require_batch(found)
    if wanted := graph.declared(given.options.get("interface")):
        _require_interface(found, wanted)
    data = graph.dump(model)
    open_session(data, level=Level.OFF)
    facts = {
        "format": "onnx",
        "producer": f"{model.producer_name} {model.producer_version}".strip()[:128],
        "opsetBefore": opset,
        "opset": graph.default_opset(model),
        "operators": graph.operators(model),
        "interface": found.to_wire(),
    }
    return PassOutput(data, facts)


def _require_self_contained(model: Any) -> None:
    for part in graph.graphs(model):
        for tensor in part.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                raise StalledError(
                    Reason.MODEL_INVALID,
                    f"the weights {tensor.name!r} lie in another file",
                    remedy="Save the model in one file: onnx.save(model, path, save_as_external_data=False)",
                )
        for node in part.node:
            if node.domain not in _DOMAINS:
                raise _unsupported(f"{node.domain}.{node.op_type}", node.name)
    if model.functions:
        function = model.functions[0]
        raise _unsupported(f"local function {function.domain}.{function.name}", "")


def _unsupported(operator: str, node: str) -> StalledError:
    where = f" of node {node!r}" if node else ""
    return StalledError(
        Reason.OPERATOR_NOT_SUPPORTED,
        f"operator {operator}{where} is not supported",
        remedy="Export the model with standard ONNX operators only",
    )


def _check(model: Any) -> None:
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise StalledError(
            Reason.MODEL_INVALID,
            f"the model breaks the ONNX rules: {str(error).strip().splitlines()[0][:400]}",
            remedy="Export it again; onnx.checker.check_model must pass",
        ) from error


def _raise_opset(model: Any, opset: int) -> Any:
    try:
        return version_converter.convert_version(model, MIN_OPSET)
    except Exception as error:  # the converter raises whatever its C++ side raised
        raise StalledError(
            Reason.OPERATOR_NOT_SUPPORTED,
            f"opset {opset} can't be raised to {MIN_OPSET}: {str(error).strip()[:300]}",
            remedy=f"Export the model with opset {MIN_OPSET} or newer",
        ) from error


def _require_batch(found: Interface) -> None:
    for tensor in found.inputs:
        if not tensor.shape or tensor.shape[0] not in (-1, 1):
            raise StalledError(
                Reason.MODEL_INVALID,
                f"input {tensor.name!r} has shape {list(tensor.shape)}: its first dimension is not the sample",
                remedy="Export the model with a dynamic first dimension, or with batch 1",
            )


def _require_interface(found: Interface, wanted: Interface) -> None:
    for what, have, want in (
        ("input", found.inputs, wanted.inputs),
        ("output", found.outputs, wanted.outputs),
    ):
        if len(have) != len(want) or not all(map(_fits, have, want)):
            raise StalledError(
                Reason.INTERFACE_MISMATCH,
                f"the model's {what}s are {_words(have)}, spec.interface says {_words(want)}",
                remedy="Correct spec.interface, or leave it out to have it inferred",
            )


def _fits(have: Tensor, want: Tensor) -> bool:
    return (
        have.name == want.name
        and have.data_type is want.data_type
        and len(have.shape) == len(want.shape)
        and all(h == w or h == -1 for h, w in zip(have.shape, want.shape, strict=True))
    )


def _words(tensors: tuple[Tensor, ...]) -> str:
    return ", ".join(f"{t.name} {t.data_type} {list(t.shape)}" for t in tensors)
