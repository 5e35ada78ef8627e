"""Certificates: always one that clients trust already, never one that has ended."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from edgewright_operator.gateway.certificates import Material, renewed
from edgewright_operator.gateway.keeper import from_data, to_data

NOW = datetime(2026, 11, 25, 11, 0, tzinfo=UTC)
HOSTS = ("edgewright-gateway.edgewright-system.svc", "10.0.0.1")
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def first() -> Material:
    return renewed(None, HOSTS, NOW)


def verify(bundle: bytes, material: Material, at: datetime) -> None:
    """Hold what is served to what a client trusts, as a client does."""
    trusted = Store(x509.load_pem_x509_certificates(bundle))
    verifier = PolicyBuilder().store(trusted).time(at).build_server_verifier(x509.DNSName(HOSTS[0]))
    verifier.verify(x509.load_pem_x509_certificate(material.serving.certificate), [])


def test_the_first_is_trusted_for_its_names(first: Material) -> None:
    verify(first.bundle, first, NOW)
    names = x509.load_pem_x509_certificate(first.serving.certificate).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert {str(name.value) for name in names.value} == set(HOSTS)


def test_a_dump_shows_no_key(first: Material) -> None:
    assert "PRIVATE" not in repr(first)


def test_nothing_changes_while_nothing_is_due(first: Material) -> None:
    assert renewed(first, HOSTS, NOW + 59 * DAY) is first
    assert renewed(first, HOSTS[::-1], NOW) is first


def test_the_serving_certificate_is_renewed_before_it_ends(first: Material) -> None:
    second = renewed(first, HOSTS, NOW + 61 * DAY)
    assert second.authority == first.authority
    assert second.serving != first.serving
    verify(first.bundle, second, NOW + 100 * DAY)


def test_other_names_need_another_certificate(first: Material) -> None:
    second = renewed(first, (*HOSTS, "gateway.example"), NOW)
    assert second.serving != first.serving
    assert second.authority == first.authority


def test_a_client_that_reads_its_bundle_once_in_a_quarter_is_never_locked_out(first: Material) -> None:
    """Over thirteen years, with the operator looking every ten days and a client every ninety."""
    material, bundle, authorities = first, first.bundle, {first.authority.certificate}
    for day in range(0, 13 * 365, 10):
        now = NOW + day * DAY
        if day % 90 == 0:
            bundle = material.bundle
        material = renewed(material, HOSTS, now)
        authorities.add(material.authority.certificate)
        verify(bundle, material, now)
    assert len(authorities) == 4


def test_the_secret_holds_all_of_it(first: Material) -> None:
    late = renewed(first, HOSTS, NOW + 1500 * DAY)
    assert late.next_authority is not None
    assert from_data(to_data(late)) == late
    assert from_data(to_data(first)) == first


@pytest.mark.parametrize("lost", ["ca.crt", "ca.key", "tls.crt", "tls.key"])
def test_a_secret_that_lacks_a_part_is_made_anew(first: Material, lost: str) -> None:
    data = to_data(first)
    del data[lost]
    assert from_data(data) is None
