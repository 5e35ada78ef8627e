"""The verdict of a target from the judgements of its candidates."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgewright_api.edgemodel import Objective
from edgewright_api.gates import Ask, Judgement, Measured, choose, judge, nearest
from edgewright_api.reasons import Reason
from edgewright_api.verdicts import TargetResult, Verdict


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided for one target: the chosen candidate, and the result that status shows."""

    chosen: str | None
    result: TargetResult


def decide_target(
    name: str,
    measured: Sequence[Measured],
    ask: Ask,
    objectives: Sequence[Objective],
    *,
    required: bool,
) -> Decision:
    """Return the verdict of a target: the candidate that the objectives prefer, or why there is none.

    The result carries no manifest digest yet: the publisher adds it when the artifact is packed.
    """
    judgements = tuple(judge(m, ask) for m in measured)
    chosen = choose(judgements, objectives)
    shown = chosen or nearest(judgements)
    if shown is None:
        return Decision(
            None,
            TargetResult(
                name=name,
                required=required,
                verdict=Verdict.FAILED,
                reason=Reason.NO_CANDIDATE.value,
                message="the recipe gives no candidate for this target",
            ),
        )
    result = TargetResult(
        name=name,
        required=required,
        verdict=Verdict.ACCEPTED if chosen else shown.verdict,
        reason=shown.reason.value,
        message=_message(shown, judgements, accepted=chosen is not None)[:2048],
        candidate=shown.name,
        size_bytes=shown.size_bytes,
        accuracy=shown.accuracy,
        latency=shown.latency,
        candidates=tuple(j.note() for j in judgements),
    )
    return Decision(chosen.name if chosen else None, result)


def _message(shown: Judgement, judgements: Sequence[Judgement], *, accepted: bool) -> str:
    if not accepted:
        return f"nearest candidate {shown.name}: {shown.message}"
    others = "; ".join(f"{j.name} not chosen: {j.reason.value}" for j in judgements if not j.accepted)
    return f"{shown.name}: {shown.message}" + (f" ({others})" if others else "")
