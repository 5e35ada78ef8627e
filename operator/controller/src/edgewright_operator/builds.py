"""The builds that run beside the reconcilers: one task each, started and asked about without waiting."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from edgewright_api.edgemodel import BuildProgress
from edgewright_api.errors import EdgewrightError, TransientError
from edgewright_api.modelrevision import ModelRevision
from edgewright_api.reasons import Reason
from edgewright_operator.builder import Builder
from edgewright_operator.planning.builds import BuildState, Published

_TELL_SECONDS: Final = 1.0
"""Progress is told at most this often: each time is a write to the API server."""

Changed = Callable[[str, str], None]
"""Told namespace and name of a revision whose build went on; marks its key dirty."""


@dataclass(slots=True)
class _Build:
    uid: str
    state: BuildState
    task: asyncio.Task[None] | None = None
    tell: asyncio.TimerHandle | None = None


@dataclass(slots=True)
class RunningBuilds:
    """Implements ``planning.builds.Builds``. All methods run on one event loop."""

    builder: Builder
    changed: Changed
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
            found.task = asyncio.create_task(self._run(found, namespace, revision))
        return found.state

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
        build.state = BuildState(build.state.progress, published, failure)
        self._tell(build, namespace, name)

    def _tell(self, build: _Build, namespace: str, name: str) -> None:
        if build.tell is not None:
            build.tell.cancel()
            build.tell = None
        self.changed(namespace, name)
