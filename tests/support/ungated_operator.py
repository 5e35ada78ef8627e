"""The operator with its gate taken out: whatever was built is published. Run as a script, it is that operator.

It shows that a node does not rely on the gate. The product itself has no such switch.
"""

import sys
from collections.abc import Sequence

from edgewright_api.decide import Decision, decide_target
from edgewright_api.edgemodel import Objective
from edgewright_api.gates import Ask, Measured
from edgewright_api.reasons import Reason
from edgewright_api.verdicts import Verdict
from edgewright_operator.__main__ import main


def accept_all(
    name: str, measured: Sequence[Measured], ask: Ask, objectives: Sequence[Objective], *, required: bool
) -> Decision:
    """Return that the first candidate is accepted, with the honest figures of the refused one."""
    honest = decide_target(name, measured, ask, objectives, required=required)
    update = {"verdict": Verdict.ACCEPTED, "reason": Reason.ACCEPTED.value}
    return Decision(measured[0].name, honest.result.model_copy(update=update))


if __name__ == "__main__":
    sys.exit(main(accept_all))
