"""What a decision is made of, and what may be decided. Frozen values only. PURE."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from edgewright_node.agent.journal import Journal, Outcome
from edgewright_node.slots import ServerReport, SlotName, Want


class Will(StrEnum):
    """What the assignment wants of an entry."""

    RUN = "Run"
    HOLD = "Hold"
    REMOVE = "Remove"


@dataclass(frozen=True, slots=True)
class Order:
    """One entry, as far as decisions need it."""

    will: Will
    digest: str
    served_name: str


@dataclass(frozen=True, slots=True)
class Disk:
    """What lies in the deployment's directory."""

    present: bool
    complete: Mapping[SlotName, str]
    """Manifest digest of each complete slot."""

    active: SlotName | None
    want: Want | None

    def slot_of(self, digest: str | None) -> SlotName | None:
        """Return the complete slot that holds ``digest``, the active one first."""
        if digest is None:
            return None
        if self.active is not None and self.complete.get(self.active) == digest:
            return self.active
        return next((slot for slot, found in sorted(self.complete.items()) if found == digest), None)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long servers may take, in seconds."""

    trial_seconds: float = 120.0
    confirm_seconds: float = 60.0
    astray_seconds: float = 30.0
    """How long what was confirmed may be untrue: a server that starts anew is no news."""


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything a decision is made of."""

    order: Order
    journal: Journal
    disk: Disk
    servers: tuple[ServerReport, ...]
    """Those that live: reports younger than the contract's freshness."""

    elapsed: float
    """Seconds since the state was entered, or since the agent began if that is later."""

    limits: Limits = Limits()
    astray: float = 0.0
    """Seconds for which ``plan.stands`` has been false."""


@dataclass(frozen=True, slots=True)
class ProcessResult:
    """What the one-shot self-test said, or why it could not be asked."""

    passed: bool
    at: str
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Conclude:
    """Nothing to do but to write down what is known."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Fetch:
    """Get the manifest and every file that it names; OK when all bytes are beside the slots."""

    digest: str


@dataclass(frozen=True, slots=True)
class Seal:
    """Check every digest again and turn what was fetched into the inactive slot."""

    digest: str


@dataclass(frozen=True, slots=True)
class Recheck:
    """Check the digests of a kept slot."""

    slot: SlotName
    digest: str


@dataclass(frozen=True, slots=True)
class OfferTrial:
    """Ask the servers to load a slot beside the active one; ``attempt`` names this try."""

    slot: SlotName
    digest: str
    attempt: str


@dataclass(frozen=True, slots=True)
class RunTrial:
    """Test a slot in a process of its own, as no server lives."""

    slot: SlotName


@dataclass(frozen=True, slots=True)
class Switch:
    """Point the link at a slot and tell the servers."""

    slot: SlotName
    want: Want


@dataclass(frozen=True, slots=True)
class WriteWant:
    """Tell the servers what is wanted, where want.json does not say so already."""

    want: Want


@dataclass(frozen=True, slots=True)
class Erase:
    """Delete the deployment's directory."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Wait until something changes, at most this many seconds."""

    seconds: float


Action = Conclude | Fetch | Seal | Recheck | OfferTrial | RunTrial | Switch | WriteWant | Erase | Rest
