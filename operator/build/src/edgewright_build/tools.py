"""Which tools are installed here, and whether they are those that a plan was made for."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Final

from edgewright_api.errors import StalledError
from edgewright_api.reasons import Reason

_TOOLS: Final = ("numpy", "onnx", "onnxruntime")


def installed() -> dict[str, str]:
    """Return the version of each tool that shapes results."""
    return {"python": ".".join(platform.python_version_tuple()[:2])} | {
        name: version(name) for name in _TOOLS
    }


def require(pins: Mapping[str, Mapping[str, str]], have: Mapping[str, str]) -> None:
    """Return when every toolchain of a plan is what is installed.

    Raises:
        StalledError: ToolchainMismatch, with the first tool that differs.
    """
    for toolchain in pins.values():
        for tool, wanted in sorted(toolchain.items()):
            if have.get(tool) != wanted:
                raise StalledError(
                    Reason.TOOLCHAIN_MISMATCH,
                    f"the plan was made for {tool} {wanted}, installed is {have.get(tool, 'none')}",
                    remedy="Plan again with this builder's description, or run the builder that it was made for",
                )
