"""Keeps processes alive, as systemd or a kubelet would, and does what must be done now and then."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from edgewright_lab.errors import LabError
from edgewright_lab.processes import Process
from edgewright_lab.progress import Report

_TICK_SECONDS = 0.2
_FIRST_DELAY_SECONDS = 0.5
_LAST_DELAY_SECONDS = 10.0
_HEALTHY_SECONDS = 10.0


def restart_delay(restarts: int) -> float:
    """Return how many seconds to wait before the next start after ``restarts`` quick deaths in a row."""
    return min(_FIRST_DELAY_SECONDS * 2.0 ** min(restarts, 10), _LAST_DELAY_SECONDS)


class Kept:
    """A process that is started again when it dies, unless it is held down."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.restarts = 0
        """How often it was started again."""
        self._lock = threading.RLock()
        self._held = False
        self._quick_deaths = 0
        self._started = time.monotonic()
        self._due: float | None = None

    @property
    def pid(self) -> int:
        """Of the newest start."""
        return self.process.pid

    def kill(self) -> None:
        """SIGKILL it; it comes back within about a second."""
        with self._lock:
            self.process.kill()

    def hold(self, *, kill: bool = False) -> None:
        """Stop it (``kill``: by SIGKILL) and keep it down until ``release``."""
        with self._lock:
            self._held = True
            if kill:
                self.process.kill()
            else:
                self.process.stop()

    def release(self) -> None:
        """Start it again after ``hold``."""
        with self._lock:
            self._held = False
            self._start()

    def restart(self) -> None:
        """Stop it gracefully and start it at once."""
        self.hold()
        self.release()

    def tend(self, report: Report) -> None:
        """Start it again when it has died and its delay is over."""
        with self._lock:
            status = None if self._held else self.process.returncode()
            if status is None:
                return
            now = time.monotonic()
            if self._due is None:
                quick = now - self._started < _HEALTHY_SECONDS
                self._quick_deaths = self._quick_deaths + 1 if quick else 0
                self._due = now + restart_delay(self._quick_deaths)
                report(f"{self.process.name} ended with status {status}; its log: {self.process.log}")
            if now >= self._due:
                self._start()

    def _start(self) -> None:
        self.process.restart()
        self.restarts += 1
        self._started, self._due = time.monotonic(), None


@dataclass(slots=True)
class _Chore:
    run: Callable[[], None]
    every_seconds: float
    due: float


class Keeper:
    """One thread that tends all kept processes of a lab and runs its chores."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._kept: list[Kept] = []
        self._chores: list[_Chore] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edgewright-lab-keeper", daemon=True)

    def start(self) -> None:
        """Begin; processes and chores may be added before and after."""
        self._thread.start()

    def stop(self) -> None:
        """Tend nothing any more; the processes run on."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def keep(self, process: Process) -> Kept:
        """Tend ``process``, which runs."""
        kept = Kept(process)
        self._kept.append(kept)
        return kept

    def every(self, seconds: float, run: Callable[[], None]) -> None:
        """Call ``run`` every so many seconds, the first time after as many."""
        self._chores.append(_Chore(run, seconds, time.monotonic() + seconds))

    def _run(self) -> None:
        while not self._end.wait(_TICK_SECONDS):
            try:
                for kept in tuple(self._kept):
                    kept.tend(self._report)
                self._do_chores()
            except LabError as e:
                # The control plane may be down on purpose; what failed is due again at the next tick.
                self._report(str(e))

    def _do_chores(self) -> None:
        for chore in self._chores:
            now = time.monotonic()
            if now >= chore.due:
                # After a failure soon again, but not at every tick.
                chore.due = now + min(chore.every_seconds, 5.0)
                chore.run()
                chore.due = now + chore.every_seconds
