"""A bare client of the API server for tests: one identity, JSON in, status code and JSON out."""

import base64
import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import yaml

JSON = dict[str, Any]

EDGEWRIGHT: Final = "/apis/edgewright.dev/v1alpha1"
MERGE_PATCH: Final = "application/merge-patch+json"
APPLY: Final = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server said."""

    code: int
    body: JSON
    warnings: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """The message of a Status object; empty for any other object."""
        return str(self.body.get("message", ""))


@dataclass(frozen=True, slots=True)
class ApiClient:
    """Calls one API server, as the holder of ``token`` or else of the client certificate in ``context``."""

    server: str
    context: ssl.SSLContext = field(repr=False)
    token: str = field(default="", repr=False)

    def call(self, method: str, path: str, body: JSON | None = None, *, content: str = "") -> Answer:
        """Send one request; an error status is an answer too."""
        headers = {"Content-Type": content or "application/json", "Accept": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.server + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, context=self.context, timeout=30) as answer:
                warnings = tuple(answer.headers.get_all("Warning") or ())
                return Answer(answer.status, json.load(answer), warnings)
        except urllib.error.HTTPError as refused:
            with refused:
                return Answer(refused.code, json.loads(refused.read() or b"{}"))

    def must(self, method: str, path: str, body: JSON | None = None, *, content: str = "") -> JSON:
        """Send one request and return the object of its answer; anything but success fails the test."""
        answer = self.call(method, path, body, content=content)
        assert answer.code < 300, f"{method} {path}: {answer.code} {answer.message}"
        return answer.body

    def with_token(self, token: str, context: ssl.SSLContext) -> "ApiClient":
        """Return a client of the same server for the holder of ``token``."""
        return replace(self, token=token, context=context)


def admin(kubeconfig: Path, scratch: Path) -> tuple[ApiClient, ssl.SSLContext]:
    """Return the kubeconfig's client, and the TLS context of one that has no client certificate.

    Args:
        kubeconfig: With everything embedded, one cluster and one user.
        scratch: Where the certificate and its key are put, since ``ssl`` reads them from files only.
    """
    document = yaml.safe_load(kubeconfig.read_text())
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    certificate, key = scratch / "admin.crt", scratch / "admin.key"
    certificate.write_bytes(base64.b64decode(user["client-certificate-data"]))
    key.write_bytes(base64.b64decode(user["client-key-data"]))
    bare, certified = (
        ssl.create_default_context(cadata=authority),
        ssl.create_default_context(cadata=authority),
    )
    certified.load_cert_chain(certificate, key)
    return ApiClient(cluster["server"], certified), bare
