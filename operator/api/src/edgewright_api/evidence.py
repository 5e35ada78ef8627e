"""How a number was obtained: the five levels, in order of strength."""

from enum import StrEnum
from typing import Final


class Evidence(StrEnum):
    """The level of evidence of a measured fact; ``None`` as a demand asks for nothing."""

    NONE = "None"
    RULE_CHECKED = "RuleChecked"
    ESTIMATED = "Estimated"
    EMULATED = "Emulated"
    SAME_ISA = "SameISA"
    ON_DEVICE = "OnDevice"

    def satisfies(self, demanded: "Evidence") -> bool:
        """Return whether this level is at least ``demanded``."""
        return _RANK[self] >= _RANK[demanded]


_RANK: Final = {level: rank for rank, level in enumerate(Evidence)}
