"""Keys are held by one worker at a time, run again when marked meanwhile, and wait longer after each failure."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright_operator.workqueue import Agenda, WorkQueue, retry_seconds, work


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def take_now(queue: WorkQueue[str]) -> str | None:
    try:
        return await asyncio.wait_for(queue.take(), 0.01)
    except TimeoutError:
        return None


async def test_a_key_marked_twice_is_taken_once() -> None:
    queue: WorkQueue[str] = WorkQueue(Clock())
    queue.add("a")
    queue.add("b")
    queue.add("a")
    assert [await take_now(queue) for _ in range(3)] == ["a", "b", None]


async def test_a_key_in_hand_is_not_taken_again_before_it_is_finished() -> None:
    queue: WorkQueue[str] = WorkQueue(Clock())
    queue.add("a")
    assert await take_now(queue) == "a"
    queue.add("a")
    assert await take_now(queue) is None
    queue.finish("a", None)
    assert await take_now(queue) == "a"


async def test_what_is_planned_is_taken_when_it_is_due() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add("a")
    await queue.take()
    queue.finish("a", 10.0)
    assert await take_now(queue) is None
    assert queue.planned == 1
    clock.now = 10.0
    assert await take_now(queue) == "a"


async def test_a_visit_that_plans_nothing_cancels_what_was_planned() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add_after("a", 10.0)
    queue.add("a")
    await queue.take()
    queue.finish("a", None)
    clock.now = 11.0
    assert await take_now(queue) is None


async def test_failures_wait_longer_until_one_visit_goes_well() -> None:
    queue: WorkQueue[str] = WorkQueue(Clock())
    delays = []
    for _ in range(3):
        queue.add("a")
        await queue.take()
        delays.append(queue.fail("a"))
    queue.add("a")
    await queue.take()
    queue.finish("a", None)
    queue.add("a")
    await queue.take()
    delays.append(queue.fail("a"))
    assert delays == [1.0, 2.0, 4.0, 1.0]


async def test_a_mark_during_a_visit_that_fails_waits_with_it() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock)
    queue.add("a")
    await queue.take()
    queue.add("a")
    clock.now = queue.fail("a") - 0.1
    assert await take_now(queue) is None
    clock.now += 0.1
    assert await take_now(queue) == "a"
    queue.finish("a", None)
    assert await take_now(queue) is None


async def test_only_work_that_is_left_lying_counts_as_stuck() -> None:
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock)
    clock.now = 1000.0
    assert queue.stuck_seconds() == 0
    queue.add("a")
    assert queue.stuck_seconds() == 0
    await queue.take()
    clock.now = 1400.0
    assert queue.stuck_seconds() == 400
    queue.finish("a", None)
    assert queue.stuck_seconds() == 0


@pytest.mark.parametrize("workers", [1, 4])
async def test_workers_never_hold_the_same_key(workers: int) -> None:
    loop = asyncio.get_running_loop()
    queue: WorkQueue[int] = WorkQueue(loop.time)
    held: set[int] = set()
    visits: dict[int, int] = {}

    async def reconcile(key: int) -> None:
        assert key not in held
        held.add(key)
        visits[key] = visits.get(key, 0) + 1
        if visits[key] < 3:
            queue.add(key)
        await asyncio.sleep(0)
        held.discard(key)

    await run_workers(queue, reconcile, workers, lambda: sum(visits.values()) == 30, keys=range(10))
    assert visits == dict.fromkeys(range(10), 3)


async def test_a_failing_key_holds_up_no_other() -> None:
    queue: WorkQueue[int] = WorkQueue(asyncio.get_running_loop().time)
    done: list[int] = []
    failed: list[int] = []

    async def reconcile(key: int) -> None:
        if key == 0:
            raise ValueError("no")
        done.append(key)

    tasks = [asyncio.create_task(work(queue, reconcile, lambda key, _: failed.append(key)))]
    for key in range(3):
        queue.add(key)
    while len(done) < 2:
        await asyncio.sleep(0)
    tasks[0].cancel()
    assert (done, failed, queue.planned) == ([1, 2], [0], 1)


async def run_workers(
    queue: WorkQueue[int],
    reconcile: Callable[[int], Awaitable[None]],
    workers: int,
    done: Callable[[], bool],
    keys: range,
) -> None:
    def broken(key: int, error: Exception) -> None:
        raise error

    tasks = [asyncio.create_task(work(queue, reconcile, broken)) for _ in range(workers)]
    for key in keys:
        queue.add(key)
    async with asyncio.timeout(1):
        while not done():
            await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9) | st.none())), st.integers(0, 9))
def test_the_agenda_keeps_the_last_time_of_each_key(steps: list[tuple[str, int | None]], now: int) -> None:
    agenda: Agenda[str] = Agenda()
    expected: dict[str, int] = {}
    for key, due in steps:
        if due is None:
            agenda.drop(key)
            expected.pop(key, None)
        else:
            agenda.set(key, due)
            expected[key] = due
    assert agenda.next_due() == min(expected.values(), default=None)
    taken = agenda.take_due(now)
    assert sorted(taken) == sorted(key for key, due in expected.items() if due <= now)
    assert [expected[key] for key in taken] == sorted(expected[key] for key in taken)
    assert len(agenda) == len(expected) - len(taken)


def test_retries_double_up_to_five_minutes() -> None:
    assert [retry_seconds(n) for n in (1, 2, 5, 9, 10, 1000)] == [1, 2, 16, 256, 300, 300]
