"""`pods/NAME/log`: what a container wrote, and what it writes from now on.

Path: kubectl logs → [logs] → LogReader (the kubelet's log files) → chunked text.

The client's speed is the reader's speed: nothing is read before what was read is written.

Source: Kubernetes core/v1 PodLogOptions.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Protocol

from aiohttp import web

from controlplane.api import status
from controlplane.api.target import Target
from controlplane.store.contract import Store
from dataplane.clock import Clock, parse_rfc3339
from dataplane.resources import core

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


class LogReader(Protocol):
    """Where the logs are. Implemented by whoever runs the pods, as an async generator."""

    def read(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        follow: bool,
        tail_lines: int | None,
        since_s: float | None,
        previous: bool,
        timestamps: bool,
    ) -> AsyncGenerator[bytes, None]:
        """Pieces of the log, oldest first. With `follow`, until the container has ended.

        Raises LookupError, its message for the user, when there is no such log.
        """
        ...


class Logs:
    """Follows of the app; `close` ends them, so that the server can stop."""

    def __init__(self, *, store: Store, reader: LogReader, clock: Clock) -> None:
        self._store = store
        self._reader = reader
        self._clock = clock
        self._following: set[asyncio.Task[object]] = set()

    def close(self) -> None:
        for task in self._following:
            task.cancel()

    async def serve(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Raises ApiError 400, 404."""
        query = request.query
        pod = self._store.get(target.key())
        if not isinstance(pod, core.Pod):
            raise status.not_found(target.kind, target.name)
        limit = _number(query.get("limitBytes"), "limitBytes")
        pieces = self._reader.read(
            target.namespace,
            target.name,
            _container(pod, query.get("container", "")),
            follow=_true(query.get("follow")),
            tail_lines=_number(query.get("tailLines"), "tailLines"),
            since_s=self._since(query.get("sinceSeconds"), query.get("sinceTime")),
            previous=_true(query.get("previous")),
            timestamps=_true(query.get("timestamps")),
        )
        task = asyncio.current_task()
        assert task is not None
        self._following.add(task)
        response = web.StreamResponse(
            headers={"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-cache"}
        )
        try:
            async with contextlib.aclosing(pieces):
                async for piece in pieces:
                    if not response.prepared:  # only now: until something was read, an error can still be an answer
                        await response.prepare(request)
                    await response.write(piece if limit is None else piece[:limit])
                    if limit is not None:
                        limit -= len(piece)
                        if limit <= 0:
                            break
        except LookupError as error:
            if response.prepared:  # rotated away while it was read: what was there has been sent
                return response
            raise status.bad_request(str(error)) from error
        finally:
            self._following.discard(task)
        if not response.prepared:
            await response.prepare(request)
        await response.write_eof()
        return response

    def _since(self, seconds: str | None, time: str | None) -> float | None:
        if time:
            try:
                return max(0.0, self._clock.wall() - parse_rfc3339(time))
            except ValueError as error:
                raise status.bad_request(f"sinceTime: {error}") from error
        return _number(seconds, "sinceSeconds")


def _container(pod: core.Pod, asked: str) -> str:
    names = [one.name for one in (*pod.spec.init_containers, *pod.spec.containers)]
    statuses = (*pod.status.init_container_statuses, *pod.status.container_statuses)
    names += [one.name for one in statuses if one.name not in names]  # a sidecar that the kubelet added
    if asked:
        if asked not in names:
            raise status.bad_request(f"container {asked} is not valid for pod {pod.metadata.name}")
        return asked
    wanted = pod.metadata.annotations.get(DEFAULT_CONTAINER, "")
    if wanted in names:
        return wanted
    if len(pod.spec.containers) == 1:
        return pod.spec.containers[0].name
    raise status.bad_request(
        f"a container name must be specified for pod {pod.metadata.name}, choose one of: [{' '.join(names)}]"
    )


def _true(text: str | None) -> bool:
    return text in ("true", "1")


def _number(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 18:
        raise status.bad_request(f"{name} is a number")
    return int(text)
