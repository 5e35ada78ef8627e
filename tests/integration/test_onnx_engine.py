"""ONNX Runtime behind the server's codec: every datatype there and back, options, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import orjson
import pytest
from onnx import TensorProto, helper

from edgewright_node.serving import tensors
from edgewright_node.serving.codec import Codec
from edgewright_node.serving.engines import onnx as engine
from edgewright_node.serving.errors import InferenceFailed, LoadFailed, ManifestInvalid

TYPES: dict[str, tuple[int, list[list[Any]]]] = {
    "BOOL": (TensorProto.BOOL, [[True, False]]),
    "INT8": (TensorProto.INT8, [[-128, 127]]),
    "INT16": (TensorProto.INT16, [[-(1 << 15), 1]]),
    "INT32": (TensorProto.INT32, [[-(1 << 31), 1]]),
    "INT64": (TensorProto.INT64, [[-(1 << 63), (1 << 63) - 1]]),
    "UINT8": (TensorProto.UINT8, [[0, 255]]),
    "UINT16": (TensorProto.UINT16, [[0, 65535]]),
    "UINT32": (TensorProto.UINT32, [[0, (1 << 32) - 1]]),
    "UINT64": (TensorProto.UINT64, [[0, (1 << 64) - 1]]),
    "FP16": (TensorProto.FLOAT16, [[0.5, -2.0]]),
    "FP32": (TensorProto.FLOAT, [[0.5, 1e30]]),
    "FP64": (TensorProto.DOUBLE, [[0.1, 1e300]]),
    "BYTES": (TensorProto.STRING, [["", "Zürich"]]),
}


def identity(path: Path, kind: int) -> Path:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "identity",
        [helper.make_tensor_value_info("x", kind, ["n", 2])],
        [helper.make_tensor_value_info("y", kind, ["n", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("datatype", TYPES)
@pytest.mark.parametrize("binary", [False, True])
def test_every_datatype_there_and_back(tmp_path: Path, datatype: str, binary: bool) -> None:
    kind, values = TYPES[datatype]
    loaded = engine.load(identity(tmp_path / "model.onnx", kind), {}, threads=1)
    assert (loaded.inputs[0].datatype, loaded.inputs[0].shape) == (datatype, (-1, 2))
    codec = Codec("m", "1", loaded.inputs, loaded.outputs)
    item: dict[str, Any] = {"name": "x", "datatype": datatype, "shape": [1, 2]}
    tail = b""
    if binary:
        array = tensors.from_json(loaded.inputs[0], values, (1, 2))
        tail = bytes(tensors.to_binary(loaded.inputs[0], array))
        item["parameters"] = {"binary_data_size": len(tail)}
    else:
        item["data"] = values
    head = orjson.dumps({"inputs": [item], "parameters": {"binary_data_output": binary}})
    length = len(head) if binary else None
    decoded = codec.decode(head + tail, length)
    answer: npt.NDArray[Any] = loaded.infer(decoded.inputs, ["y"])[0]
    size, parts = codec.encode(decoded.plan, [answer])
    if binary:
        assert (size, bytes(parts[1])) == (len(parts[0]), tail)
    else:
        assert orjson.loads(parts[0])["outputs"][0]["data"] == values[0]


@pytest.mark.parametrize("level", ["all", "Extended", "BASIC", "disabled"])
def test_the_manifest_says_how_to_load(tmp_path: Path, level: str) -> None:
    annotations = {engine.OPTIMIZATION_LEVEL: level, engine.X64_QUANT_PRECISION: "1"}
    loaded = engine.load(identity(tmp_path / "model.onnx", TensorProto.FLOAT), annotations, threads=1)
    assert np.array_equal(loaded.infer({"x": np.ones((1, 2), np.float32)}, ["y"])[0], [[1, 1]])


@pytest.mark.parametrize("name", [engine.OPTIMIZATION_LEVEL, engine.X64_QUANT_PRECISION])
def test_a_manifest_that_says_nonsense_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ManifestInvalid):
        engine.load(identity(tmp_path / "model.onnx", TensorProto.FLOAT), {name: "much"}, threads=1)


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x09" * 50])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(LoadFailed):
        engine.load(tmp_path / "model.onnx", {}, threads=1)


def test_a_failing_run_is_ours(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        "reshape",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])],
        [helper.make_tensor("shape", TensorProto.INT64, [2], [2, 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "model.onnx")
    loaded = engine.load(tmp_path / "model.onnx", {}, threads=1)
    with pytest.raises(InferenceFailed):
        loaded.infer({"x": np.ones(3, np.float32)}, ["y"])
