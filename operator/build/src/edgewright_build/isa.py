"""Which int8 arithmetic a processor has, and what that means for evidence. Pure over the processor's flags."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from edgewright_api.edgetarget import Isa
from edgewright_api.errors import StalledError
from edgewright_api.evidence import Evidence
from edgewright_api.reasons import Reason

_VNNI: Final = frozenset({"avx512_vnni", "avx_vnni"})


def level_of(flags: Iterable[str]) -> Isa:
    """Return the level of a processor from its flags, as the kernel prints them in /proc/cpuinfo.

    Raises:
        StalledError: the processor has no AVX2, so it is of no level that is built for.
    """
    have = frozenset(flags)
    if have & _VNNI:
        return Isa.X86_VNNI
    if "avx2" in have:
        return Isa.X86_AVX2
    raise StalledError(
        Reason.TOOLCHAIN_MISMATCH,
        "this processor has no AVX2",
        remedy="Run the builder on an x86-64-v3 machine",
    )


def processor(cpuinfo: str) -> tuple[frozenset[str], str]:
    """Return the flags and the model name of the first processor in the text of /proc/cpuinfo."""
    flags: frozenset[str] = frozenset()
    name = ""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "flags" and not flags:
            flags = frozenset(value.split())
        elif key.strip() == "model name" and not name:
            name = value.strip()
    return flags, name


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Whose arithmetic a pass computes, and on whose machine: ``target@host`` in a plan."""

    target: Isa
    host: Isa

    @classmethod
    def parse(cls, text: str) -> "Arithmetic":
        """Return the two levels of e.g. ``X86Avx2@X86Vnni``."""
        target, _, host = text.partition("@")
        return cls(Isa(target), Isa(host))

    @property
    def evidence(self) -> Evidence:
        """How strong a figure is that was computed with this arithmetic on this host."""
        return Evidence.SAME_ISA if self.target is self.host else Evidence.EMULATED

    @property
    def exact_integers(self) -> bool:
        """Whether the host's own kernels must be replaced by exact ones to compute as the target does."""
        return self.target is Isa.X86_VNNI and self.host is Isa.X86_AVX2

    @property
    def needs_saturation_proof(self) -> bool:
        """Whether the host computes exactly what the target computes only if nothing can saturate there."""
        return self.target is Isa.X86_AVX2 and self.host is not Isa.X86_AVX2
