"""The processor's level and what a figure from it is worth."""

import pytest

from edgewright_api.edgetarget import Isa
from edgewright_api.errors import StalledError
from edgewright_api.evidence import Evidence
from edgewright_build.isa import Arithmetic, level_of, processor


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        pytest.param("avx avx2 fma", Isa.X86_AVX2, id="avx2"),
        pytest.param("avx2 avx512f avx512_vnni", Isa.X86_VNNI, id="avx512-vnni"),
        pytest.param("avx2 avx_vnni", Isa.X86_VNNI, id="avx-vnni"),
        pytest.param("avx2 avx512f avx512bw", Isa.X86_AVX2, id="avx512-without-vnni"),
    ],
)
def test_level(flags: str, level: Isa) -> None:
    assert level_of(flags.split()) is level


def test_a_processor_without_avx2_is_refused() -> None:
    with pytest.raises(StalledError, match="no AVX2"):
        level_of({"sse4_2"})


def test_first_processor_of_cpuinfo() -> None:
    text = "processor\t: 0\nmodel name\t: A: chip\nflags\t\t: avx2 fma\n\nprocessor\t: 1\nflags\t\t: none\n"
    assert processor(text) == (frozenset({"avx2", "fma"}), "A: chip")


@pytest.mark.parametrize(
    ("text", "evidence", "exact", "proof"),
    [
        ("X86Avx2@X86Avx2", Evidence.SAME_ISA, False, False),
        ("X86Vnni@X86Vnni", Evidence.SAME_ISA, False, False),
        ("X86Vnni@X86Avx2", Evidence.EMULATED, True, False),
        ("X86Avx2@X86Vnni", Evidence.EMULATED, False, True),
    ],
)
def test_arithmetic(text: str, evidence: Evidence, exact: bool, proof: bool) -> None:
    arithmetic = Arithmetic.parse(text)
    assert arithmetic.evidence is evidence
    assert arithmetic.exact_integers is exact
    assert arithmetic.needs_saturation_proof is proof
