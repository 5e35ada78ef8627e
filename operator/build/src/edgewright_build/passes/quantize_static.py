"""quantize-static: int8 by QuantizeLinear/DequantizeLinear pairs, from ranges that were calibrated before."""

import json
from typing import Any, Final

import numpy as np
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from edgewright_api.errors import StalledError
from edgewright_api.reasons import Reason
from edgewright_build import graph
from edgewright_build.passes import PassInput, PassOutput

_OPERATORS: Final = (
    "Add",
    "AveragePool",
    "Clip",
    "Concat",
    "Conv",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "LeakyRelu",
    "MatMul",
    "MaxPool",
    "Mul",
    "Pad",
    "Relu",
    "Reshape",
    "Resize",
    "Sigmoid",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)
"""What ONNX Runtime has fast integer kernels for; Softmax and normalisations stay in float on purpose."""
_PRODUCTS: Final = ("Conv", "Gemm", "MatMul")


def run(given: PassInput) -> PassOutput:
    """Return the model with unsigned 8-bit activations and signed 8-bit weights.

    Options: ``perChannel`` gives each output channel its own weight scale; ``reduceRange`` keeps weights to 7 bits,
    which makes the products exact on processors without VNNI (see ``saturation``).

    Raises:
        StalledError: OperatorNotSupported, when there is nothing to quantize.
    """
    model = graph.parse(given.read("model"))
    require_products(model, _PRODUCTS)
    ranges = json.loads(given.read("ranges"))["ranges"]
    tensors = {
        name: TensorData(lowest=np.float32(low), highest=np.float32(high))
        for name, (low, high) in ranges.items()
    }
    before = graph.interface(model)
    quantizer = QDQQuantizer(
        model,
        bool(given.options["perChannel"]),
        bool(given.options["reduceRange"]),
        QuantType.QInt8,
        QuantType.QUInt8,
        TensorsData(CalibrationMethod.MinMax, tensors),
        None,
        None,
        list(_OPERATORS),
        {},
    )
    quantizer.quantize_model()
    quantized = quantizer.model.model
    quantized.ClearField("producer_name")
    quantized.ClearField("producer_version")
    if graph.interface(quantized) != before:
        raise AssertionError("quantize-static changed the interface")
    counts = graph.operators(quantized)
    facts = {
        "weightBits": 7 if given.options["reduceRange"] else 8,
        "perChannel": bool(given.options["perChannel"]),
        "quantizeLinear": counts.get("QuantizeLinear", 0),
        "dequantizeLinear": counts.get("DequantizeLinear", 0),
        "products": sum(counts.get(name, 0) for name in _PRODUCTS),
    }
    return PassOutput(graph.dump(quantized), facts)


def require_products(model: Any, operators: tuple[str, ...]) -> None:
    """Return when the model multiplies by constant weights in at least one of these operators.

    Raises:
        StalledError: OperatorNotSupported, with the operators that would have counted.
    """
    weights = {t.name for t in model.graph.initializer}
    if not any(n.op_type in operators and set(n.input) & weights for n in model.graph.node):
        raise StalledError(
            Reason.OPERATOR_NOT_SUPPORTED,
            f"there is nothing to quantize: no {', '.join(operators)} with constant weights",
            remedy="Use the recipe Float for this model",
        )
