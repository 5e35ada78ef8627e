"""A data plane without a runtime and a connection without a socket, for unit tests of the server."""

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np

from edgewright_node.serving.api import Api
from edgewright_node.serving.codec import Codec
from edgewright_node.serving.dataplane import DataPlane, ServedModel
from edgewright_node.serving.datatypes import Array
from edgewright_node.serving.engines.base import Tensors, TensorSpec
from edgewright_node.serving.errors import InferenceFailed
from edgewright_node.serving.http import Connection, Hub, Limits
from edgewright_node.serving.metrics import HttpStats, ModelInfo, ModelStats

IMAGE = TensorSpec("image", "FP32", (-1, 2))
LOGITS = TensorSpec("logits", "FP32", (-1, 2))
DIGEST = "sha256:" + "a" * 64


class DoublingEngine:
    """Answers twice its first input; fails where that is 666."""

    platform = "fake"

    def __init__(
        self, inputs: Sequence[TensorSpec] = (IMAGE,), outputs: Sequence[TensorSpec] = (LOGITS,)
    ) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.closed = False

    def infer(self, inputs: Tensors, outputs: Sequence[str]) -> Sequence[Array]:
        assert not self.closed, "an inference ran on a freed model"
        first = inputs[self.inputs[0].name]
        if (first == 666).any():
            raise InferenceFailed("the number of the beast")
        return [first * np.asarray(2, first.dtype) for _ in outputs]

    def close(self) -> None:
        self.closed = True


class InlineExecutor(Executor):
    """Runs what it is given at once."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as e:
            done.set_exception(e)
        return done


class FakeTransport(asyncio.Transport):
    """Keeps what is written; remembers how it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.ended = ""
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def writelines(self, list_of_data: Any) -> None:
        self.written += b"".join(list_of_data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = "eof"

    def close(self) -> None:
        self.ended = "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def is_closing(self) -> bool:
        return self.ended in ("closed", "aborted")

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def make_model(
    *,
    name: str = "digits",
    version: str = "1.0.0",
    deployment: str = "vision/digits",
    engine: DoublingEngine | None = None,
    row_seconds: float = 0.0,
) -> ServedModel:
    engine = engine or DoublingEngine()
    info = ModelInfo(name, version, deployment, DIGEST, DIGEST)
    codec = Codec(name, version, engine.inputs, engine.outputs)
    return ServedModel(info, engine, codec, ModelStats(), row_seconds)


def make_plane(*models: ServedModel) -> DataPlane:
    plane = DataPlane(InlineExecutor(), clock=lambda: 0.0)
    for model in models:
        plane.put(model)
    return plane


def make_hub(*models: ServedModel, limits: Limits | None = None, loop: Any = None) -> Hub:
    api = Api(make_plane(*models), lambda: True, HttpStats())
    return Hub(api, loop, limits or Limits())


def connect(hub: Hub) -> tuple[Connection, FakeTransport]:
    connection, transport = Connection(hub), FakeTransport()
    connection.connection_made(transport)
    return connection, transport


def feed(connection: Connection, content: bytes, *, piece: int = 1 << 30) -> None:
    """Hand bytes over as a loop does: at most a buffer's length at a time, none after the end."""
    at = 0
    while at < len(content) and connection.transport is not None and not connection.transport.is_closing():
        buffer = connection.get_buffer(-1)
        size = min(len(buffer), piece, len(content) - at)
        buffer[:size] = content[at : at + size]
        connection.buffer_updated(size)
        at += size


def infer_body(values: Sequence[Sequence[float]], **members: Any) -> bytes:
    item = {"name": "image", "shape": [len(values), 2], "datatype": "FP32", "data": values}
    return json.dumps({"inputs": [item], **members}).encode()


def post(body: bytes, target: str = "/v2/models/digits/infer", *headers: str) -> bytes:
    lines = [f"POST {target} HTTP/1.1", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def statuses(answers: bytes | bytearray) -> list[int]:
    """Return the status of each answer in what was written, by their framing."""
    found, written = [], bytes(answers)
    while written:
        head, _, rest = written.partition(b"\r\n\r\n")
        found.append(int(head.split(b" ", 2)[1]))
        length = head.partition(b"Content-Length: ")[2].split(b"\r\n")[0]
        written = rest[int(length or 0) :]
    return found
