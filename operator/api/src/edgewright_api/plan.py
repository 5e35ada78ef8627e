"""BuildPlan: one DAG of passes, a branch per target. What the operator hands to a builder."""

from enum import StrEnum
from typing import Any, Final

from pydantic import Field

from edgewright_api.base import Digest, WireModel
from edgewright_api.edgemodel import Interface
from edgewright_api.edgetarget import Isa

SOURCE: Final = "source"
CALIBRATION: Final = "data:calibration"
ACCEPTANCE: Final = "data:acceptance"
"""References to what comes from outside; every other reference is the id of a pass node."""


class Step(StrEnum):
    """Which process runs a pass. Only Evaluate is handed the acceptance data, and it makes no artifact."""

    TRANSFORM = "Transform"
    EVALUATE = "Evaluate"


class Output(StrEnum):
    """What a pass gives."""

    MODEL = "Model"
    RANGES = "Ranges"
    GOLDEN = "Golden"
    PREDICTIONS = "Predictions"
    OUTCOMES = "Outcomes"
    LATENCY = "Latency"
    SAFETY = "Safety"


class PassNode(WireModel):
    """One pass with everything that shapes its result."""

    id: str
    """id is unique in the plan, e.g. static-int8-r7/quantize-static."""

    pass_name: str
    """passName is the entry of the pass catalogue."""

    version: int
    """version of the pass; a change of behaviour raises it."""

    step: Step
    """step is which process runs it."""

    output: Output
    """output is what it gives."""

    inputs: dict[str, str]
    """inputs maps a port to source, data:… or the id of another node."""

    options: dict[str, Any] = Field(default_factory=dict)
    """options are JSON scalars."""

    toolchain: Digest
    """toolchain is the digest of the pinned tools that run it."""

    isa: str = ""
    """isa is the arithmetic that the result depends on; empty when it depends on none."""

    seed: int = 0
    """seed of everything random in it."""


class Candidate(WireModel):
    """One way to make a target's artifact, and where its evidence comes from."""

    name: str
    """name is float, static-int8 or dynamic-int8."""

    model: str
    """model is the node that gives the model file."""

    golden: str
    """golden is the node that gives the golden vectors."""

    outcomes: dict[str, str]
    """outcomes maps a metric to the node that gives its paired outcomes."""

    safety: str
    """safety is the node that checks saturation and NaN."""

    latency: str | None = None
    """latency is the node that measures it, or None where it can't be measured."""


class PlanTarget(WireModel):
    """The branch of one target."""

    name: str
    """name is the EdgeTarget."""

    isa: Isa
    """isa is the arithmetic that the artifact is for."""

    candidates: tuple[Candidate, ...]
    """candidates are tried; their number is fixed before any of them is judged."""


class BuildPlan(WireModel):
    """A whole build."""

    model: str
    """model is the EdgeModel's name."""

    version: str
    """version of the model."""

    host_isa: Isa
    """hostIsa is the builder's own level: only this one is measured."""

    toolchains: dict[str, dict[str, str]]
    """toolchains maps a digest to the pinned tools behind it; a builder with other versions refuses."""

    contents: dict[str, Digest]
    """contents maps source and data references to their digests."""

    interface: Interface | None = None
    """interface is what the user declared."""

    nodes: tuple[PassNode, ...]
    """nodes are in topological order."""

    targets: tuple[PlanTarget, ...]
    """targets are the branches."""

    def node(self, node_id: str) -> PassNode:
        """Return a node by id.

        Raises:
            KeyError: the plan has no such node.
        """
        for node in self.nodes:
            if node.id == node_id:
                return node
        raise KeyError(node_id)
