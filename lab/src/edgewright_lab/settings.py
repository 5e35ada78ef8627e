"""What a lab is made of, read once."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Self

from edgewright_lab.errors import LabError


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalStore:
    """An object store that exists already; the lab neither starts nor empties it."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    bucket: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabSettings:
    """The shape of one lab. The fields that say *where things come from* have environment variables."""

    nodes: int = 2
    """How many edge nodes (agent and server each); 0 starts none."""

    operator: bool = True
    """Whether the operator runs."""

    cluster: bool = True
    """Whether there is a control plane (own or given by ``kubeconfig``); without one, only ``store`` works."""

    store: bool = True
    """Whether an object store is started (or the external one used)."""

    install: bool = True
    """Whether CRDs and what the chart renders are applied."""

    directory: Path | None = None
    """Where everything of this lab lies; None is a temporary directory, removed at the end."""

    cache: Path = field(default_factory=lambda: Path.home() / ".cache" / "edgewright")
    """EDGEWRIGHT_CACHE: built binaries and downloaded tools, shared by all labs."""

    kubeconfig: Path | None = None
    """EDGEWRIGHT_LAB_KUBECONFIG: an existing cluster to use (as admin) in place of an own control plane."""

    kubebuilder_assets: Path | None = None
    """KUBEBUILDER_ASSETS: a directory with etcd, kube-apiserver and kube-controller-manager."""

    external_store: ExternalStore | None = None
    """EDGEWRIGHT_LAB_S3_ENDPOINT with _ACCESS_KEY, _SECRET_KEY and _BUCKET."""

    uv: Path | None = None
    """UV: the uv binary that installs wheels; None looks in the PATH and falls back to pip."""

    repository: Path | None = None
    """The checkout that holds ``crds/`` and ``charts/``; None finds it above this file."""

    operator_env: Mapping[str, str] = field(default_factory=dict)
    """Further variables for the operator, e.g. ``EDGEWRIGHT_OPERATOR_GATEWAY_MODE``."""

    operator_argv: tuple[str, ...] = (sys.executable, "-m", "edgewright_operator")
    """How the operator is started; a test may run one that decides otherwise."""

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None, **given: object) -> Self:
        """Return settings with what the environment says; ``given`` fields win.

        Raises:
            LabError: an ``EDGEWRIGHT_LAB_*`` variable is unknown, or the store's are incomplete.
        """
        env = os.environ if env is None else env
        unknown = sorted(k for k in env if k.startswith("EDGEWRIGHT_LAB_") and k not in _LAB_VARIABLES)
        if unknown:
            raise LabError(f"not known: {', '.join(unknown)}; known: {', '.join(sorted(_LAB_VARIABLES))}")
        found: dict[str, object] = {"external_store": _external_store(env)}
        for name, variable in _PATHS.items():
            if env.get(variable):
                found[name] = Path(env[variable]).expanduser().absolute()
        known = {f.name for f in fields(cls)}
        if strange := sorted(set(given) - known):
            raise TypeError(f"LabSettings has no {', '.join(strange)}")
        return cls(**(found | given))  # type: ignore[arg-type]


_PATHS = {
    "cache": "EDGEWRIGHT_CACHE",
    "kubeconfig": "EDGEWRIGHT_LAB_KUBECONFIG",
    "kubebuilder_assets": "KUBEBUILDER_ASSETS",
    "uv": "UV",
}
_STORE = {
    "endpoint": "EDGEWRIGHT_LAB_S3_ENDPOINT",
    "access_key": "EDGEWRIGHT_LAB_S3_ACCESS_KEY",
    "secret_key": "EDGEWRIGHT_LAB_S3_SECRET_KEY",
    "bucket": "EDGEWRIGHT_LAB_S3_BUCKET",
}
_LAB_VARIABLES = frozenset({*_STORE.values(), "EDGEWRIGHT_LAB_KUBECONFIG"})


def _external_store(env: Mapping[str, str]) -> ExternalStore | None:
    found = {name: env.get(variable, "") for name, variable in _STORE.items()}
    if not any(found.values()):
        return None
    if missing := sorted(_STORE[name] for name, value in found.items() if not value):
        raise LabError(f"an external store needs {', '.join(missing)} too")
    return ExternalStore(**found)


def script(name: str) -> str:
    """Return the path of an installed command that lies beside this interpreter."""
    return str(Path(sys.executable).parent / name)
