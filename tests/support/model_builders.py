"""Real small models and data sets: scikit-learn's digits and a convolutional network fitted to them in a moment."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits

Floats = NDArray[np.float32]

IMAGE, LOGITS = "image", "logits"


@dataclass(frozen=True, slots=True)
class Split:
    """Some labelled images: ``[N, 1, 8, 8]`` from 0 to 1, and their classes ``[N]``."""

    images: Floats
    labels: NDArray[np.int64]


@cache
def digits() -> tuple[Split, Split, Split]:
    """Return training (1,000), calibration (197) and acceptance (600) images, each its own."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(7).permutation(len(images))
    shaped = (images[order].reshape(-1, 1, 8, 8) / 16).astype(np.float32)
    classes = labels[order].astype(np.int64)
    cuts = ((0, 1000), (1000, 1197), (1197, 1797))
    train, calibration, acceptance = (Split(shaped[a:b], classes[a:b]) for a, b in cuts)
    return train, calibration, acceptance


def conv_model(weights: Mapping[str, Floats], *, opset: int = 17, names: str = "") -> onnx.ModelProto:
    """Return Conv-Relu-Conv-Relu-Flatten-Gemm with these weights; ``names`` is put before inner names."""
    p = names
    nodes = [
        helper.make_node("Conv", [IMAGE, f"{p}w1", f"{p}b1"], [f"{p}c1"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", [f"{p}c1"], [f"{p}r1"]),
        helper.make_node(
            "Conv",
            [f"{p}r1", f"{p}w2", f"{p}b2"],
            [f"{p}c2"],
            kernel_shape=[3, 3],
            pads=[1] * 4,
            strides=[2, 2],
        ),
        helper.make_node("Relu", [f"{p}c2"], [f"{p}r2"]),
        helper.make_node("Flatten", [f"{p}r2"], [f"{p}f"]),
    ]
    if "w3" in weights:
        nodes.append(helper.make_node("Gemm", [f"{p}f", f"{p}w3", f"{p}b3"], [LOGITS]))
    else:
        nodes[-1].output[0] = LOGITS
    width = 10 if "w3" in weights else 512
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info(IMAGE, TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["N", width])],
        [numpy_helper.from_array(values, p + name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@cache
def fitted_weights() -> dict[str, Floats]:
    """Return fixed random convolutions and a classifier fitted to their features by least squares."""
    import onnxruntime as ort

    rng = np.random.default_rng(3)
    weights: dict[str, Floats] = {
        "w1": rng.normal(0, 0.6, (16, 1, 3, 3)).astype(np.float32),
        "b1": rng.normal(0, 0.5, 16).astype(np.float32),
        "w2": rng.normal(0, 0.12, (32, 16, 3, 3)).astype(np.float32),
        "b2": rng.normal(0, 0.5, 32).astype(np.float32),
    }
    train = digits()[0]
    session = ort.InferenceSession(
        conv_model(weights).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    features = session.run([LOGITS], {IMAGE: train.images})[0].astype(np.float64)
    wanted = np.eye(10)[train.labels] * 2 - 1
    mean, target = features.mean(axis=0), wanted.mean(axis=0)
    centred = features - mean
    classifier = np.linalg.solve(centred.T @ centred + 3.0 * np.eye(512), centred.T @ (wanted - target))
    weights["w3"] = (classifier * 4).astype(np.float32)
    weights["b3"] = ((target - mean @ classifier) * 4).astype(np.float32)
    return weights


def digits_model(*, names: str = "", opset: int = 17) -> bytes:
    """Return the fitted network as ONNX; about 96 % of the acceptance images are right."""
    data: bytes = conv_model(fitted_weights(), names=names, opset=opset).SerializeToString()
    return data


def write_data_set(path: Path, images: Floats, labels: NDArray[Any] | None = None) -> Path:
    """Write an ``.npz`` as users do and return its path."""
    arrays: dict[str, NDArray[Any]] = {IMAGE: images}
    if labels is not None:
        arrays["labels"] = labels
    np.savez(path, **arrays)  # type: ignore[arg-type]  # numpy's stub takes the keywords for its own flags
    return path
