"""The builds that run beside the reconcilers: one task each, started and asked about without waiting."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from edgewright_api.edgemodel import BuildProgress
from edgewright_api.errors import EdgewrightError, TransientError
from edgewright_api.modelrevision import ModelRevision, ModelRevisionSpec
from edgewright_api.reasons import Reason
from edgewright_operator.builder import Report
from edgewright_operator.planning.builds import BuildState, Published
from edgewright_operator.workqueue import retry_seconds

_LOG: Final = logging.getLogger(__name__)
_TELL_SECONDS: Final = 1.0
"""Progress is told at most this often: each time is a write to the API server."""

Changed = Callable[[str, str], None]
"""Told namespace and name of a revision whose build went on; marks its key dirty."""


class Builder(Protocol):
    """Builds one revision."""

    async def build(
        self, namespace: str, revision: str, spec: ModelRevisionSpec, report: Report
    ) -> Published:
        """Build and publish it, or raise an EdgewrightError."""
        ...


@dataclass(slots=True)
class _Build:
    uid: str
    state: BuildState
    failures: int = 0
    """Attempts in a row that failed and may yet succeed."""
    retry_at: float | None = None
    """When the next attempt is due, in monotonic seconds; None unless the last one failed so."""
    task: asyncio.Task[None] | None = None
    tell: asyncio.TimerHandle | None = None


@dataclass(slots=True)
class RunningBuilds:
    """Implements ``planning.builds.Builds``. All methods run on one event loop."""

    builder: Builder
    changed: Changed
    clock: Callable[[], float]
    """Returns monotonic seconds."""
    _builds: dict[tuple[str, str], _Build] = field(default_factory=dict)

    def ensure(self, revision: ModelRevision) -> BuildState:
        """Return where the build of ``revision`` is, having started it if it was not known."""
        meta = revision.metadata
        namespace = meta.namespace or ""
        found = self._builds.get((namespace, meta.name))
        if found is not None and found.uid != meta.uid:
            self.forget(namespace, meta.name)  # the name was deleted and made anew
            found = None
        if found is None:
            found = _Build(meta.uid, BuildState(BuildProgress()))
            self._builds[namespace, meta.name] = found
            self._start(found, namespace, revision)
        if found.retry_at is None:
            return found.state
        left = found.retry_at - self.clock()
        if left > 0:
            return replace(found.state, retry_after=left)
        self._start(found, namespace, revision)
        return found.state

    def _start(self, build: _Build, namespace: str, revision: ModelRevision) -> None:
        build.state, build.retry_at = BuildState(BuildProgress()), None
        build.task = asyncio.create_task(self._run(build, namespace, revision))

    def forget(self, namespace: str, name: str) -> None:
        """Drop what is known of a build: stop it if it runs, so that ``ensure`` starts anew."""
        found = self._builds.pop((namespace, name), None)
        if found is not None:
            if found.task is not None:
                found.task.cancel()
            if found.tell is not None:
                found.tell.cancel()

    async def close(self) -> None:
        """Stop every build and wait until their processes are gone."""
        tasks = [build.task for build in self._builds.values() if build.task is not None]
        for namespace, name in list(self._builds):
            self.forget(namespace, name)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, build: _Build, namespace: str, revision: ModelRevision) -> None:
        name = revision.metadata.name

        def report(progress: BuildProgress) -> None:
            build.state = BuildState(progress)
            if build.tell is None:
                loop = asyncio.get_running_loop()
                build.tell = loop.call_later(_TELL_SECONDS, self._tell, build, namespace, name)

        published: Published | None = None
        failure: EdgewrightError | None = None
        try:
            published = await self.builder.build(namespace, name, revision.spec, report)
        except EdgewrightError as error:
            failure = error
        except Exception as error:  # a bug of ours must not end in silence
            failure = TransientError(
                Reason.BUILDER_FAILED,
                f"the build ended with {type(error).__name__}: {error}",
                remedy="This is a bug; please report it. It is tried again",
            )
        if isinstance(failure, TransientError):
            build.failures += 1
            delay = retry_seconds(build.failures)
            build.retry_at = self.clock() + delay
            _LOG.warning("the build of %s/%s is tried again in %g s: %s", namespace, name, delay, failure)
        build.state = BuildState(build.state.progress, published, failure)
        self._tell(build, namespace, name)

    def _tell(self, build: _Build, namespace: str, name: str) -> None:
        if build.tell is not None:
            build.tell.cancel()
            build.tell = None
        self.changed(namespace, name)
