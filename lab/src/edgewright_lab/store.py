"""The object store: SeaweedFS on loopback, or an S3 that exists already."""

import json
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from edgewright_lab.errors import LabError
from edgewright_lab.ports import PAIR_DISTANCE, free_paired_ports
from edgewright_lab.processes import Command, Process, Processes
from edgewright_lab.progress import Report
from edgewright_lab.settings import ExternalStore, script

REGION = "us-east-1"
_BUCKET = "edgewright"
_ATTEMPTS = 3
_READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Store:
    """A reachable object store, and the keys to it."""

    endpoint: str
    bucket: str
    access_key: str
    secret_key: str = field(repr=False)
    process: Process | None
    """None where the store is not ours."""

    def client(self) -> Any:
        """Return a new boto3 S3 client; one client may be used by several threads."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(
                s3={"addressing_style": "path"},
                retries={"total_max_attempts": 3},
                connect_timeout=5,
                read_timeout=30,
                proxies={},
            ),
        )

    def upload(self, path: Path, key: str) -> str:
        """Upload a file and return its ``s3://`` address."""
        self.client().put_object(Bucket=self.bucket, Key=key, Body=path.read_bytes())
        return f"s3://{self.bucket}/{key}"

    def stop(self) -> None:
        """End it, if it is ours."""
        if self.process:
            self.process.stop()


def external(settings: ExternalStore) -> Store:
    """Return a store that exists already; its bucket too."""
    return Store(settings.endpoint, settings.bucket, settings.access_key, settings.secret_key, None)


def start(directory: Path, processes: Processes, report: Report) -> Store:
    """Start SeaweedFS with its data in ``directory``, and wait until a PUT into its new bucket succeeds.

    Raises:
        LabError: it did not get ready; the message shows the log's tail.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _start_once(directory / f"weed-{attempt}", processes)
        except LabError as e:
            if "address already in use" not in str(e) or attempt == _ATTEMPTS:
                raise
            report("a port was taken meanwhile: starting the object store again on others")
    raise AssertionError("unreachable")


def _start_once(directory: Path, processes: Processes) -> Store:
    directory.mkdir(parents=True, mode=0o700)
    access_key, secret_key = secrets.token_hex(10), secrets.token_hex(20)
    config = directory / "s3.json"
    config.touch(mode=0o600)
    config.write_text(json.dumps(_identities(access_key, secret_key)))
    ports = free_paired_ports(4)
    for path in _sockets(ports):
        processes.remove_at_end(path)
    process = processes.start(_weed(directory, config, ports))
    store = Store(f"http://127.0.0.1:{ports[3]}", _BUCKET, access_key, secret_key, process)
    try:
        process.wait_ready(lambda: _accepts_objects(store), timeout=_READY_SECONDS)
    except BaseException:
        process.kill()
        raise
    return store


def _identities(access_key: str, secret_key: str) -> dict[str, Any]:
    identity = {
        "name": "edgewright",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    return {"identities": [identity]}


def _sockets(ports: tuple[int, ...]) -> list[Path]:
    """Return the Unix sockets that SeaweedFS makes in /tmp, whatever it is told, and never deletes."""
    names = ("master", "volume", "filer", "s3")
    grpc = [f"{name}-grpc-{port + PAIR_DISTANCE}" for name, port in zip(names, ports, strict=True)]
    return [Path(f"/tmp/seaweedfs-{name}.sock") for name in (*grpc, f"filer-{ports[2]}", f"s3-{ports[3]}")]


def _weed(directory: Path, config: Path, ports: tuple[int, ...]) -> Command:
    master, volume, filer, s3 = ports
    data = directory / "data"
    data.mkdir()
    argv = [
        script("weed"),
        "-logtostderr=true",
        "server",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
    ]
    argv += [f"-master.port={master}", f"-volume.port={volume}", "-filer", f"-filer.port={filer}"]
    argv += ["-s3", f"-s3.port={s3}", f"-s3.config={config}", "-s3.allowDeleteBucketNotEmpty=false"]
    # Telemetry is on by default; the ports of Iceberg and Lance are fixed, so two labs would fight for them.
    argv += [
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false",
        "-volume.max=20",
        "-master.volumeSizeLimitMB=64",
    ]
    # It does not end on SIGTERM, and has nothing to finish.
    return Command(name="seaweedfs", argv=argv, directory=directory, env={}, grace_seconds=0)


def _accepts_objects(store: Store) -> bool:
    """Return whether the bucket takes an object; it answers 500 until a volume server has registered."""
    client = store.client()
    try:
        if not any(b["Name"] == store.bucket for b in client.list_buckets()["Buckets"]):
            client.create_bucket(Bucket=store.bucket)
        client.put_object(Bucket=store.bucket, Key="lab/ready", Body=str(time.time()).encode())
        client.delete_object(Bucket=store.bucket, Key="lab/ready")
    except (BotoCoreError, ClientError):
        return False
    return True
