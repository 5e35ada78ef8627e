"""The gateway's certificates: an authority of its own, a serving certificate, and when each is renewed.

A next authority is published long before it signs anything, so an agent that reads its bundle once in a while
never meets an unknown one. ``keeper`` stores what is made here.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_AUTHORITY_LIFE: Final = timedelta(days=1825)
_PUBLISH_NEXT_BEFORE: Final = timedelta(days=365)
_CHANGE_OVER_BEFORE: Final = timedelta(days=90)
_SERVING_LIFE: Final = timedelta(days=90)
_SERVING_RENEW_BEFORE: Final = timedelta(days=30)
_SKEW: Final = timedelta(hours=1)
"""Clocks of edge nodes are wrong by minutes; certificates begin before they are made."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes = field(repr=False)

    def expires(self) -> datetime:
        """Return when the certificate ends, in UTC."""
        return x509.load_pem_x509_certificate(self.certificate).not_valid_after_utc


@dataclass(frozen=True, slots=True)
class Material:
    """Everything that is kept in the Secret."""

    authority: Pair
    serving: Pair
    next_authority: Pair | None = None

    @property
    def bundle(self) -> bytes:
        """What clients trust: the authority in use, and the next one when there is one."""
        following = self.next_authority.certificate if self.next_authority else b""
        return self.authority.certificate + following


def renewed(old: Material | None, hosts: Sequence[str], now: datetime) -> Material:
    """Return the material to use at ``now``: ``old`` itself when nothing is due.

    Args:
        old: What is kept, or None the first time.
        hosts: DNS names and IP addresses that nodes use for the gateway, at least one.
        now: In UTC.
    """
    if old is None:
        authority = _authority(now)
        return Material(authority, _serving(authority, hosts, now))
    new = old
    if new.authority.expires() - now < _PUBLISH_NEXT_BEFORE and new.next_authority is None:
        new = replace(new, next_authority=_authority(now))
    if new.authority.expires() - now < _CHANGE_OVER_BEFORE and new.next_authority is not None:
        new = Material(new.next_authority, _serving(new.next_authority, hosts, now))
    if new.serving.expires() - now < _SERVING_RENEW_BEFORE or _hosts_of(new.serving) != _named(hosts):
        new = replace(new, serving=_serving(new.authority, hosts, now))
    return new


def _named(hosts: Sequence[str]) -> frozenset[str]:
    return frozenset(str(_general_name(host).value) for host in hosts)


def _hosts_of(pair: Pair) -> frozenset[str]:
    certificate = x509.load_pem_x509_certificate(pair.certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return frozenset(str(name.value) for name in names)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _authority(now: datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edgewright-gateway-ca")])
    usage = _usage(sign_certificates=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        _builder(name, name, key.public_key(), now, _AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key)


def _serving(authority: Pair, hosts: Sequence[str], now: datetime) -> Pair:
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    issuer_key = serialization.load_pem_private_key(authority.key, password=None)
    if not isinstance(issuer_key, ec.EllipticCurvePrivateKey):
        raise TypeError("the authority's key is not one that this operator made")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edgewright-gateway")])
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        _builder(name, issuer.subject, key.public_key(), now, _SERVING_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(h) for h in hosts]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
        .sign(issuer_key, hashes.SHA256())
    )
    return _pair(certificate, key)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + life)
    )


def _usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Pair(certificate.public_bytes(pem), private)
