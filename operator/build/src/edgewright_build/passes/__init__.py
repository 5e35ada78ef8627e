"""The passes: bytes in, bytes out, and what was done. One file each; the same input gives the same bytes.

What is known of a pass needs no import of it; its versions live in ``edgewright_api.recipes``, since plans name them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from edgewright_api.errors import StalledError
from edgewright_api.reasons import Reason


@dataclass(frozen=True, slots=True)
class PassInput:
    """What a pass is given: a file per port, its options, and on whose machine it computes whose arithmetic."""

    files: Mapping[str, Path]
    options: Mapping[str, Any] = field(default_factory=dict)
    isa: str = ""
    clock: Callable[[], float] | None = None
    """Seconds that only grow; given to passes that measure."""
    lock: Path | None = None
    """The file that whoever measures on this machine locks; given to passes that measure."""

    def read(self, port: str) -> bytes:
        """Return the bytes on a port."""
        return self.files[port].read_bytes()


@dataclass(frozen=True, slots=True)
class PassOutput:
    """What a pass gives: the bytes, and facts for people and for the gate (JSON)."""

    data: bytes
    facts: Mapping[str, Any]


Pass = Callable[[PassInput], PassOutput]


@dataclass(frozen=True, slots=True)
class PassSpec:
    """A row of the catalogue."""

    name: str
    where: str


_CATALOGUE: Final = (
    PassSpec("ingest", "edgewright_build.passes.ingest:run"),
    PassSpec("canonicalize", "edgewright_build.passes.canonicalize:run"),
    PassSpec("infer-shapes", "edgewright_build.passes.infer_shapes:run"),
    PassSpec("optimize-graph", "edgewright_build.passes.optimize_graph:run"),
    PassSpec("calibrate", "edgewright_build.passes.calibrate:run"),
    PassSpec("quantize-static", "edgewright_build.passes.quantize_static:run"),
    PassSpec("quantize-dynamic", "edgewright_build.passes.quantize_dynamic:run"),
    PassSpec("plant-wrong-zero-point", "edgewright_build.passes.plant_wrong_zero_point:run"),
    PassSpec("plant-transposed-weights", "edgewright_build.passes.plant_transposed_weights:run"),
    PassSpec("plant-dropped-bias", "edgewright_build.passes.plant_dropped_bias:run"),
    PassSpec("golden", "edgewright_build.passes.golden:run"),
    PassSpec("predict", "edgewright_build.evaluators.predict:run"),
    PassSpec("evaluate-top1", "edgewright_build.evaluators.top1:run"),
    PassSpec("evaluate-agreement", "edgewright_build.evaluators.agreement:run"),
    PassSpec("check-safety", "edgewright_build.evaluators.safety:run"),
    PassSpec("measure-latency", "edgewright_build.evaluators.latency:run"),
)
PASSES: Final[Mapping[str, PassSpec]] = {spec.name: spec for spec in _CATALOGUE}


def load(name: str) -> Pass:
    """Return a pass by name, importing its module only now.

    Raises:
        StalledError: no pass has this name.
    """
    spec = PASSES.get(name)
    if spec is None:
        raise StalledError(
            Reason.TOOLCHAIN_MISMATCH, f"pass {name!r} is not known", remedy=f"Known: {', '.join(PASSES)}"
        )
    module, _, attribute = spec.where.partition(":")
    loaded: Pass = getattr(import_module(module), attribute)
    return loaded
