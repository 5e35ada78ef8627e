"""The real server process over real slots: protocol, limits, swaps under load, refusals, restarts."""

import json
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgewright_node import slots
from edgewright_node.serving.errors import ArtifactRefused
from support.artifact_builders import Artifact, lay_out, make_artifact, make_deployment
from support.server_process import Client, Server, as_json, binary, request, run_server, wait_for

INFER = "/v2/models/digits/infer"


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return make_artifact()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, artifact: Artifact) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("node")
    make_deployment(root, artifact)
    with run_server(root, root / "server.sock") as started:
        with started.tcp() as client:
            wait_for(lambda: client.ask("GET", "/v2/health/ready").status == 200)
        yield started


@pytest.fixture(params=["tcp", "uds"])
def client(server: Server, request: pytest.FixtureRequest) -> Iterator[Client]:
    with server.tcp() if request.param == "tcp" else server.local() as found:
        yield found


def images(rows: int = 2, features: int = 8, seed: int = 1) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(rows, features)).astype(np.float32)


# The protocol


def test_metadata_and_health(client: Client) -> None:
    assert "binary_tensor_data" in client.ask("GET", "/v2").json()["extensions"]
    assert client.ask("GET", "/v2/health/live").json() == {"live": True}
    assert client.ask("GET", "/v2/models/digits/ready").json() == {"name": "digits", "ready": True}
    assert client.ask("GET", "/v2/models/digits/versions/1.0.0").json() == {
        "name": "digits",
        "versions": ["1.0.0"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 8]}],
        "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 4]}],
    }
    assert client.ask("POST", "/v2/repository/index").json() == [
        {"name": "digits", "version": "1.0.0", "state": "READY", "reason": ""}
    ]


def test_json_in_and_out(client: Client, artifact: Artifact) -> None:
    asked = images()
    body = as_json(asked, id="a-7", parameters={"trace": True}, outputs=[{"name": "logits"}])
    found = client.ask("POST", INFER, body).json()
    assert (found["id"], found["parameters"], found["model_version"]) == ("a-7", {"trace": True}, "1.0.0")
    (output,) = found["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("logits", "FP32", [2, 4])
    np.testing.assert_allclose(np.reshape(output["data"], (2, 4)), artifact.expected(asked), rtol=1e-5)


def test_binary_in_and_out(client: Client, artifact: Artifact) -> None:
    asked = images()
    for _ in range(2):  # the second comes from the kept plan
        client.send(binary(asked))
        reply = client.receive()
        assert reply.json()["outputs"][0]["parameters"] == {"binary_data_size": 32}
        answer = np.frombuffer(reply.tail(), np.float32).reshape(2, 4)
        np.testing.assert_allclose(answer, artifact.expected(asked), rtol=1e-5)


def test_json_in_binary_out(client: Client) -> None:
    outputs = [{"name": "logits", "parameters": {"binary_data": True}}]
    reply = client.ask("POST", INFER, as_json(images(), outputs=outputs))
    assert len(reply.tail()) == 32


def test_pipelined_requests_are_answered_in_order(client: Client, artifact: Artifact) -> None:
    asked = [images(seed=seed) for seed in range(30)]
    client.send(b"".join(binary(each) for each in asked))
    for each in asked:
        answer = np.frombuffer(client.receive().tail(), np.float32).reshape(2, 4)
        np.testing.assert_allclose(answer, artifact.expected(each), rtol=1e-4, atol=1e-5)


def test_chunked_body(client: Client) -> None:
    body = as_json(images())
    head = f"POST {INFER} HTTP/1.1\r\nHost: node\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunks = b"".join(
        b"%x\r\n%b\r\n" % (len(body[i : i + 50]), body[i : i + 50]) for i in range(0, len(body), 50)
    )
    for part in (head, chunks[:70], chunks[70:], b"0\r\n\r\n"):
        client.send(part)
        time.sleep(0.02)
    assert client.receive().status == 200


def test_expect_100_continue(client: Client) -> None:
    body = as_json(images())
    client.send(request("POST", INFER, body, Expect="100-continue")[: -len(body)])
    assert client.receive().status == 100
    client.send(body)
    assert client.receive().status == 200


def test_large_body_is_received_in_pieces(client: Client, artifact: Artifact) -> None:
    asked = images(rows=40_000)
    content = binary(asked)
    for start in range(0, len(content), 300_000):
        client.send(content[start : start + 300_000])
        time.sleep(0.005)
    answer = np.frombuffer(client.receive().tail(), np.float32).reshape(-1, 4)
    np.testing.assert_allclose(answer, artifact.expected(asked), rtol=1e-3, atol=1e-4)
    assert client.ask("GET", "/v2").status == 200


def test_connection_close_is_honoured(client: Client) -> None:
    reply = client.ask("GET", "/v2", Connection="close")
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    assert client.closed()


# What is refused


def _input(**changes: object) -> bytes:
    item = {"name": "image", "shape": [1, 8], "datatype": "FP32", "data": [0.5] * 8}
    return json.dumps({"inputs": [{k: v for k, v in (item | changes).items() if v is not None}]}).encode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="not-json"),
        pytest.param(b"[" * 50_000, id="deep"),
        pytest.param(b"{}", id="no-inputs"),
        pytest.param(b'{"inputs": {}}', id="inputs-no-list"),
        pytest.param(_input(name="imag"), id="unknown-input"),
        pytest.param(_input(datatype="FP64"), id="wrong-datatype"),
        pytest.param(_input(shape=[1, 9]), id="wrong-shape"),
        pytest.param(_input(shape=[8]), id="wrong-rank"),
        pytest.param(_input(shape=[-1, 8]), id="negative-shape"),
        pytest.param(_input(shape=[1 << 60, 8]), id="huge-shape"),
        pytest.param(_input(shape=[2, 8]), id="too-few-elements"),
        pytest.param(_input(data=["1"] * 8), id="strings-for-numbers"),
        pytest.param(_input(data=[None] * 8), id="nulls-for-numbers"),
        pytest.param(_input(data=[True] * 8), id="booleans-for-numbers"),
        pytest.param(_input(data=[1e39] * 8), id="out-of-range"),
        pytest.param(_input(data=[[1.0], [1.0, 2.0]]), id="ragged"),
        pytest.param(_input(data=None), id="no-data"),
        pytest.param(_input(parameters={"binary_data_size": 32}), id="two-kinds-of-data"),
        pytest.param(_input(data=None, parameters={"binary_data_size": 32}), id="binary-without-header"),
        pytest.param(_input()[:-1] + b', "outputs": [{"name": "x"}]}', id="unknown-output"),
    ],
)
def test_malformed_inference_is_400_and_the_connection_lives(client: Client, body: bytes) -> None:
    reply = client.ask("POST", INFER, body, **({} if body else {"Content_Length": "0"}))
    assert (reply.status, list(reply.json())) == (400, ["error"])
    assert client.ask("POST", INFER, as_json(images())).status == 200


@pytest.mark.parametrize("length", ["999", "-1", "x", "1", "99999999999999999999"])
def test_wrong_header_length_is_400(client: Client, length: str) -> None:
    reply = client.ask("POST", INFER, as_json(images()), Inference_Header_Content_Length=length)
    assert reply.status == 400


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v2/models/unknown", 404),
        ("GET", "/v2/models/digits/versions/9", 404),
        ("POST", "/v2/models/unknown/infer", 404),
        ("GET", INFER, 405),
        ("POST", "/v2", 405),
        ("HEAD", "/v2", 405),
        ("PUT", INFER, 405),
        ("BREW", "/v2", 405),
    ],
)
def test_paths_and_methods(client: Client, method: str, target: str, status: int) -> None:
    assert client.ask(method, target).status == status


@pytest.mark.parametrize(
    ("content", "status"),
    [
        pytest.param(b"GET /v2 HTTP/1.1\r\nX: " + b"y" * 20_000, 431, id="long-header"),
        pytest.param(b"GET /" + b"y" * 20_000, 431, id="long-target"),
        pytest.param(request("POST", INFER, Content_Length=str(1 << 40)), 413, id="long-body"),
        pytest.param(request("POST", INFER, Content_Length="9" * 30), 400, id="absurd-length"),
        pytest.param(
            request("POST", INFER, Content_Length="1", Transfer_Encoding="chunked"), 400, id="smuggling"
        ),
        pytest.param(request("POST", INFER, b"x", Content_Encoding="gzip"), 400, id="compressed"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 405, id="tls"),
        pytest.param(b"hello\r\n\r\n", 405, id="not-http"),
    ],
)
def test_what_breaks_the_framing_is_answered_and_closed(client: Client, content: bytes, status: int) -> None:
    client.send(content)
    assert client.receive().status == status
    assert client.closed()


# Life


def test_metrics(server: Server, client: Client) -> None:
    text = client.ask("GET", "/metrics").body.decode()
    assert f'manifest_digest="{make_artifact().manifest_digest}"' in text
    assert 'edgewright_server_requests_total{model="digits"}' in text


def swap(where: slots.Deployment, server: Server, artifact: Artifact) -> slots.ServerReport:
    """Do what the agent does: fill the other slot, try it, flip the link, ask for the switch."""
    want = slots.read_want(where)
    assert isinstance(want, slots.Want)
    slot = slots.other_slot(slots.active_slot(where))
    lay_out(where.slot(slot), artifact)
    digest, attempt = artifact.manifest_digest, uuid.uuid4().hex
    trial = slots.TrialRef(
        slot=slot,
        manifest_digest=digest,
        attempt=attempt,
        deadline=datetime(2100, 1, 1, tzinfo=UTC),
    )
    slots.write_want(where, slots.Want(served_name=want.served_name, active=want.active, trial=trial))

    def answered() -> slots.ServerReport | None:
        found = server.report(where)
        if found and found.trial and found.trial.attempt == attempt and found.trial.state != "Loading":
            return found
        return None

    report: slots.ServerReport = wait_for(answered)
    assert report.trial is not None
    if report.trial.state == slots.TrialState.FAILED:
        return report
    slots.activate(where, slot)
    active = slots.SlotRef(slot=slot, manifest_digest=digest)
    slots.write_want(where, slots.Want(served_name=want.served_name, active=active))

    def proven() -> slots.ServerReport | None:
        found = server.report(where)
        good = found and found.active and found.active.manifest_digest == digest and found.active.proven_at
        return found if good else None

    proven_report: slots.ServerReport = wait_for(proven)
    return proven_report


def hammer(
    client: Client, answers: list[npt.NDArray[np.float32]], stop: threading.Event, counts: list[int]
) -> None:
    """Ask until told to stop; every answer must be that of one of the two models."""
    asked = images()
    content = binary(asked)
    with client:
        while not stop.is_set():
            client.send(content)
            reply = client.receive()
            answer = np.frombuffer(reply.tail(), np.float32).reshape(2, 4)
            right = any(np.allclose(answer, each, rtol=1e-4, atol=1e-5) for each in answers)
            counts[0 if reply.status == 200 and right else 1] += 1


@pytest.mark.slow
def test_no_request_fails_in_fifty_swaps(tmp_path: Path) -> None:
    artifacts = [make_artifact(seed=seed, version=f"1.{seed}.0") for seed in (0, 1)]
    where = make_deployment(tmp_path, artifacts[0])
    answers = [each.expected(images()) for each in artifacts]
    with run_server(tmp_path, tmp_path / "server.sock") as server:
        with server.tcp() as client:
            wait_for(lambda: client.ask("GET", "/v2/health/ready").status == 200)
        stop, counts = threading.Event(), [[0, 0] for _ in range(4)]
        clients = [server.tcp(), server.local(), server.tcp(), server.local()]
        threads = [
            threading.Thread(target=hammer, args=(each, answers, stop, count))
            for each, count in zip(clients, counts, strict=True)
        ]
        for thread in threads:
            thread.start()
        memory = 0
        for n in range(1, 51):
            report = swap(where, server, artifacts[n % 2])
            assert report.active is not None
            assert (report.active.state, report.active.proven_by) == ("Serving", "golden")
            memory = server.rss_bytes() if n == 10 else memory
        stop.set()
        for thread in threads:
            thread.join(20)
        assert all(good > 50 and failed == 0 for good, failed in counts), counts
        assert server.rss_bytes() - memory < 16 << 20
        with server.local() as client:
            assert (
                'edgewright_server_swaps_total{model="digits"} 50'
                in client.ask("GET", "/metrics").body.decode()
            )
    assert server.process.returncode == 0


def wrong(seed: int, version: str) -> Artifact:
    """An artifact with right digests and another's weights: what a builder gone wrong ships."""
    return make_artifact(
        version=version, replace={"model.onnx": make_artifact(seed=seed).files["model.onnx"]}
    )


def test_wrong_artifacts_are_refused_and_the_old_one_serves_on(tmp_path: Path) -> None:
    good = make_artifact()
    where = make_deployment(tmp_path, good)
    damaged = make_artifact(seed=2)
    files = dict(damaged.files) | {"model.onnx": damaged.files["model.onnx"][:-1] + b"\x00"}
    cases = [
        (wrong(9, "2.0.0"), "GoldenSourceMismatch"),
        (Artifact(files, damaged.weights, damaged.bias), "DigestMismatch"),
        (make_artifact(replace={"model.onnx": b"no model"}), "LoadFailed"),
        (make_artifact(replace={"golden.npz": b"no vectors"}), "GoldenInvalid"),
        (make_artifact(annotations={"dev.edgewright.ort.x64quantprecision": "maybe"}), "ManifestInvalid"),
    ]
    with run_server(tmp_path, tmp_path / "server.sock") as server:
        for artifact, reason in cases:
            report = swap(where, server, artifact)
            assert report.trial is not None
            assert (report.trial.state, report.trial.reason) == ("Failed", reason)
        with server.local() as client:
            client.send(binary(images()))
            answer = np.frombuffer(client.receive().tail(), np.float32).reshape(2, 4)
            np.testing.assert_allclose(answer, good.expected(images()), rtol=1e-5)


def test_a_server_starts_from_the_disk_alone_and_survives_kill(tmp_path: Path) -> None:
    artifacts = [make_artifact(seed=seed, version=f"1.{seed}.0") for seed in (0, 1)]
    where = make_deployment(tmp_path, artifacts[0])
    with run_server(tmp_path, tmp_path / "server.sock") as server:
        swap(where, server, artifacts[1])
        server.process.kill()
        server.process.wait()
    with run_server(tmp_path, tmp_path / "server.sock") as server, server.local() as client:
        wait_for(lambda: client.ask("GET", "/v2/health/ready").status == 200, seconds=5)
        assert client.ask("GET", "/v2/models/digits").json()["versions"] == ["1.1.0"]


def test_a_damaged_want_file_changes_nothing_and_remove_does(tmp_path: Path) -> None:
    where = make_deployment(tmp_path, make_artifact())
    with run_server(tmp_path, tmp_path / "server.sock") as server, server.local() as client:
        wait_for(lambda: client.ask("GET", "/v2/health/ready").status == 200)
        slots.write_atomically(where.path / slots.WANT_FILE, b"{")
        time.sleep(0.3)
        assert client.ask("POST", INFER, as_json(images())).status == 200
        slots.write_want(where, slots.Want(served_name="digits", state=slots.WantState.REMOVE))
        wait_for(lambda: client.ask("POST", INFER, as_json(images())).status == 404)
        found = wait_for(lambda: server.report(where))
        assert found.active is None


def test_requests_in_flight_end_after_sigterm(tmp_path: Path) -> None:
    artifact = make_artifact(features=1024, classes=1024, policy={"sourceMaxNrmse": 1, "artifactAtol": 1})
    make_deployment(tmp_path, artifact)
    asked = images(rows=8000, features=1024)
    with (
        run_server(tmp_path, tmp_path / "server.sock") as server,
        server.tcp() as client,
        server.tcp() as idle,
    ):
        wait_for(lambda: idle.ask("GET", "/v2/health/ready").status == 200)
        client.send(binary(asked))
        wait_for(lambda: b'requests_total{model="digits"} 1' in idle.ask("GET", "/metrics").body)
        server.process.send_signal(signal.SIGTERM)
        reply = client.receive()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        assert len(reply.tail()) == 8000 * 1024 * 4
        assert idle.closed()
        with pytest.raises(ConnectionRefusedError):
            server.tcp()
        server.process.wait(20)
        assert not server.uds.exists() or server.process.returncode == 0


def test_slow_inferences_do_not_stop_quick_answers(tmp_path: Path) -> None:
    artifact = make_artifact(features=1024, classes=1024, policy={"sourceMaxNrmse": 1, "artifactAtol": 1})
    make_deployment(tmp_path, artifact)
    with (
        run_server(tmp_path, tmp_path / "server.sock") as server,
        server.tcp() as slow,
        server.tcp() as quick,
    ):
        wait_for(lambda: quick.ask("GET", "/v2/health/ready").status == 200)
        slow.send(binary(images(rows=8000, features=1024)) + request("GET", "/v2"))
        wait_for(lambda: b'requests_total{model="digits"} 1' in quick.ask("GET", "/metrics").body)
        start = time.monotonic()
        assert quick.ask("GET", "/v2/health/live").status == 200
        took = time.monotonic() - start
        assert slow.receive().status == 200  # and what was pipelined behind it waited
        assert slow.receive().json()["name"] == "edgewright"
        assert took < time.monotonic() - start


def test_every_refusal_is_explained() -> None:
    page = (Path(__file__).parents[2] / "docs/errors.md").read_text()
    missing = {
        each.reason for each in ArtifactRefused.__subclasses__() if f"\n### {each.reason}\n" not in page
    }
    assert missing == set()


@pytest.mark.parametrize(("artifact", "status"), [(make_artifact(), 0), (wrong(9, "2.0.0"), 1)])
def test_trial_alone(tmp_path: Path, artifact: Artifact, status: int) -> None:
    slot = tmp_path / "slot-b"
    lay_out(slot, artifact)
    argv = [sys.executable, "-m", "edgewright_node", "trial", "--slot", str(slot)]
    done = subprocess.run(argv, capture_output=True, check=False)
    verdict = json.loads(done.stdout)
    assert (done.returncode, verdict["state"]) == (status, "Failed" if status else "Passed")
    assert verdict["reason"] == ("GoldenSourceMismatch" if status else None)
