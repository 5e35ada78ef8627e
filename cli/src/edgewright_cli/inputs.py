"""From an EdgeModel file to a resolved revision: local files instead of a bucket, digests instead of names."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from edgewright_api.edgemodel import EdgeModel
from edgewright_api.edgetarget import EdgeTarget, EdgeTargetSpec
from edgewright_api.errors import StalledError, TransientError
from edgewright_api.modelrevision import ModelRevisionSpec, ResolvedContent, ResolvedData
from edgewright_api.plan import ACCEPTANCE, CALIBRATION, SOURCE
from edgewright_api.reasons import Reason
from edgewright_api.resolving import Pins, content
from edgewright_cli.catalogue import TARGETS

_API_GROUP: Final = "edgewright.dev/"
_LOCAL: Final = "s3://local-file/"
"""Stands in for a local path while the schema checks a spec whose uris must name a bucket."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a file asks for: the model, where its contents are, and the targets that it may name."""

    model: EdgeModel
    places: Mapping[str, str]
    """Reference in a plan → an s3 uri, or a local path."""
    targets: Mapping[str, EdgeTargetSpec]


def read(path: Path, overrides: Mapping[str, Path]) -> Asked:
    """Return what the YAML file at ``path`` asks for; EdgeTargets in it add to the known ones.

    Args:
        path: One EdgeModel, among other documents or alone. A uri in it may be a path, relative to the file.
        overrides: Reference → local file to use in place of the uri.

    Raises:
        StalledError: SpecInvalid.
    """
    try:
        documents = [d for d in yaml.safe_load_all(path.read_text()) if isinstance(d, dict)]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _invalid(f"{path} can't be read: {error}") from error
    ours = [d for d in documents if str(d.get("apiVersion", "")).startswith(_API_GROUP)]
    models = [d for d in ours if d.get("kind") == "EdgeModel"]
    if len(models) != 1:
        raise _invalid(f"{path} holds {len(models)} EdgeModels, not one")
    try:
        places = _take_places(models[0], path.parent)
        model = EdgeModel.parse(models[0])
        own = [EdgeTarget.parse(d) for d in ours if d.get("kind") == "EdgeTarget"]
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _invalid(f"{path}: {where}: {first['msg']}") from error
    targets = TARGETS | {t.metadata.name: t.spec for t in own}
    return Asked(model, places | {ref: str(file) for ref, file in overrides.items()}, targets)


def _take_places(document: dict[str, Any], base: Path) -> dict[str, str]:
    """Return where each content is, leaving an s3 uri in the document for each of them."""
    spec = document.get("spec") or {}
    data = spec.get("data") or {}
    places: dict[str, str] = {}
    for ref, holder in (
        (SOURCE, spec.get("source")),
        (CALIBRATION, data.get("calibration")),
        (ACCEPTANCE, data.get("acceptance")),
    ):
        if not isinstance(holder, dict) or not isinstance(holder.get("uri"), str):
            continue  # the schema says what is missing
        uri = holder["uri"]
        if uri.startswith("s3://"):
            places[ref] = uri
        else:
            places[ref] = str(base / uri)
            holder["uri"] = _LOCAL + Path(uri).name
    return places


def resolve(asked: Asked, files: Mapping[str, Path]) -> ModelRevisionSpec:
    """Return the revision that these files make of what was asked, as the operator would.

    Raises:
        StalledError: TargetNotFound.
    """
    spec = asked.model.spec
    uris = {
        SOURCE: spec.source.uri,
        CALIBRATION: spec.data.calibration.uri,
        ACCEPTANCE: spec.data.acceptance.uri,
    }
    contents = {
        ref: ResolvedContent(uri=uri, digest=file_digest(files[ref]), size_bytes=files[ref].stat().st_size)
        for ref, uri in uris.items()
    }
    unknown = [t.name for t in spec.targets if t.name not in asked.targets]
    if unknown:
        raise StalledError(
            Reason.TARGET_NOT_FOUND,
            f"target {unknown[0]!r} is not known",
            remedy=f"Known: {', '.join(sorted(asked.targets))}; or add its EdgeTarget to the file",
        )
    data = ResolvedData(calibration=contents[CALIBRATION], acceptance=contents[ACCEPTANCE])
    targets = {name: EdgeTarget(spec=target) for name, target in asked.targets.items()}
    return content(asked.model, targets, Pins(contents[SOURCE], data))


def gather(places: Mapping[str, str], scratch: Path) -> dict[str, Path]:
    """Return a local file per reference; what lies in a bucket is read with the standard AWS settings.

    Raises:
        StalledError: SourceNotReadable, when a local file is not there.
        TransientError: SourceNotReadable, when the bucket does not give it.
    """
    files = {}
    for ref, place in places.items():
        path = _download(place, scratch / ref.replace(":", "-")) if place.startswith("s3://") else Path(place)
        if not path.is_file():
            raise StalledError(
                Reason.SOURCE_NOT_READABLE,
                f"there is no file {place}",
                remedy="Correct the uri or the option",
            )
        files[ref] = path
    return files


def _download(uri: str, to: Path) -> Path:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, key = uri.removeprefix("s3://").partition("/")
    try:
        boto3.client("s3").download_file(bucket, key, str(to))
    except (BotoCoreError, ClientError) as error:
        raise TransientError(
            Reason.SOURCE_NOT_READABLE,
            f"{uri} can't be read: {error}",
            remedy="Set AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give a local file",
        ) from error
    return to


def file_digest(path: Path) -> str:
    """Return the digest of a file's content, read in pieces."""
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def _invalid(what: str) -> StalledError:
    return StalledError(Reason.SPEC_INVALID, what, remedy="See docs/spec/edgemodel.md")
