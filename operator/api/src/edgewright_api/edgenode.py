"""EdgeNode: one edge node. What it is, and how it is."""

from typing import Annotated, ClassVar

from pydantic import Field

from edgewright_api.base import ApiModel, DnsLabel, ObjectMeta, WireModel, atomic_list, map_list
from edgewright_api.conditions import ConditionList
from edgewright_api.kind import Column, Kind


class EdgeNodeSpec(ApiModel):
    """What people say of a node."""

    site: DnsLabel | None = None
    """site is where the node stands, for people and for grouping."""


class NodeRuntime(WireModel):
    """One inference runtime on the node."""

    name: str = Field(max_length=63)
    """name is the runtime, e.g. OnnxRuntime."""

    version: str = Field(max_length=63)
    """version is its version."""


class Inventory(WireModel):
    """What the node is, as the agent found it."""

    architecture: str = Field(default="", max_length=32)
    """architecture is the processor architecture, named as Kubernetes names it."""

    cpu_model: str = Field(default="", max_length=128)
    """cpuModel is the processor's name."""

    cpu_features: Annotated[tuple[Annotated[str, Field(max_length=32)], ...], atomic_list(64)] = ()
    """cpuFeatures are the features that matter to inference, as the kernel prints them."""

    cores: int = 0
    """cores is how many logical processors the agent may use."""

    memory_bytes: int = 0
    """memoryBytes is the memory of the node."""

    disk_bytes: int = 0
    """diskBytes is the size of the file system that holds models."""

    runtimes: Annotated[tuple[NodeRuntime, ...], map_list(8, "name")] = ()
    """runtimes are the inference runtimes on the node."""

    operating_system: str = Field(default="", max_length=128)
    """operatingSystem is its name and version."""


class EdgeNodeStatus(WireModel):
    """What the agent reports; the condition Reachable alone is the operator's."""

    observed_generation: int = 0
    """observedGeneration is the generation of spec that this status is about; -1 before the first visit."""

    conditions: ConditionList = ()
    """conditions are the agent's four, and Reachable."""

    inventory: Inventory | None = None
    """inventory is what the node is."""

    agent_version: str = Field(default="", max_length=63)
    """agentVersion is the version of the agent."""


class EdgeNode(ApiModel):
    """EdgeNode is one edge node: its inventory and its health."""

    kind_info: ClassVar[Kind] = Kind(
        kind="EdgeNode",
        plural="edgenodes",
        short="en",
        namespaced=False,
        columns=(
            Column("Site", ".spec.site"),
            Column("Cpu", ".status.inventory.cpuModel", priority=1),
            Column("Reachable", '.status.conditions[?(@.type=="Reachable")].status'),
            Column("Since", '.status.conditions[?(@.type=="Reachable")].lastTransitionTime', type="date"),
            Column("Ready", '.status.conditions[?(@.type=="Ready")].status'),
            Column("Agent", ".status.agentVersion", priority=1),
            Column("Age", ".metadata.creationTimestamp", type="date"),
        ),
    )

    metadata: ObjectMeta = ObjectMeta()
    spec: EdgeNodeSpec = EdgeNodeSpec()
    status: EdgeNodeStatus = EdgeNodeStatus()
