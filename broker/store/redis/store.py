"""Redis as an event store: one connection for what is written, one per broker for what is new, a pulse.

Path: launch → [store] → log.py, link.py.

Source: spec/eventing.md §27; reliability.md BR-18, BR-19.
"""

import asyncio
import logging
from collections.abc import Coroutine

from broker.store.contract import LogSettings
from broker.store.redis.faults import RELAXED, Server
from broker.store.redis.keys import Keys
from broker.store.redis.link import Link
from broker.store.redis.log import RedisLog
from broker.store.redis.meters import Meters
from broker.store.redis.workers import our_name
from dataplane.clock import Clock
from dataplane.errors import StoreFault, StoreUnavailable
from dataplane.net.tasks import Tasks
from dataplane.telemetry.metrics import Registry

log = logging.getLogger(__name__)

PULSE_S = 1.0
SHARDS_MAX = 64
FIRST_CONNECT_S = 5.0


class RedisStore:
    """lease_s: after how long what a process holds may be taken from it. stalled_s: no answer for so long means away.

    replicas: how many must confirm an append within `replicas_timeout_s` (WAIT); 0 = the server alone.
    """

    def __init__(
        self,
        *,
        url: str,
        clock: Clock,
        registry: Registry,
        lease_s: float = 30.0,
        stalled_s: float = 10.0,
        replicas: int = 0,
        replicas_timeout_s: float = 1.0,
    ) -> None:
        self.url = url
        self.clock = clock
        self.lease_s = lease_s
        self.stalled_s = stalled_s
        self.worker = our_name()
        self.meters = Meters(registry)
        self.tasks = Tasks("redis")
        self.durability = RELAXED
        self.link = Link(
            url=url,
            tasks=self.tasks,
            stalled_s=stalled_s,
            replicas=replicas,
            replicas_timeout_s=replicas_timeout_s,
            on_up=self._came_up,
            on_down=self._went_down,
        )
        self._logs: dict[str, RedisLog] = {}
        self._once: dict[str, asyncio.Task[None]] = {}
        self._run_id = ""

    async def start(self) -> None:
        self.link.start()
        try:
            async with asyncio.timeout(FIRST_CONNECT_S):
                await self.link.first.wait()
        except TimeoutError:
            pass
        self.tasks.spawn(self._pulses(), "pulse")

    async def open(self, broker: str, settings: LogSettings) -> RedisLog:
        found = self._logs.get(broker)
        if found is not None:
            found.settings = settings
            return found
        wanted = settings.config.get("redis.shards", "1")
        if not wanted.isdecimal() or not 1 <= int(wanted) <= SHARDS_MAX:
            raise StoreFault(f"redis.shards is {wanted!r}: a number from 1 to {SHARDS_MAX} is needed")
        meta = Keys(broker).meta
        await self.link.call("HSETNX", meta, "shards", wanted)
        reply = await self.link.call("HGET", meta, "shards")
        if int(reply) != int(wanted):
            log.warning("redis_shards_differ broker=%s has=%d wanted=%s", broker, int(reply), wanted)
        made = self._logs[broker] = RedisLog(self, broker, settings, int(reply))
        made.pulse.beat()
        return made

    async def delete(self, broker: str, settings: LogSettings | None = None) -> None:
        found = self._logs.pop(broker, None)
        if found is not None:
            await found.close()
        pattern, cursor = Keys(broker).everything, b"0"
        while True:
            reply = await self.link.call("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
            cursor, keys = reply
            if keys:
                await self.link.call("UNLINK", *keys)
            if cursor == b"0":
                return

    def not_ready(self) -> str:
        return self.link.reason

    async def close(self) -> None:
        if self.link.up:
            for found in self._logs.values():
                await found.close()
            await self.link.flush(asyncio.get_running_loop().time() + 5.0)
        await self.tasks.close()

    def once(self, name: str, work: Coroutine[object, object, None]) -> None:
        """Run it unless it still runs."""
        running = self._once.get(name)
        if running is not None and not running.done():
            work.close()
            return
        self._once[name] = self.tasks.spawn(_quietly(work), name)

    # ---- link → us ----

    def _came_up(self, server: Server) -> None:
        self.meters.up.v = 1
        self.meters.connects.v += 1
        self.durability = server.durability
        log.info("redis_up version=%s durability=%s", server.version, server.durability)
        for warning in server.warnings:
            log.warning("redis_setting: %s", warning)
        if self._run_id and server.run_id != self._run_id:
            log.warning("redis_is_another_process had=%s has=%s", self._run_id, server.run_id)
        self._run_id = server.run_id
        for found in self._logs.values():
            found.came_up()

    def _went_down(self, reason: str) -> None:
        self.meters.up.v = 0
        log.warning("redis_down error=%s", reason)

    async def _pulses(self) -> None:
        while True:
            await asyncio.sleep(min(PULSE_S, self.lease_s / 4))
            if self.link.up:
                for found in self._logs.values():
                    found.pulse.beat()


async def _quietly(work: Coroutine[object, object, None]) -> None:
    """Redis may go away at any moment; whoever comes next tries again."""
    try:
        await work
    except StoreUnavailable:
        pass
    except StoreFault as fault:
        log.warning("redis_work_failed error=%s", fault)
