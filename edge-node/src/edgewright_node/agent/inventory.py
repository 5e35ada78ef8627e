"""What this node is made of, asked of the kernel and of the installed distributions. No runtime is loaded."""

import os
import platform
import shutil
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from edgewright_node.agent.wire import Inventory, Runtime

LABEL_PREFIX: Final = "inventory.edgewright.dev/"

FEATURES: Final = (
    "sse4_1",
    "avx",
    "avx2",
    "fma",
    "f16c",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimddp",
    "i8mm",
    "sve",
    "bf16",
)
"""The features that matter to inference, as the kernel prints them."""

_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "riscv64": "riscv64"}
_RUNTIMES: Final = ("onnxruntime",)


def parse_cpuinfo(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the model and the features that every core has, in the order of ``FEATURES``. PURE."""
    model, common = "", None
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key in ("model name", "Model") and not model:
            model = value
        if key in ("flags", "Features"):
            found = set(value.split())
            common = found if common is None else common & found
    return model[:128], tuple(feature for feature in FEATURES if feature in (common or ()))


def labels(inventory: Inventory) -> Mapping[str, str]:
    """Return the node's labels; all under the one prefix that an agent may write. PURE."""
    found = {f"{LABEL_PREFIX}architecture": inventory.architecture}
    for feature in inventory.cpu_features:
        found[f"{LABEL_PREFIX}cpu-{feature.replace('_', '-')}"] = "true"
    for runtime in inventory.runtimes:
        found[f"{LABEL_PREFIX}runtime-{runtime.name}"] = runtime.version
    return found


def probe(root: Path) -> Inventory:
    """Ask the machine. ``root`` is where models will lie."""
    model, features = parse_cpuinfo(_read("/proc/cpuinfo"))
    machine = platform.machine()
    return Inventory(
        architecture=_ARCHITECTURES.get(machine, machine),
        cpu_model=model,
        cpu_features=features,
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        disk_bytes=shutil.disk_usage(root).total,
        runtimes=tuple(
            Runtime(name=name, version=found) for name in _RUNTIMES if (found := _installed(name))
        ),
        operating_system=_os_name(_read("/etc/os-release")),
    )


def _os_name(text: str) -> str:
    for line in text.splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')[:128]
    return ""


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
