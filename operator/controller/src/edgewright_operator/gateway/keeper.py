"""Keeps the gateway's certificates in the cluster, and the TLS context that serves with them.

Private keys lie in one Secret of the operator's namespace, what clients trust in a ConfigMap beside it.
"""

import base64
import ssl
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from edgewright_operator.cluster.client import ApiClient, Conflict, NotFound
from edgewright_operator.gateway.certificates import Material, Pair, renewed

_T = TypeVar("_T")

SECRET: Final = "edgewright-gateway-tls"  # noqa: S105 - a name
CONFIG_MAP: Final = "edgewright-gateway-ca"
CA_FILE: Final = "ca.crt"

_ATTEMPTS: Final = 5


class _Meta(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _Secret(msgspec.Struct):
    metadata: _Meta
    data: dict[str, str] = {}


class _ConfigMap(msgspec.Struct):
    metadata: _Meta
    data: dict[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """Makes the stored certificates what they should be; safe to run in several processes at once."""

    api: ApiClient
    namespace: str
    hosts: Sequence[str]
    """DNS names and addresses by which nodes reach the gateway."""
    now: Callable[[], datetime]

    async def keep(self) -> Material:
        """Return the material to serve with, after renewing and publishing what was due.

        The authority is published before anything that it signed is served: callers serve what is returned.

        Raises:
            ApiError: the API server refused or is away.
        """
        material = await self._material()
        await self._publish(material.bundle)
        return material

    async def _material(self) -> Material:
        for _ in range(_ATTEMPTS):
            found = await self._find(f"{self._path('secrets')}/{SECRET}", _Secret)
            old = None if found is None else from_data(found.data)
            new = renewed(old, self.hosts, self.now())
            if new == old:
                return new
            body = self._object("Secret", SECRET, found) | {"data": to_data(new), "type": "Opaque"}
            if await self._write("secrets", SECRET, body, exists=found is not None):
                return new
        raise Conflict(409, f"the Secret {SECRET} is changed by someone else all the time")

    async def _publish(self, bundle: bytes) -> None:
        text = bundle.decode()
        for _ in range(_ATTEMPTS):
            found = await self._find(f"{self._path('configmaps')}/{CONFIG_MAP}", _ConfigMap)
            if found is not None and found.data.get(CA_FILE) == text:
                return
            body = self._object("ConfigMap", CONFIG_MAP, found) | {"data": {CA_FILE: text}}
            if await self._write("configmaps", CONFIG_MAP, body, exists=found is not None):
                return
        raise Conflict(409, f"the ConfigMap {CONFIG_MAP} is changed by someone else all the time")

    def _path(self, plural: str) -> str:
        return f"/api/v1/namespaces/{self.namespace}/{plural}"

    def _object(self, kind: str, name: str, found: _Secret | _ConfigMap | None) -> dict[str, Any]:
        version = {} if found is None else {"resourceVersion": found.metadata.resource_version}
        return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, **version}}

    async def _find(self, path: str, kind: type[_T]) -> _T | None:
        try:
            return msgspec.json.decode(await self.api.request("GET", path), type=kind)
        except NotFound:
            return None

    async def _write(self, plural: str, name: str, body: Mapping[str, Any], *, exists: bool) -> bool:
        """Create or replace; False when someone else was faster, and the decision is to be made anew."""
        path = self._path(plural)
        try:
            await self.api.request(
                "PUT" if exists else "POST", f"{path}/{name}" if exists else path, body=body
            )
        except Conflict:
            return False
        return True


def to_data(material: Material) -> dict[str, str]:
    """Return the Secret's ``data``."""
    pairs = {"ca": material.authority, "tls": material.serving, "next-ca": material.next_authority}
    out: dict[str, str] = {}
    for name, pair in pairs.items():
        if pair is not None:
            out[f"{name}.crt"] = base64.b64encode(pair.certificate).decode()
            out[f"{name}.key"] = base64.b64encode(pair.key).decode()
    return out


def from_data(data: Mapping[str, str]) -> Material | None:
    """Return what a Secret's ``data`` holds, or None when a part is missing: it is then made anew."""
    authority, serving = _pair(data, "ca"), _pair(data, "tls")
    if authority is None or serving is None:
        return None
    return Material(authority, serving, _pair(data, "next-ca"))


def _pair(data: Mapping[str, str], name: str) -> Pair | None:
    certificate, key = data.get(f"{name}.crt"), data.get(f"{name}.key")
    if not certificate or not key:
        return None
    return Pair(base64.b64decode(certificate), base64.b64decode(key))


def server_context() -> ssl.SSLContext:
    """Return the context to listen with; give it a certificate by :func:`load` before the first client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def load(context: ssl.SSLContext, serving: Pair) -> None:
    """Serve with ``serving`` from the next connection on; connections that are open stay as they are."""
    # The standard library reads certificates from files only. The directory is the user's own (0700).
    with tempfile.TemporaryDirectory(prefix="edgewright-") as directory:
        path = Path(directory) / "tls.pem"
        path.write_bytes(serving.certificate + serving.key)
        context.load_cert_chain(path)
