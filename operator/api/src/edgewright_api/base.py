"""The parts that every kind is made of: model settings, bounded strings and lists, names and digests."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

T = TypeVar("T")


class ApiModel(BaseModel):
    """What users write: camelCase outside, immutable, and an unknown field is an error."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
    )

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON form: camelCase, fields without a value left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class WireModel(ApiModel):
    """What the pieces exchange: a field that a newer peer added is ignored."""

    model_config = ConfigDict(extra="ignore")


def atomic_list(max_items: int, *, min_items: int = 0) -> Any:
    """Return the Field of a list that is replaced whole and holds at most ``max_items``."""
    return Field(
        min_length=min_items, max_length=max_items, json_schema_extra={"x-kubernetes-list-type": "atomic"}
    )


def map_list(max_items: int, key: str, *, min_items: int = 0) -> Any:
    """Return the Field of a list whose items are merged by ``key``, which is unique in it."""
    return Field(
        min_length=min_items,
        max_length=max_items,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]},
    )


Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]
"""SHA-256 of content, as ``sha256:<64 hex>``."""

DnsLabel = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)]
DnsSubdomain = Annotated[
    str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", min_length=1, max_length=253)
]
FieldName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", min_length=1, max_length=63)]
TensorName = Annotated[str, Field(min_length=1, max_length=256)]
ServedName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", min_length=1, max_length=63)]
CamelReason = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9]*$", min_length=1, max_length=64)]
Message = Annotated[str, Field(max_length=2048)]
Uid = Annotated[str, Field(min_length=1, max_length=64)]
S3Uri = Annotated[str, Field(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.+$", max_length=1024)]
SemVer = Annotated[
    str,
    Field(
        pattern=(
            r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
            r"(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$"
        ),
        max_length=64,
    ),
]
"""A version in the form of SemVer 2.0."""

Decimal = Annotated[str, Field(pattern=r"^-?[0-9]+(\.[0-9]+)?$", max_length=24)]
"""A decimal number as a string: floats do not survive a round trip through every client."""

Timestamp = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]

Quantity = Annotated[
    int | str,
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "pattern": r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$",
        }
    ),
]
"""A size in bytes as a Kubernetes Quantity, e.g. ``512Ki``."""

IntOrPercent = Annotated[
    int | str,
    WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": r"^(0|[1-9][0-9]*|(100|[0-9]{1,2})%)$"}),
]
"""A count, or a share such as ``10%``."""


class ObjectMeta(WireModel):
    """The metadata of a Kubernetes object, as much as our own code reads of it."""

    name: str = ""
    namespace: str | None = None
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
