"""evaluate-agreement: right is what the source model decides; no labels are needed."""

from edgewright_build.evaluators.outcomes import decide, pack
from edgewright_build.passes import PassInput, PassOutput


def run(given: PassInput) -> PassOutput:
    """Return paired outcomes against the source model's decisions; an output with a NaN agrees with nothing."""
    _, baseline, artifact = decide(given)
    return pack(given, baseline == baseline, (baseline == artifact) & (artifact >= 0))
