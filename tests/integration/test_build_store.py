"""A step over a real object store by pre-signed addresses, without any key; and what a bad store leads to."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgewright_api.canonical import canonical_json, digest_bytes
from edgewright_api.errors import TransientError
from edgewright_api.plan import SOURCE, BuildPlan, Output, PassNode, Step
from edgewright_api.report import BuildReport, Job, PassState
from edgewright_build.pipeline import describe_host
from edgewright_build.store import PlaceStore, Workspace
from edgewright_lab.store import Store
from support.model_builders import digits_model


def ingest_plan(source: bytes) -> BuildPlan:
    node = PassNode(
        id="ingest",
        pass_name="ingest",
        version=1,
        step=Step.TRANSFORM,
        output=Output.MODEL,
        inputs={"source": SOURCE},
        toolchain=digest_bytes(b"tools"),
    )
    return BuildPlan(
        model="digits",
        version="1.0.0",
        host_isa=describe_host(Path("/proc/cpuinfo").read_text()).isa,
        toolchains={},
        contents={SOURCE: digest_bytes(source)},
        nodes=(node,),
        targets=(),
    )


def test_a_step_reads_and_writes_by_presigned_addresses(store: Store, tmp_path: Path) -> None:
    source = digits_model()
    client = store.client()
    client.put_object(Bucket=store.bucket, Key="blobs/source", Body=source)

    def presigned(operation: str, key: str) -> str:
        place = {"Bucket": store.bucket, "Key": key}
        return str(client.generate_presigned_url(operation, Params=place, ExpiresIn=300))

    job = Job(
        build_uid="b1",
        step=Step.TRANSFORM,
        plan=ingest_plan(source),
        known={},
        reads={digest_bytes(source): presigned("get_object", "blobs/source")},
        writes={name: presigned("put_object", f"staging/b1/{name}") for name in ("ingest", "report")},
    )
    path = tmp_path / "job.json"
    path.write_bytes(canonical_json(job.to_wire()))
    command = [sys.executable, "-m", "edgewright_build", "transform", "--job", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    staged = {
        name: client.get_object(Bucket=store.bucket, Key=f"staging/b1/{name}")["Body"].read()
        for name in ("ingest", "report")
    }
    result = BuildReport.model_validate_json(staged["report"]).results[0]
    assert result.state is PassState.DONE
    assert result.output == digest_bytes(staged["ingest"])


def test_other_bytes_than_promised_are_not_used(tmp_path: Path) -> None:
    place = tmp_path / "blob"
    place.write_bytes(b"changed on the way")
    (tmp_path / "work").mkdir()
    workspace = Workspace(tmp_path / "work", PlaceStore())
    with pytest.raises(TransientError, match="other bytes"):
        workspace.have(digest_bytes(b"as promised"), str(place))
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize("where", ["http://127.0.0.1:9/nothing?X-Amz-Signature=secret", "nowhere/at/all"])
def test_an_unreachable_store_is_transient_and_its_address_stays_unsaid(tmp_path: Path, where: str) -> None:
    with pytest.raises(TransientError) as caught:
        PlaceStore().fetch(where, tmp_path / "to")
    assert "secret" not in str(caught.value)
