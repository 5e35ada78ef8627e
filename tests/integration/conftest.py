"""Real parts for the integration tests; each starts when the first test asks for it, once per session.

Set EDGEWRIGHT_LAB_KUBECONFIG, KUBEBUILDER_ASSETS or EDGEWRIGHT_LAB_S3_* to use what exists already.
"""

import uuid
from collections.abc import Callable, Iterator

import pytest

from edgewright_lab.lab import Lab
from edgewright_lab.progress import to_stderr
from edgewright_lab.settings import LabSettings
from edgewright_lab.store import Store


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Lab]:
    """An API server with our CRDs, roles and policies; no store, operator or nodes."""
    settings = LabSettings.from_env(nodes=0, operator=False, store=False)
    with Lab(settings, report=to_stderr()) as lab:
        yield lab


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    """An object store with an empty bucket, and nothing else."""
    settings = LabSettings.from_env(nodes=0, operator=False, cluster=False)
    with Lab(settings, report=to_stderr()) as lab:
        yield lab.store


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Everything: control plane, store, operator, two nodes."""
    with Lab(LabSettings.from_env(nodes=2), report=to_stderr()) as lab:
        yield lab


@pytest.fixture
def fresh_namespace() -> Iterator[Callable[[Lab], str]]:
    """Return a function that makes a namespace of a new name in a lab; it is deleted after the test."""
    made: list[tuple[Lab, str]] = []

    def make(where: Lab) -> str:
        name = f"test-{uuid.uuid4().hex[:10]}"
        where.kubectl("create", "namespace", name)
        made.append((where, name))
        return name

    yield make
    for where, name in made:
        where.kubectl("delete", "namespace", name, "--wait=false")
