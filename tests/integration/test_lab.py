"""A lab as its users see it: it starts real parts, gives out honest tokens, and leaves nothing behind."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from edgewright_lab.errors import LabError
from edgewright_lab.installation import NODE_ACCOUNT, OPERATOR_ACCOUNT, SYSTEM
from edgewright_lab.instances import Instance
from edgewright_lab.lab import Lab
from edgewright_lab.settings import ExternalStore, LabSettings
from edgewright_lab.store import Store

PIECES = LabSettings.from_env(nodes=0, operator=False)
NODE_NAME = "authentication.kubernetes.io/node-name"


def processes_in(directory: Path) -> dict[int, str]:
    """Return the command lines of processes that name ``directory`` or run in it."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            cwd = (entry / "cwd").readlink()
        except (OSError, ValueError):
            continue
        if int(entry.name) != os.getpid() and (str(directory) in line or cwd.is_relative_to(directory)):
            found[int(entry.name)] = line
    return found


def is_listening(url: str) -> bool:
    parts = urlsplit(url)
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((parts.hostname or "", parts.port or 0)) == 0


def eventually(holds: Callable[[], bool], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


def claims(token: str) -> dict[str, Any]:
    """Return what a token says of itself, unverified."""
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found


def review(lab: Lab, token: str, *audiences: str) -> dict[str, Any]:
    """Return the API server's verdict on a token."""
    spec: dict[str, Any] = {"token": token} | ({"audiences": list(audiences)} if audiences else {})
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
    answer = lab.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(body))
    status: dict[str, Any] = json.loads(answer)["status"]
    return status


@pytest.fixture(scope="module")
def node(control_plane: Lab) -> Mapping[str, Any]:
    """A core Node object of the control plane."""
    name = "lab-token-node"
    control_plane.kubectl.apply(
        yaml.safe_dump({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    )
    found = control_plane.kubectl.get("node", name)
    assert found is not None
    return found


class TestTokens:
    """Agents hold tokens that name their node; the gateway's opens nothing else."""

    def test_a_bound_token_names_its_node(self, control_plane: Lab, node: Mapping[str, Any]) -> None:
        token = control_plane.kubectl.token(NODE_ACCOUNT, SYSTEM, node=node)
        verdict = review(control_plane, token)
        assert verdict["authenticated"] is True
        assert verdict["user"]["username"] == f"system:serviceaccount:{SYSTEM}:{NODE_ACCOUNT}"
        assert verdict["user"]["extra"][NODE_NAME] == [node["metadata"]["name"]]

    def test_the_gateways_audience_is_accepted_where_asked_for_only(
        self, control_plane: Lab, node: Mapping[str, Any]
    ) -> None:
        token = control_plane.kubectl.token(NODE_ACCOUNT, SYSTEM, node=node, audience="edgewright")
        accepted = review(control_plane, token, "edgewright")
        assert accepted["authenticated"] is True
        assert accepted["audiences"] == ["edgewright"]
        assert accepted["user"]["extra"][NODE_NAME] == [node["metadata"]["name"]]
        assert not review(control_plane, token).get("authenticated")  # as the API server itself would ask

    def test_a_token_for_the_api_server_does_not_open_the_gateway(
        self, control_plane: Lab, node: Mapping[str, Any]
    ) -> None:
        token = control_plane.kubectl.token(NODE_ACCOUNT, SYSTEM, node=node)
        assert not review(control_plane, token, "edgewright").get("authenticated")

    def test_a_token_lives_for_an_hour(self, control_plane: Lab) -> None:
        found = claims(control_plane.kubectl.token(OPERATOR_ACCOUNT, SYSTEM))
        assert 3500 <= found["exp"] - found["iat"] <= 3700

    def test_the_operator_is_no_administrator(self, control_plane: Lab) -> None:
        token = control_plane.kubectl.token(OPERATOR_ACCOUNT, SYSTEM)
        bare = control_plane.directory / "bare.kubeconfig"
        document = yaml.safe_load(control_plane.kubeconfig.read_text())
        document["users"][0]["user"] = {"token": token}
        bare.write_text(yaml.safe_dump(document))
        command = [str(control_plane.kubectl.binary), f"--kubeconfig={bare}", "get"]
        kinds = {"edgemodels.edgewright.dev": 0, "secrets": 1}
        ended = {
            kind: subprocess.run([*command, kind, "-A"], capture_output=True, check=False).returncode
            for kind in kinds
        }
        assert ended == kinds


def test_a_failing_kubectl_says_why(control_plane: Lab) -> None:
    with pytest.raises(LabError, match='namespaces "nowhere" not found'):
        control_plane.kubectl("get", "namespace", "nowhere")


def test_waiting_in_vain_shows_the_objects_status(control_plane: Lab) -> None:
    with pytest.raises(LabError, match=r'(?s)Never does not hold after 0.1 s; status: .*"phase": "Active"'):
        control_plane.wait("namespace", "default", until="Never", timeout=0.1)


def test_a_part_that_was_not_asked_for_is_an_error(control_plane: Lab) -> None:
    with pytest.raises(LabError, match="has no operator"):
        _ = control_plane.operator
    assert control_plane.nodes == {}


def test_two_labs_run_side_by_side_and_leave_nothing(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("content")
    with Lab(PIECES) as one, Lab(PIECES) as two:
        directories = [one.directory, two.directory]
        urls = [lab.cluster.url for lab in (one, two)] + [lab.store.endpoint for lab in (one, two)]
        assert len(set(urls)) == 4
        assert all(is_listening(url) for url in urls)
        one.kubectl("create", "namespace", "mine")
        with pytest.raises(LabError, match="not found"):
            two.kubectl("get", "namespace", "mine")
        assert one.upload(file, "a/key") == f"s3://{one.store.bucket}/a/key"
        client = two.store.client()
        assert client.list_objects_v2(Bucket=two.store.bucket).get("Contents", []) == []
        client.close()
    assert [processes_in(directory) for directory in directories] == [{}, {}]
    assert [url for url in urls if is_listening(url)] == []
    assert [directory for directory in directories if directory.exists()] == []


def test_what_exists_already_is_used_and_outlives_the_lab(
    control_plane: Lab, store: Store, tmp_path: Path
) -> None:
    settings = LabSettings.from_env(
        nodes=0,
        operator=False,
        kubeconfig=control_plane.kubeconfig,
        external_store=ExternalStore(
            endpoint=store.endpoint,
            access_key=store.access_key,
            secret_key=store.secret_key,
            bucket=store.bucket,
        ),
    )
    (tmp_path / "file").write_text("content")
    with Lab(settings) as lab:
        assert lab.cluster.url == control_plane.cluster.url
        assert lab.cluster.ca.read_bytes() == control_plane.cluster.ca.read_bytes()
        lab.upload(tmp_path / "file", "kept")
    assert control_plane.kubectl.get("namespace", SYSTEM) is not None
    client = store.client()
    assert client.get_object(Bucket=store.bucket, Key="kept")["Body"].read() == b"content"
    client.close()


def test_a_start_that_fails_leaves_nothing(tmp_path: Path) -> None:
    settings = LabSettings.from_env(nodes=0, operator=False, directory=tmp_path / "lab", repository=tmp_path)
    with pytest.raises(LabError), Lab(settings):
        pass
    assert processes_in(tmp_path / "lab") == {}


class Named:
    """``edgewright-lab`` with a cache of its own for the names, and the shared one's binaries."""

    def __init__(self, cache: Path) -> None:
        shared = LabSettings.from_env().cache
        for kind in ("bin", "tools"):
            (cache / kind).symlink_to(shared / kind)
        self.instance = Instance.named(cache, "named")

    def argv(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "edgewright_lab", *args, "--name", "named"]

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.argv(*args), capture_output=True, text=True, check=False)

    def up(self, *what: str) -> None:
        done = self.run("up", *(what or ("--no-operator",)), "--detach")
        assert done.returncode == 0, done.stderr

    def leaves_nothing(self) -> bool:
        directory = self.instance.directory
        return eventually(lambda: not processes_in(directory) and not directory.exists())


@pytest.fixture
def named(tmp_path: Path, control_plane: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Named]:
    """A name under which no lab runs; ``control_plane`` has seen to it that the binaries are there."""
    named = Named(tmp_path)
    monkeypatch.setenv("EDGEWRIGHT_CACHE", str(tmp_path))
    yield named
    named.instance.stop()


def test_up_status_down(named: Named) -> None:
    assert named.run("status").returncode == 1
    named.up()
    status = named.run("status")
    assert status.returncode == 0, status.stdout
    facts = named.instance.facts()
    assert facts is not None
    again = named.run("up", "--no-operator")
    assert again.returncode == 1
    assert "runs already" in again.stderr
    assert "ended" in named.run("down").stdout
    assert named.leaves_nothing()
    assert not is_listening(facts["s3"])
    assert named.run("status").returncode == 1
    assert "was not running" in named.run("down").stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_lab_that_a_signal_ends_leaves_nothing(named: Named, number: signal.Signals) -> None:
    named.up()
    facts = named.instance.facts()
    assert facts is not None
    os.kill(facts["pid"], number)
    assert named.leaves_nothing()
    assert not named.instance.runs()
    assert not is_listening(facts["s3"])


def test_a_whole_lab_that_is_killed_leaves_nothing(named: Named) -> None:
    named.up("--nodes", "1")
    facts = named.instance.facts()
    assert facts is not None
    urls = [facts["s3"], facts["operator"], facts["nodes"]["edge-1"]["http"]]
    assert named.run("status").returncode == 0
    os.kill(facts["pid"], signal.SIGKILL)
    assert named.leaves_nothing()
    assert [url for url in urls if is_listening(url)] == []


@pytest.mark.parametrize("reached", ["logs/etcd.log", "cluster/kubeconfig"])
def test_ctrl_c_during_the_start_leaves_nothing(named: Named, reached: str) -> None:
    with subprocess.Popen(named.argv("up", "--no-operator"), start_new_session=True) as starting:
        assert eventually((named.instance.directory / reached).exists)
        os.killpg(starting.pid, signal.SIGINT)  # as a terminal does: to everything in the foreground
        assert starting.wait(timeout=30) == 130
    assert named.leaves_nothing()
