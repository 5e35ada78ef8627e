"""Keys to reconcile: each is held by one worker at a time, so each object has one writer.

Marking a key dirty is idempotent. A key that is marked while a worker holds it runs once more afterwards, at once
or, when the visit failed, after its delay: an event is never lost and never runs beside itself. What is to run
later waits in one heap.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

K = TypeVar("K")

FIRST_RETRY_SECONDS: Final = 1.0
LAST_RETRY_SECONDS: Final = 300.0


class Agenda(Generic[K]):
    """What is due when: one entry a key, the earliest first."""

    def __init__(self) -> None:
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = 0

    def set(self, key: K, due: float) -> None:
        """Plan ``key`` for ``due``, in the place of what was planned for it before."""
        self._due[key] = due
        self._order += 1
        heapq.heappush(self._heap, (due, self._order, key))

    def drop(self, key: K) -> None:
        """Forget what is planned for ``key``, if anything is."""
        self._due.pop(key, None)

    def next_due(self) -> float | None:
        """Return when the next key is due, or None when nothing is planned."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)  # an entry that was set anew or dropped
        return self._heap[0][0] if self._heap else None

    def take_due(self, now: float) -> list[K]:
        """Return the keys that are due at ``now`` and forget them."""
        out: list[K] = []
        while (due := self.next_due()) is not None and due <= now:
            key = heapq.heappop(self._heap)[2]
            del self._due[key]
            out.append(key)
        return out

    def __len__(self) -> int:
        return len(self._due)


def retry_seconds(failures: int) -> float:
    """Return how long to wait after the ``failures``-th failure in a row: doubling, from 1 to 300 seconds."""
    return min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(max(failures, 1) - 1, 30))


class WorkQueue(Generic[K]):
    """The dirty keys in order of arrival, the keys in hand, and the agenda of those that run later.

    ``clock`` returns monotonic seconds. All methods run on one event loop.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ready: deque[K] = deque()
        self._waiting: set[K] = set()
        self._busy: set[K] = set()
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        self._agenda: Agenda[K] = Agenda()
        self._wake = asyncio.Event()
        self._last_progress = clock()

    def add(self, key: K) -> None:
        """Mark ``key`` dirty."""
        if key in self._busy:
            self._again.add(key)
        elif key not in self._waiting:
            if not self._ready and not self._busy:
                self._last_progress = self._clock()  # idle until now: nothing was late
            self._waiting.add(key)
            self._ready.append(key)
            self._wake.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Mark ``key`` dirty in ``seconds``, unless something marks it earlier."""
        self._agenda.set(key, self._clock() + seconds)
        self._wake.set()

    async def take(self) -> K:
        """Wait for a dirty key and hold it until :meth:`finish` or :meth:`fail`."""
        while True:
            for key in self._agenda.take_due(self._clock()):
                self.add(key)
            if self._ready:
                key = self._ready.popleft()
                self._waiting.discard(key)
                self._busy.add(key)
                return key
            self._wake.clear()
            due = self._agenda.next_due()
            try:
                await asyncio.wait_for(
                    self._wake.wait(), None if due is None else max(0.0, due - self._clock())
                )
            except TimeoutError:
                continue

    def finish(self, key: K, after: float | None) -> None:
        """Let go of ``key``, which went well; it runs again in ``after`` seconds, or only when marked."""
        self._failures.pop(key, None)
        self._release(key)
        if after is None:
            self._agenda.drop(key)
        else:
            self.add_after(key, after)

    def fail(self, key: K) -> float:
        """Let go of ``key``, which failed; return after how many seconds it is tried again.

        A mark that came meanwhile waits, too: what the visit wrote before it failed comes back as a mark.
        """
        self._failures[key] = self._failures.get(key, 0) + 1
        delay = retry_seconds(self._failures[key])
        self._again.discard(key)
        self._release(key)
        self.add_after(key, delay)
        return delay

    def _release(self, key: K) -> None:
        self._busy.discard(key)
        self._last_progress = self._clock()
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    @property
    def depth(self) -> int:
        """How many keys wait for a worker."""
        return len(self._ready)

    @property
    def planned(self) -> int:
        """How many keys wait for their time."""
        return len(self._agenda)

    def stuck_seconds(self) -> float:
        """Return for how long no key was finished although there was one to work on; 0 when idle."""
        return self._clock() - self._last_progress if self._ready or self._busy else 0.0


async def work(
    queue: WorkQueue[K],
    reconcile: Callable[[K], Awaitable[float | None]],
    failed: Callable[[K, Exception], None],
) -> None:
    """Take keys for ever. ``reconcile`` returns after how many seconds a key is to run again, or None."""
    while True:
        key = await queue.take()
        try:
            after = await reconcile(key)
        except Exception as e:
            queue.fail(key)
            failed(key, e)
        except BaseException:
            queue.finish(key, None)
            raise
        else:
            queue.finish(key, after)
