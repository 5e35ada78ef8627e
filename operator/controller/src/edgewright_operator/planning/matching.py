"""Which variant of a revision suits a node: hard constraints first, then priority; the reason is kept."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgewright_api.edgetarget import EdgeTargetSpec
from edgewright_api.modelrevision import ModelRevision
from edgewright_api.verdicts import Verdict
from edgewright_operator.planning.objects import Inventory


@dataclass(frozen=True, slots=True)
class Variant:
    """One accepted artifact, with the class of hardware that it is for."""

    target: str
    spec: EdgeTargetSpec
    digest: str


@dataclass(frozen=True, slots=True)
class Fit:
    """The variant that a node gets, and why this one."""

    variant: Variant
    why: str


@dataclass(frozen=True, slots=True)
class Unfit:
    """No variant suits the node; ``why`` names the first clause that each one failed."""

    why: str


def selects(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Return whether ``labels`` hold all that is wanted; wanting nothing selects every node."""
    return all(labels.get(key) == value for key, value in wanted.items())


def variants(revision: ModelRevision) -> tuple[Variant, ...]:
    """Return the accepted artifacts of a revision, each with the snapshot of the EdgeTarget it was built for."""
    digests = {
        result.name: result.manifest_digest
        for result in revision.status.targets
        if result.verdict is Verdict.ACCEPTED and result.manifest_digest
    }
    return tuple(
        Variant(t.name, t.target, digests[t.name]) for t in revision.spec.targets if t.name in digests
    )


def match(inventory: Inventory | None, offered: Iterable[Variant]) -> Fit | Unfit:
    """Return the variant of the highest priority among those whose class the node belongs to.

    Equal priorities are ordered by the target's name, so the choice does not depend on any order given.
    """
    if inventory is None:
        return Unfit("the node has not reported its inventory yet")
    fitting: list[Variant] = []
    excluded: list[str] = []
    for variant in sorted(offered, key=lambda v: (-v.spec.priority, v.target)):
        obstacle = _obstacle(inventory, variant.spec)
        if obstacle is None:
            fitting.append(variant)
        else:
            excluded.append(f"{variant.target}: {obstacle}")
    if not fitting:
        return Unfit("; ".join(excluded) or "the revision has no accepted artifact")
    best, *others = fitting
    why = f"{best.target} suits (priority {best.spec.priority})"
    if others:
        why += f", before {', '.join(v.target for v in others)}"
    if excluded:
        why += f"; not {'; not '.join(excluded)}"
    return Fit(best, why[:2048])


def _obstacle(inventory: Inventory, spec: EdgeTargetSpec) -> str | None:
    """Return the first clause that the node does not meet, in words, or None."""
    if inventory.architecture not in spec.match.architectures:
        return (
            f"architecture is {inventory.architecture or 'unknown'}, not {_either(spec.match.architectures)}"
        )
    features = frozenset(inventory.cpu_features)
    for clause in spec.match.cpu_features:
        if features.isdisjoint(clause.any_of):
            return f"the processor lacks {_either(clause.any_of)}"
    if not any(r.name.lower() == spec.runtime.lower() for r in inventory.runtimes):
        return f"the node has no {spec.runtime.value}"
    return None


def _either(options: Sequence[str]) -> str:
    return " or ".join(str(option) for option in options)
