"""What an inference server does to a deployment's directory, without a model: it reads want.json and answers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

from edgewright_node import slots


@dataclass(slots=True)
class ServerSimulator:
    """Serves what want.json says, if the slot is whole; ``bad`` digests fail as chosen."""

    where: slots.Deployment
    now: Callable[[], datetime]
    refuse_trial: set[str] = field(default_factory=set)
    refuse_active: set[str] = field(default_factory=set)
    served: list[str] = field(default_factory=list)
    """Every digest that was served, in order."""

    def turn(self) -> None:
        want = slots.read_want(self.where)
        if not isinstance(want, slots.Want) or want.state is slots.WantState.REMOVE:
            slots.remove_server_report(self.where, "sim")
            return
        report = slots.ServerReport(
            server_id="sim",
            pid=1,
            written_at=self.now(),
            served_name=want.served_name,
            active=self._active(want.active),
            trial=self._trial(want.trial),
        )
        with suppress(FileNotFoundError):  # removed meanwhile
            slots.write_server_report(self.where, report)

    def _active(self, ref: slots.SlotRef | None) -> slots.ActiveReport | None:
        if ref is None:
            return None
        assert slots.is_complete(self.where.slot(ref.slot)), "told to serve a slot that is not whole"
        digest = ref.manifest_digest
        if digest in self.refuse_active:
            return slots.ActiveReport(
                manifest_digest=digest, state=slots.ActiveState.FAILED, reason="Planted", message="planted"
            )
        if self.served[-1:] != [digest]:
            self.served.append(digest)
        return slots.ActiveReport(
            manifest_digest=digest,
            state=slots.ActiveState.SERVING,
            proven_by="golden",
            proven_at=self.now(),
        )

    def _trial(self, ref: slots.TrialRef | None) -> slots.TrialReport | None:
        if ref is None:
            return None
        assert slots.is_complete(self.where.slot(ref.slot)), "told to try a slot that is not whole"
        failed = ref.manifest_digest in self.refuse_trial
        return slots.TrialReport(
            attempt=ref.attempt,
            manifest_digest=ref.manifest_digest,
            state=slots.TrialState.FAILED if failed else slots.TrialState.PASSED,
            reason="GoldenSourceMismatch" if failed else None,
        )


@asynccontextmanager
async def answering(simulator: ServerSimulator) -> AsyncIterator[ServerSimulator]:
    """Answer every few milliseconds while the context lasts; what it asserts fails the test."""

    async def run() -> None:
        while True:
            simulator.turn()
            await asyncio.sleep(0.005)

    task = asyncio.create_task(run())
    try:
        yield simulator
    finally:
        ended = task.done()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert not ended
