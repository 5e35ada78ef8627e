"""From what a model asks, with everything resolved, to the content of a revision and its name. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from edgewright_api.canonical import digest_value
from edgewright_api.edgemodel import EdgeModel
from edgewright_api.edgetarget import EdgeTarget
from edgewright_api.modelrevision import ModelRevisionSpec, ResolvedContent, ResolvedData, RevisionTarget


@dataclass(frozen=True, slots=True)
class Pins:
    """What the model's addresses were resolved to."""

    source: ResolvedContent
    data: ResolvedData


def content(model: EdgeModel, targets: Mapping[str, EdgeTarget], pins: Pins) -> ModelRevisionSpec:
    """Return everything that shapes the build of ``model``: digests, and a snapshot of each EdgeTarget.

    Raises:
        KeyError: ``targets`` lacks one that the model names.
    """
    spec = model.spec
    return ModelRevisionSpec(
        model=model.metadata.name,
        version=spec.version,
        source=pins.source,
        interface=spec.interface,
        data=pins.data,
        metrics=spec.metrics,
        requirements=spec.requirements,
        objectives=spec.objectives,
        targets=tuple(
            RevisionTarget(
                name=t.name,
                required=t.required,
                budgets=t.budgets,
                evidence=t.evidence,
                target=targets[t.name].spec,
            )
            for t in spec.targets
        ),
        optimization=spec.optimization,
    )


def revision_name(spec: ModelRevisionSpec) -> str:
    """Return ``<model>-<10 hex of its content>``."""
    return f"{spec.model}-{digest_value(spec.to_wire()).removeprefix('sha256:')[:10]}"
