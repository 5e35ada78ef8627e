"""Trains the demo's network on scikit-learn's handwritten digits and writes models and data sets.

Runs in an environment of its own (requirements.txt), since training stacks pin what runtimes pin otherwise.
Fixed seed: the same machine gives the same network. Version 1.1.0 is 1.0.0 trained on with shifted images.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits

SEED = 20261125
HELD_OUT = 600
CALIBRATION = 200
SIDE = 32
LAYERS = ((1, 32, 2), (32, 64, 2), (64, 128, 1), (128, 128, 2))
"""(channels in, channels out, stride) of each 3x3 convolution: wide enough that int8 can pay."""

Params = dict[str, jax.Array]


def images() -> tuple[np.ndarray, np.ndarray]:
    """Return all digits as float32 [1797, 1, 32, 32] in 0..1, and their labels, in a fixed random order."""
    digits = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.target))
    large = np.kron(digits.images[order] / 16.0, np.ones((1, SIDE // 8, SIDE // 8)))
    return large[:, None].astype(np.float32), digits.target[order].astype(np.int64)


def initial(key: jax.Array) -> Params:
    """Return He-initialised weights."""
    params: Params = {}
    for i, (fan_in, out, _) in enumerate(LAYERS):
        key, sub = jax.random.split(key)
        scale = (2.0 / (9 * fan_in)) ** 0.5
        params[f"w{i}"] = scale * jax.random.normal(sub, (out, fan_in, 3, 3))
        params[f"b{i}"] = jnp.zeros(out)
    key, sub = jax.random.split(key)
    params["w"] = (1.0 / LAYERS[-1][1]) ** 0.5 * jax.random.normal(sub, (LAYERS[-1][1], 10))
    params["b"] = jnp.zeros(10)
    return params


def forward(params: Params, x: jax.Array) -> jax.Array:
    """Return logits [N, 10] of images [N, 1, 32, 32]."""
    for i, (_, _, stride) in enumerate(LAYERS):
        x = jax.lax.conv(x, params[f"w{i}"], (stride, stride), "SAME") + params[f"b{i}"][:, None, None]
        x = jax.nn.relu(x)
    return x.mean((2, 3)) @ params["w"] + params["b"]


def loss(params: Params, x: jax.Array, y: jax.Array) -> jax.Array:
    """Return the mean cross-entropy."""
    return -jnp.take_along_axis(jax.nn.log_softmax(forward(params, x)), y[:, None], 1).mean()


def _adam(
    params: Params, m: Params, v: Params, step: jax.Array, x: jax.Array, y: jax.Array
) -> tuple[Params, ...]:
    """Return parameters and moments after one step of Adam (Kingma and Ba, 2015)."""
    g = jax.grad(loss)(params, x, y)
    m = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, m, g)
    v = jax.tree.map(lambda a, b: 0.999 * a + 0.001 * b * b, v, g)

    def new(p: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
        return p - 1e-3 * (a / (1 - 0.9**step)) / (jnp.sqrt(b / (1 - 0.999**step)) + 1e-8)

    return jax.tree.map(new, params, m, v), m, v


adam = jax.jit(_adam)


def batches(
    x: np.ndarray, y: np.ndarray, epochs: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield shuffled batches of 64, each image moved by up to two pixels."""
    for _ in range(epochs):
        order = rng.permutation(len(y))
        for start in range(0, len(order) - 63, 64):
            take = order[start : start + 64]
            dy, dx = rng.integers(-2, 3, 2)
            yield np.roll(x[take], (dy, dx), (2, 3)), y[take]


def train(params: Params, x: np.ndarray, y: np.ndarray, epochs: int, seed: int) -> Params:
    """Return the parameters after some epochs."""
    m = jax.tree.map(jnp.zeros_like, params)
    v = m
    for step, (bx, by) in enumerate(batches(x, y, epochs, np.random.default_rng(seed)), 1):
        params, m, v = adam(params, m, v, jnp.asarray(float(step)), bx, by)
    return params


def to_onnx(params: Params) -> bytes:
    """Return the network as an ONNX model with a dynamic batch: image [-1, 1, 32, 32] to logits [-1, 10]."""
    nodes, weights, value = [], [], "image"
    for i, (_, _, stride) in enumerate(LAYERS):
        weights += [numpy_helper.from_array(np.asarray(params[n + str(i)]), n + str(i)) for n in "wb"]
        pads = [1, 1, 1, 1] if stride == 1 else [0, 0, 1, 1]  # what SAME means for an even side
        nodes.append(
            helper.make_node("Conv", [value, f"w{i}", f"b{i}"], [f"c{i}"], strides=[stride] * 2, pads=pads)
        )
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"]))
        value = f"r{i}"
    weights += [numpy_helper.from_array(np.asarray(params[n]), n) for n in "wb"]
    nodes += [
        helper.make_node("GlobalAveragePool", [value], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "w", "b"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for models and data sets")
    parser.add_argument("--epochs", type=int, default=10)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    x, y = images()
    held, rest = slice(0, HELD_OUT), slice(HELD_OUT, None)
    np.savez(args.out / "acceptance.npz", image=x[held], labels=y[held])
    np.savez(args.out / "calibration.npz", image=x[rest][:CALIBRATION], labels=y[rest][:CALIBRATION])
    params = initial(jax.random.key(SEED))
    for version, epochs in (("1.0.0", args.epochs), ("1.1.0", max(1, args.epochs // 2))):
        params = train(params, x[rest], y[rest], epochs, SEED + epochs)
        (args.out / f"digits-{version}.onnx").write_bytes(to_onnx(params))
        right = float((np.asarray(forward(params, x[held])).argmax(1) == y[held]).mean())
        print(
            f"{version}: {right:.1%} of {HELD_OUT} held-out digits, {time.monotonic() - started:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
