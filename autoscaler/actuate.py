"""Decisions to a control plane in another process, under a lease.

Path: decide → [actuate] → HTTP → controlplane/hops.py (ScaleDesk).

Level-triggered: `put` replaces what waits for a revision, and what could not be delivered is delivered later, the
newest only. The control plane accepts writes of the newest lease and answers 409 to others. Then either it was
restarted (we take a new lease and say everything again), or another autoscaler took over: so each lease that is lost
young doubles the time before we ask for the next, and two autoscalers do not fight.

Source: reliability.md AS-06, AS-07.
"""

import asyncio
import logging
import random
from collections.abc import Container
from typing import TYPE_CHECKING

import msgspec

from dataplane.net.tasks import Tasks
from dataplane.resources.scaling import Decision, ScaleWrite
from dataplane.telemetry.logs import Redacted
from dataplane.telemetry.metrics import Registry

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger(__name__)

LEASE_PATH = "/dataplane/v1/scale/lease"
SCALE_PATH = "/dataplane/v1/scale"
DECISIONS_PER_WRITE_MAX = 500
LEASE_YOUNG_S = 60.0  # a lease lost before that age was taken by somebody who wants it too
_CALL_S = 3.0
_ANSWER_BYTES_MAX = 64 * 1024
_BACKOFF_FIRST_S, _BACKOFF_FACTOR, _BACKOFF_MAX_S = 0.1, 2.0, 5.0
_STAND_DOWN_FIRST_S, _STAND_DOWN_FACTOR, _STAND_DOWN_MAX_S = 1.0, 2.0, 600.0


class _Lease(msgspec.Struct, frozen=True):
    token: int


class _Stale(Exception):
    """409: somebody holds a newer lease."""


class _Refused(Exception):
    """Any other answer than 200."""


class RemoteScale:
    """`base_url` is the control plane's API. `put` is an `Actuate`: it never blocks and never fails."""

    def __init__(
        self, *, base_url: str, token: Redacted, tasks: Tasks, loop: asyncio.AbstractEventLoop, registry: Registry
    ) -> None:
        self._base = base_url.rstrip("/")
        self._token = token
        self._tasks = tasks
        self._loop = loop
        self._leading = registry.gauge(
            "dataplane_autoscaler_leading", "1 while this autoscaler holds the lease."
        ).cell()
        self._errors = registry.counter(
            "dataplane_autoscaler_scale_errors_total", "Calls to the control plane that failed, by reason.", ("reason",)
        )
        self._newest: dict[str, Decision] = {}
        self._waiting: dict[str, Decision] = {}
        self._lease: int | None = None
        self._leased_at = 0.0
        self._stand_down_s = _STAND_DOWN_FIRST_S
        self._random = random.Random()
        self._wake = asyncio.Event()

    @property
    def leading(self) -> bool:
        return self._lease is not None

    def start(self) -> None:
        self._tasks.spawn(self._run(), "scale")

    def put(self, decisions: tuple[Decision, ...]) -> None:
        """Deliver these, soon. Bounded by the number of revisions: the newest of each replaces the one before."""
        for decision in decisions:
            self._newest[decision.revision] = self._waiting[decision.revision] = decision
        self._wake.set()

    def keep(self, revisions: Container[str]) -> None:
        """Forget decisions about others: they were deleted."""
        for gone in [revision for revision in self._newest if revision not in revisions]:
            del self._newest[gone]
            self._waiting.pop(gone, None)

    async def _run(self) -> None:
        import aiohttp

        delay_s = _BACKOFF_FIRST_S
        headers = {"Authorization": f"Bearer {self._token.reveal()}"} if self._token else {}
        async with aiohttp.ClientSession(headers=headers) as session:
            while True:
                await self._wake.wait()
                self._wake.clear()
                try:
                    await self._deliver(session)
                except _Stale as error:
                    await self._stand_down(error)
                except (aiohttp.ClientError, OSError, TimeoutError, _Refused, msgspec.MsgspecError) as error:
                    reason = "refused" if isinstance(error, _Refused) else "unreachable"
                    self._errors.cell(reason).v += 1
                    if delay_s == _BACKOFF_FIRST_S:
                        log.warning("scale_not_delivered url=%s error=%s", self._base, error or type(error).__name__)
                    self._wake.set()
                    await asyncio.sleep(delay_s * self._random.uniform(0.5, 1.0))
                    delay_s = min(delay_s * _BACKOFF_FACTOR, _BACKOFF_MAX_S)
                else:
                    delay_s = _BACKOFF_FIRST_S

    async def _deliver(self, session: "aiohttp.ClientSession") -> None:
        """Everything that waits. Raises when the control plane cannot be reached or refuses."""
        while self._waiting:
            if self._lease is None:
                await self._take_lease(session)
            assert self._lease is not None
            batch = dict(list(self._waiting.items())[:DECISIONS_PER_WRITE_MAX])
            write = ScaleWrite(token=self._lease, decisions=tuple(batch.values()))
            await self._post(session, SCALE_PATH, msgspec.json.encode(write))
            for revision, decision in batch.items():
                if self._waiting.get(revision) is decision:
                    del self._waiting[revision]
            if self._loop.time() - self._leased_at > LEASE_YOUNG_S:
                self._stand_down_s = _STAND_DOWN_FIRST_S

    async def _take_lease(self, session: "aiohttp.ClientSession") -> None:
        answer = await self._post(session, LEASE_PATH, b"")
        self._lease = msgspec.json.decode(answer, type=_Lease).token
        self._leased_at = self._loop.time()
        self._leading.v = 1
        self._waiting = {**self._newest, **self._waiting}  # whoever decided before us may have said otherwise
        log.info("lease_taken token=%d", self._lease)

    async def _stand_down(self, error: _Stale) -> None:
        self._errors.cell("stale").v += 1
        self._leading.v = 0
        self._lease = None
        wait_s = self._stand_down_s * self._random.uniform(0.5, 1.0)
        self._stand_down_s = min(self._stand_down_s * _STAND_DOWN_FACTOR, _STAND_DOWN_MAX_S)
        log.warning("lease_lost wait_s=%.1f error=%s", wait_s, error)
        await asyncio.sleep(wait_s)
        self._wake.set()

    async def _post(self, session: "aiohttp.ClientSession", path: str, body: bytes) -> bytes:
        async with asyncio.timeout_at(self._loop.time() + _CALL_S):
            async with session.post(
                f"{self._base}{path}", data=body, headers={"Content-Type": "application/json"}
            ) as answer:
                text = b""
                async for piece in answer.content.iter_any():
                    text += piece
                    if len(text) > _ANSWER_BYTES_MAX:
                        raise _Refused(f"{answer.status} with more than {_ANSWER_BYTES_MAX} bytes")
                if answer.status == 409:
                    raise _Stale(text.decode("utf-8", "replace")[:200])
                if answer.status != 200:
                    raise _Refused(f"{answer.status} {text.decode('utf-8', 'replace')[:200]}")
                return text
