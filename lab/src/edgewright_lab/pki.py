"""Keys and certificates of one lab: EC P-256, files readable by their owner only."""

import base64
import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME = datetime.timedelta(days=30)
_CLUSTER_IP = "10.43.0.1"
_SERVER_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
_SERVER_ADDRESSES = ("127.0.0.1", _CLUSTER_IP)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, as PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Pki:
    """What a control plane needs."""

    ca: Path
    apiserver: Pair
    admin: Pair
    controller_manager: Pair
    service_accounts: Path
    """The private key that signs service account tokens."""


def create(directory: Path, *, now: datetime.datetime) -> Pki:
    """Write a new authority and what it certifies into ``directory``; all of it is valid from ``now`` on."""
    directory.mkdir(parents=True, mode=0o700)
    authority = _Authority.create(now)
    ca = _write(directory / "ca.crt", authority.certificate.public_bytes(serialization.Encoding.PEM))
    return Pki(
        ca=ca,
        apiserver=authority.issue(directory, "apiserver", "kube-apiserver", server=True),
        admin=authority.issue(directory, "admin", "edgewright-lab-admin", "system:masters"),
        controller_manager=authority.issue(directory, "controller-manager", "system:kube-controller-manager"),
        service_accounts=_write(directory / "service-accounts.key", _pem(_key())),
    )


def kubeconfig(path: Path, *, server: str, ca: Path, client: Pair) -> Path:
    """Write a kubeconfig that holds everything it names, so that it can be copied elsewhere."""

    def embedded(file: Path) -> str:
        return base64.b64encode(file.read_bytes()).decode()

    name = "edgewright-lab"
    user = {
        "client-certificate-data": embedded(client.certificate),
        "client-key-data": embedded(client.key),
    }
    cluster = {"server": server, "certificate-authority-data": embedded(ca)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return _write(path, yaml.safe_dump(document).encode())


@dataclass(frozen=True, slots=True)
class _Authority:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    now: datetime.datetime

    @classmethod
    def create(cls, now: datetime.datetime) -> "_Authority":
        key = _key()
        name = _name("edgewright-lab")
        certificate = (
            _builder(name, name, key, now)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(key, certificate, now)

    def issue(self, directory: Path, file: str, user: str, group: str = "", *, server: bool = False) -> Pair:
        key = _key()
        builder = _builder(_name(user, group), self.certificate.subject, key, self.now)
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
        if server:
            builder = builder.add_extension(x509.SubjectAlternativeName(_server_names()), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        return Pair(
            _write(directory / f"{file}.crt", certificate.public_bytes(serialization.Encoding.PEM)),
            _write(directory / f"{file}.key", _pem(key)),
        )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + _LIFETIME)
    )


def _server_names() -> Sequence[x509.GeneralName]:
    addresses = [x509.IPAddress(ipaddress.ip_address(a)) for a in _SERVER_ADDRESSES]
    return [*(x509.DNSName(n) for n in _SERVER_NAMES), *addresses]


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(user: str, group: str = "") -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, user)]
    if group:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    return x509.Name(attributes)


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _write(path: Path, content: bytes) -> Path:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    return path
