"""Pod status and removal → store, one commit for all that changed meanwhile.

Path: pod.py → [writer] → store → watchers.

The newest status wins: a pod that changes five times while a commit is under way is written once more. A pod that
somebody else wrote in between is read again.
"""

import asyncio
import logging
from collections.abc import Callable

from msgspec.structs import replace

from controlplane.store.contract import Conflict, Delete, Key, Put, Store, StoreFailed, Write
from dataplane.net.tasks import Tasks
from dataplane.resources.core import Pod

log = logging.getLogger(__name__)

RETRY_S = 0.5
Make = Callable[[Pod], Pod | None]  # present object → what it should be; None = it should not be


class Writer:
    """`make` is called when the write happens, with the object as it is then."""

    def __init__(self, *, store: Store, tasks: Tasks) -> None:
        self._store = store
        self._tasks = tasks
        self._pending: dict[Key, Make] = {}
        self._writing = False

    def write(self, key: Key, make: Make) -> None:
        self._pending[key] = make
        if not self._writing:
            self._writing = True
            self._tasks.spawn(self._run(), "status")

    async def _run(self) -> None:
        try:
            while self._pending:
                pending, self._pending = self._pending, {}
                if await self._commit(pending):
                    continue
                for key, make in pending.items():  # one is stale: the others need not wait for it
                    if key not in self._pending and not await self._commit({key: make}):
                        self._pending.setdefault(key, make)
        finally:
            self._writing = False

    async def _commit(self, pending: dict[Key, Make]) -> bool:
        """False when an object changed meanwhile."""
        writes: list[Write] = []
        for key, make in pending.items():
            present = self._store.get(key)
            if not isinstance(present, Pod):
                continue
            wanted = make(present)
            if wanted is None:
                writes.append(Delete(key))
            elif wanted != present:
                writes.append(Put(key, wanted, present.metadata.resource_version))
        try:
            if writes:
                await self._store.commit(writes)
        except Conflict:
            return False
        except StoreFailed as error:
            log.error("pod_status_not_written error=%s", error)
            await asyncio.sleep(RETRY_S)
            return False
        return True


def with_annotation(pod: Pod, name: str, value: str) -> Pod:
    if pod.metadata.annotations.get(name) == value:
        return pod
    return replace(pod, metadata=replace(pod.metadata, annotations={**pod.metadata.annotations, name: value}))
