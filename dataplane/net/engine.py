"""What every hop needs to move requests, made once per event loop and passed in: clock, timers, connections,
numbers."""

import asyncio
import random
from collections.abc import Callable

from dataplane.net.leaving import Leaving
from dataplane.net.pool import Pool, PoolSettings
from dataplane.net.tasks import Tasks
from dataplane.net.timers import Timers
from dataplane.policy.retry import RetryBudget
from dataplane.telemetry.metrics import Cell, Registry


class Engine:
    """One per loop. `random` is the process's generator: splits, pod choice and jitter draw from it."""

    __slots__ = ("clock", "leaving", "loop", "pool", "random", "registry", "retries", "retry_budget", "tasks", "timers")

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        registry: Registry,
        pool: PoolSettings | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.loop = loop
        self.clock: Callable[[], float] = loop.time
        self.registry = registry
        self.timers = Timers(loop)
        self.leaving = Leaving(loop)
        self.pool = Pool(loop=loop, timers=self.timers, settings=pool or PoolSettings(), registry=registry)
        self.random: Callable[[], float] = (rng or random.Random()).random
        self.retry_budget = RetryBudget()
        self.retries: Cell = registry.counter("dataplane_retries_total", "Requests sent to an upstream again.").cell()
        self.tasks = Tasks("engine")

    async def close(self) -> None:
        await self.tasks.close()
        await self.pool.close()
        self.leaving.close()
