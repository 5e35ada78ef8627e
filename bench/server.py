"""What the server adds to a bare ``session.run``, over TCP and a Unix socket, binary and JSON.

    python -m bench.server [--rounds 5] [--requests 2000]

A closed loop on one connection by a client that only moves bytes. Each round measures the bare session and
every path in turn, so that a busy machine slows all alike; the figures are medians over the rounds. Server,
client and bare session are pinned to one core: across cores a wake-up in a virtual machine costs more than
the whole server, for every server alike. Model: three convolutions on 1x1x32x32, one thread.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from bench.results_format import Figure, publish
from edgewright_node import slots
from support.artifact_builders import FloatArray, make_artifact, make_deployment, make_golden

GOALS = {
    "TCP binary": (30.0, 50.0),
    "UDS binary": (25.0, 45.0),
    "TCP JSON": (60.0, 80.0),
    "UDS JSON": (60.0, 80.0),
}
"""Microseconds added to the bare session, p50 and p99."""

SHAPE = (1, 32, 32)


def network(seed: int = 0) -> bytes:
    """Return the ONNX bytes of three 3x3 convolutions (8, 16, 16 channels), pooling and a dense layer."""
    random = np.random.default_rng(seed)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        scale = (2 / np.prod(shape[1:])) ** 0.5
        return numpy_helper.from_array((random.normal(size=shape) * scale).astype(np.float32), name)

    nodes, name = [], "image"
    for i in range(3):
        nodes.append(
            helper.make_node(
                "Conv", [name, f"w{i}"], [f"c{i}"], pads=[1, 1, 1, 1], strides=[2, 2] if i else [1, 1]
            )
        )
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"]))
        name = f"r{i}"
    nodes.append(helper.make_node("GlobalAveragePool", [name], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    nodes.append(helper.make_node("MatMul", ["flat", "dense"], ["logits"]))
    weights = [
        weight("w0", 8, 1, 3, 3),
        weight("w1", 16, 8, 3, 3),
        weight("w2", 16, 16, 3, 3),
        weight("dense", 16, 10),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *SHAPE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])
    graph = helper.make_graph(nodes, "convolutions", [image], [logits], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def open_session(model: bytes) -> ort.InferenceSession:
    """Open the bare session as the server does."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def lay_out_node(root: Path, model: bytes, session: ort.InferenceSession) -> None:
    """Write a node's directory with the model active."""
    images = np.random.default_rng(1).normal(size=(16, *SHAPE)).astype(np.float32)
    golden = make_golden(images, session.run(None, {"image": images})[0], {"artifactAtol": 1e-3})
    make_deployment(root, make_artifact(replace={slots.MODEL_FILE: model, slots.GOLDEN_FILE: golden}))


def requests(image: FloatArray) -> dict[str, bytes]:
    """Return one whole request per encoding."""
    item = {"name": "image", "shape": image.shape, "datatype": "FP32"}
    binary = item | {"parameters": {"binary_data_size": image.nbytes}}
    head = json.dumps({"inputs": [binary], "parameters": {"binary_data_output": True}}).encode()
    # As short as a float32 can be written, which is what clients that care send.
    numbers = [float(str(value)) for value in image.ravel()]
    plain = json.dumps({"inputs": [item | {"data": numbers}]}).encode()
    line = b"POST /v2/models/digits/infer HTTP/1.1\r\nHost: node\r\n"
    return {
        "binary": line
        + b"Inference-Header-Content-Length: %d\r\nContent-Length: %d\r\n\r\n"
        % (len(head), len(head) + image.nbytes)
        + head
        + image.tobytes(),
        "JSON": line + b"Content-Length: %d\r\n\r\n" % len(plain) + plain,
    }


def asker(sock: socket.socket, content: bytes) -> Callable[[], None]:
    """Return a call that sends the request and reads the whole answer; each answer is as long as the first."""
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    sock.sendall(content)
    got = sock.recv_into(view)
    while (end := buffer.find(b"\r\n\r\n", 0, got)) < 0:
        got += sock.recv_into(view[got:])
    head = bytes(buffer[:end])
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(bytes(buffer[:got]).decode(errors="replace"))
    size = end + 4 + int(head.partition(b"\r\nContent-Length: ")[2].split(b"\r\n")[0])
    while got < size:
        got += sock.recv_into(view[got:])

    def ask() -> None:
        sock.sendall(content)
        left = size
        while left > 0:
            left -= sock.recv_into(view)
        if buffer[9:12] != b"200":
            raise RuntimeError(bytes(view[:200]).decode(errors="replace"))

    return ask


def measure(call: Callable[[], object], count: int) -> tuple[float, float]:
    """Return p50 and p99 of ``count`` calls, in microseconds."""
    for _ in range(50):
        call()
    times = []
    for _ in range(count):
        start = time.perf_counter_ns()
        call()
        times.append((time.perf_counter_ns() - start) / 1e3)
    times.sort()
    return times[count // 2], times[int(count * 0.99)]


def start(root: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start the server; it inherits the core that this process is pinned to."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("EDGEWRIGHT_")}
    env |= {
        "EDGEWRIGHT_SERVER_ROOT": str(root),
        "EDGEWRIGHT_SERVER_HTTP": "127.0.0.1:0",
        "EDGEWRIGHT_SERVER_UDS": str(root / "server.sock"),
    }
    argv = [sys.executable, "-m", "edgewright_node", "server"]
    process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())["port"]


def wait_until_ready(port: int) -> None:
    """Wait for the model to be loaded."""
    for _ in range(200):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
            if sock.recv(4096).startswith(b"HTTP/1.1 200"):
                return
        time.sleep(0.05)
    raise RuntimeError("the server did not become ready")


def run(rounds: int, count: int) -> list[Figure]:
    """Measure everything in turn, ``rounds`` times."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    model = network()
    session = open_session(model)
    image = np.random.default_rng(2).normal(size=(1, *SHAPE)).astype(np.float32)
    contents = requests(image)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        lay_out_node(root, model, session)
        process, port = start(root)
        try:
            wait_until_ready(port)
            tcp = socket.create_connection(("127.0.0.1", port))
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            uds = socket.socket(socket.AF_UNIX)
            uds.connect(str(root / "server.sock"))
            with tcp, uds:
                calls: dict[str, Callable[[], object]] = {
                    f"{way} {kind}": asker(sock, content)
                    for way, sock in (("TCP", tcp), ("UDS", uds))
                    for kind, content in contents.items()
                }
                calls["bare"] = lambda: session.run(None, {"image": image})
                found: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
                for _ in range(rounds):
                    for name, call in calls.items():
                        found[name].append(measure(call, count))
            resident = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        finally:
            process.terminate()
            process.wait(30)
    memory = resident * os.sysconf("SC_PAGESIZE") / 2**20
    return [*figures(found), Figure(name="server resident memory", value=memory, unit="MiB", goal=130.0)]


def figures(found: dict[str, list[tuple[float, float]]]) -> list[Figure]:
    """Turn rounds of (p50, p99) into figures; "added" is the median over rounds of the paired difference."""
    middle = {
        name: (statistics.median(p for p, _ in each), statistics.median(q for _, q in each))
        for name, each in found.items()
    }
    out = [
        Figure(name=f"session.run {label}", value=middle["bare"][i], unit="µs")
        for i, label in enumerate(("p50", "p99"))
    ]
    for name, goals in GOALS.items():
        for i, label in enumerate(("p50", "p99")):
            value = middle[name][i]
            ratio = {"session.run": value / middle["bare"][i]}
            out.append(Figure(name=f"{name} {label}", value=value, unit="µs", ratio_to=ratio))
            pairs = zip(found[name], found["bare"], strict=True)
            added = statistics.median(ours[i] - bare[i] for ours, bare in pairs)
            out.append(Figure(name=f"{name} added {label}", value=added, unit="µs", goal=goals[i]))
    return out


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=2000)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    conditions = (
        f"closed loop, 1 connection, one core for client and server, 1 thread, medians of {given.rounds} "
        f"interleaved rounds x {given.requests} requests, 1x1x32x32 convolutions, load {load:.1f} before"
    )
    publish("server", run(given.rounds, given.requests), conditions=conditions)


if __name__ == "__main__":
    main()
