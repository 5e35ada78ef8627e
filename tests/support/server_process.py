"""A real server process over a directory of slots, and a client that counts every byte itself."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgewright_node import slots


@dataclass(frozen=True, slots=True)
class Server:
    """A server that listens."""

    process: subprocess.Popen[bytes]
    root: Path
    port: int
    uds: Path

    def tcp(self) -> "Client":
        return Client(socket.create_connection(("127.0.0.1", self.port), timeout=20))

    def local(self) -> "Client":
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(20)
        sock.connect(str(self.uds))
        return Client(sock)

    def report(self, where: slots.Deployment) -> slots.ServerReport | None:
        found = slots.read_server_reports(where).get("server-0")
        return found if isinstance(found, slots.ServerReport) else None

    def rss_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")


@contextmanager
def run_server(root: Path, uds: Path, **environment: str) -> Iterator[Server]:
    """Start ``edgewright-node server`` on a free port and a socket; ends it by SIGTERM."""
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith("EDGEWRIGHT_")},  # noqa: TID251 - the child's
        "EDGEWRIGHT_SERVER_ROOT": str(root),
        "EDGEWRIGHT_SERVER_HTTP": "127.0.0.1:0",
        "EDGEWRIGHT_SERVER_UDS": str(uds),
        "EDGEWRIGHT_SERVER_ID": "server-0",
        **environment,
    }
    argv = [sys.executable, "-m", "edgewright_node", "server"]
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, "the server ended before it listened"
            yield Server(process, root, json.loads(line)["port"], uds)
        finally:
            process.terminate()
            try:
                process.wait(25)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_for(what: Callable[[], Any], *, seconds: float = 20.0) -> Any:
    """Return the first true answer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"it did not come true within {seconds:g} s")


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        length = self.headers.get("inference-header-content-length")
        return json.loads(self.body[: int(length)] if length else self.body)

    def tail(self) -> bytes:
        return self.body[int(self.headers["inference-header-content-length"]) :]


class Client:
    """One connection; no retries, no reconnecting."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._file = sock.makefile("rb")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self.sock.close()

    def send(self, content: bytes) -> None:
        self.sock.sendall(content)

    def receive(self, *, head_only: bool = False) -> Reply:
        status_line = self._file.readline()
        if not status_line:
            raise ConnectionError("the server closed the connection")
        headers: dict[str, str] = {}
        while (line := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        size = 0 if head_only else int(headers.get("content-length", "0"))
        return Reply(int(status_line.split()[1]), headers, self._file.read(size))

    def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> Reply:
        self.send(request(method, target, body, **headers))
        return self.receive(head_only=method == "HEAD")

    def closed(self) -> bool:
        return self._file.read(1) == b""


def request(method: str, target: str, body: bytes = b"", **headers: str) -> bytes:
    """Return the bytes of a request; a header's underscores become hyphens."""
    lines = [f"{method} {target} HTTP/1.1", "Host: node"]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def binary(images: npt.NDArray[np.float32], target: str = "/v2/models/digits/infer") -> bytes:
    """Return a binary inference request for the classifier of ``artifact_builders``, binary output asked."""
    item = {
        "name": "image",
        "shape": images.shape,
        "datatype": "FP32",
        "parameters": {"binary_data_size": images.nbytes},
    }
    head = json.dumps({"inputs": [item], "parameters": {"binary_data_output": True}}).encode()
    return request("POST", target, head + images.tobytes(), Inference_Header_Content_Length=str(len(head)))


def as_json(images: npt.NDArray[np.float32], **members: Any) -> bytes:
    """Return the JSON body of an inference on the classifier."""
    item = {"name": "image", "shape": images.shape, "datatype": "FP32", "data": images.tolist()}
    return json.dumps({"inputs": [item], **members}).encode()
