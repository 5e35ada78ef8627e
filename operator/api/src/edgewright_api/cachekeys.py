"""Build cache keys, and the walk that finds what is known already."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edgewright_api.canonical import digest_value
from edgewright_api.plan import BuildPlan, PassNode
from edgewright_api.report import CacheRecord


def pass_key(node: PassNode, input_digests: Mapping[str, str]) -> str:
    """Return the cache key of a pass: the digest of all that can change its output.

    Args:
        node: The pass with its options, version, toolchain, ISA class and seed.
        input_digests: The digest of the content on each of the node's ports.

    Raises:
        ValueError: a port has no digest, or there is one for a port that the node does not have.
    """
    if set(node.inputs) != set(input_digests):
        raise ValueError(f"{node.id} has ports {sorted(node.inputs)}, not {sorted(input_digests)}")
    return digest_value(
        {
            "pass": node.pass_name,
            "version": node.version,
            "options": node.options,
            "inputs": dict(input_digests),
            "toolchain": node.toolchain,
            "isa": node.isa,
            "seed": node.seed,
        }
    )


@dataclass(frozen=True, slots=True)
class Walk:
    """What is known of a plan: results by node id, and the keys that could be computed."""

    known: Mapping[str, CacheRecord]
    keys: Mapping[str, str]
    missing: tuple[str, ...]
    """Nodes to run, in the plan's order; nodes behind a known failure are in ``blocked`` instead."""
    blocked: tuple[str, ...]
    """Nodes that can never run, because something before them fails with these inputs every time."""


def input_digests(plan: BuildPlan, node: PassNode, outputs: Mapping[str, str]) -> dict[str, str] | None:
    """Return the digest on each port of ``node``, or None while one of them is not known."""
    found = {}
    for port, ref in node.inputs.items():
        digest = plan.contents.get(ref) or outputs.get(ref)
        if digest is None:
            return None
        found[port] = digest
    return found


def walk(plan: BuildPlan, lookup: Callable[[str], CacheRecord | None]) -> Walk:
    """Return what of ``plan`` is known, asking ``lookup`` for the record of each key that can be computed."""
    known: dict[str, CacheRecord] = {}
    keys: dict[str, str] = {}
    outputs: dict[str, str] = {}
    missing: list[str] = []
    blocked: list[str] = []
    dead: set[str] = set()
    for node in plan.nodes:
        if any(ref in dead for ref in node.inputs.values()):
            dead.add(node.id)
            blocked.append(node.id)
            continue
        digests = input_digests(plan, node, outputs)
        record = None
        if digests is not None:
            keys[node.id] = pass_key(node, digests)
            record = lookup(keys[node.id])
        if record is None:
            missing.append(node.id)
            continue
        known[node.id] = record
        if record.output is None:
            dead.add(node.id)
        else:
            outputs[node.id] = record.output
    return Walk(known, keys, tuple(missing), tuple(blocked))
