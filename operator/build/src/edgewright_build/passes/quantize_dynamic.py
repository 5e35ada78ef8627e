"""quantize-dynamic: int8 weights, activations quantized as they arrive; no calibration data is needed."""

from typing import Final

from onnxruntime.quantization import QuantType
from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
from onnxruntime.quantization.quant_utils import QuantizationMode

from edgewright_build import graph
from edgewright_build.passes import PassInput, PassOutput
from edgewright_build.passes.quantize_static import require_products

_OPERATORS: Final = ("MatMul",)
"""Gemm becomes MatMul first. Conv is left in float: ConvInteger takes 3 to 11 times as long as a float Conv."""


def run(given: PassInput) -> PassOutput:
    """Return the model with integer products; ``reduceRange`` keeps weights to 7 bits.

    Raises:
        StalledError: OperatorNotSupported, when there is nothing to quantize.
    """
    model = graph.parse(given.read("model"))
    require_products(model, ("Gemm", "MatMul"))
    before = graph.interface(model)
    quantizer = ONNXQuantizer(
        model,
        False,
        bool(given.options["reduceRange"]),
        QuantizationMode.IntegerOps,
        False,
        QuantType.QInt8,
        QuantType.QUInt8,
        None,
        None,
        None,
        list(_OPERATORS),
        {"MatMulConstBOnly": True},
    )
    quantizer.quantize_model()
    quantized = quantizer.model.model
    quantized.ClearField("producer_name")
    quantized.ClearField("producer_version")
    if graph.interface(quantized) != before:
        raise AssertionError("quantize-dynamic changed the interface")
    counts = graph.operators(quantized)
    facts = {
        "weightBits": 7 if given.options["reduceRange"] else 8,
        "integerProducts": counts.get("MatMulInteger", 0),
    }
    return PassOutput(graph.dump(quantized), facts)
