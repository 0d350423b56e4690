"""The connection that writes: everything that waits goes out in one round, and the next round waits for its answers.

Path: log.py, cursor.py, letters.py → [link] → Redis.

Group commit over all producers and triggers of the process: while one round is on its way, what arrives becomes the
next. Under load rounds grow by themselves; alone, an event waits for nobody. With `appendfsync always` a round costs
Redis one fsync. What was settled does not wait for the answers: a few milliseconds later it is on its way, so that less
of it comes again when this process dies.

A lost connection answers every Operation that was out with StoreUnavailable: nobody knows whether it happened. What may
safely happen twice (`repeat`) is sent again first of all. While the connection is away appends fail at once.

Bound: `WAITING_BYTES_MAX` of operations that are not repeated; those that are belong to deliveries in flight.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Mapping
from itertools import islice

from redis.exceptions import RedisError

from broker.store.redis.connect import Argument, Connection, Reply, connect, meaning, pack
from broker.store.redis.faults import CUT, Server, judge
from broker.store.redis.scripts import ALL, Script
from dataplane.errors import StoreFault, StoreUnavailable
from dataplane.net.tasks import Tasks

log = logging.getLogger(__name__)

ROUND_OPERATIONS_MAX = 1000
ROUND_BYTES_MAX = 4 * 1024 * 1024
WAITING_BYTES_MAX = 64 * 1024 * 1024
SOON_S = 0.002  # longer batches are larger, and more comes twice after a death
BACKOFF_S = (0.05, 1.0)  # first and longest wait between two attempts to connect

Then = Callable[[Reply, StoreFault | None], None]


class Operation:
    """One command, or one transaction, packed. `then` gets the last reply, or why there is none; it must not raise."""

    __slots__ = ("appends", "packed", "repeat", "replies", "then")

    def __init__(self, packed: bytes, then: Then, *, replies: int = 1, repeat: bool = False, appends: bool = False):
        self.packed = packed
        self.then = then
        self.replies = replies
        self.repeat = repeat
        self.appends = appends


class Link:
    """`on_up` is called after each connect, `on_down` when it is lost, both on the loop."""

    def __init__(
        self,
        *,
        url: str,
        tasks: Tasks,
        stalled_s: float,
        replicas: int,
        replicas_timeout_s: float,
        on_up: Callable[[Server], None],
        on_down: Callable[[str], None],
    ) -> None:
        self._url = url
        self._tasks = tasks
        self._stalled_s = stalled_s
        self._wait = pack("WAIT", replicas, int(replicas_timeout_s * 1000)) if replicas else b""
        self._replicas = replicas
        self._on_up, self._on_down = on_up, on_down
        self._waiting: deque[Operation] = deque()
        self._waiting_bytes = 0
        self._out: deque[Operation] = deque()
        self._late: list[Callable[[], None]] = []
        self._soon: list[Callable[[], None]] = []
        self._soon_timer: asyncio.TimerHandle | None = None
        self._connection: Connection | None = None
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._random = random.Random()
        self.server = Server()
        self.up = False
        self.reason = "Redis: not connected yet"
        self.first = asyncio.Event()  # the first attempt has ended, one way or the other

    def start(self) -> None:
        self._tasks.spawn(self._run(), "link")

    def send(self, *command: Argument, then: Then, repeat: bool = False) -> None:
        self.put(Operation(pack(*command), then, repeat=repeat))

    def run(
        self, script: Script, keys: tuple[str, ...], *arguments: Argument, then: Then, repeat: bool = False
    ) -> None:
        self.put(Operation(pack("EVALSHA", script.sha, len(keys), *keys, *arguments), then, repeat=repeat))

    def put(self, operation: Operation) -> None:
        if not operation.repeat:
            if not self.up:
                self._refuse(operation, StoreUnavailable(self.reason))
                return
            if self._waiting_bytes > WAITING_BYTES_MAX:
                self._refuse(operation, StoreUnavailable("Redis answers too slowly: too much waits for it"))
                return
            self._waiting_bytes += len(operation.packed)
        self._waiting.append(operation)
        self._wake.set()
        self._idle.clear()

    def late(self, collect: Callable[[], None]) -> None:
        """Call `collect` when the next round is made up: it puts what has come together until then."""
        self._late.append(collect)
        if self.up:
            self._wake.set()
        self._idle.clear()

    def soon(self, collect: Callable[[], None]) -> None:
        """As `late`, for what may be repeated: it waits no longer than SOON_S for what a round that is out answers."""
        self._soon.append(collect)
        self._idle.clear()
        if not self._out or self._wait:
            if self.up:
                self._wake.set()
        elif self._soon_timer is None:
            self._soon_timer = asyncio.get_running_loop().call_later(SOON_S, self._send_soon)

    async def call(self, *command: Argument) -> Reply:
        """For what is done per broker, per trigger or for people. Raises StoreFault."""
        return await self._answer(Operation(pack(*command), _ignore))

    async def call_script(self, script: Script, keys: tuple[str, ...], *arguments: Argument) -> Reply:
        return await self._answer(Operation(pack("EVALSHA", script.sha, len(keys), *keys, *arguments), _ignore))

    async def flush(self, deadline: float) -> bool:
        """Wait until nothing waits (loop seconds). False: it did not come to that."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def _answer(self, operation: Operation) -> Reply:
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def then(reply: Reply, fault: StoreFault | None) -> None:
            if future.done():
                return
            if fault is None:
                future.set_result(reply)
            else:
                future.set_exception(fault)

        operation.then = then
        self.put(operation)
        return await future

    def _refuse(self, operation: Operation, fault: StoreFault) -> None:
        asyncio.get_running_loop().call_soon(operation.then, None, fault)

    # ---- the connection ----

    async def _run(self) -> None:
        delay_s = BACKOFF_S[0]
        while True:
            try:
                connection = await self._connect()
            except StoreFault as fault:
                self._lost(str(fault))
                self.first.set()
                await asyncio.sleep(delay_s * self._random.uniform(0.5, 1.0))
                delay_s = min(delay_s * 2, BACKOFF_S[1])
                continue
            delay_s = BACKOFF_S[0]
            self._connection = connection
            self.up, self.reason = True, ""
            self._on_up(self.server)
            self.first.set()
            try:
                await self._rounds(connection)
            except StoreFault as fault:
                self._lost(str(fault))
            except TimeoutError:
                self._lost(f"Redis: no answer for {self._stalled_s:g} s")
            except asyncio.CancelledError:
                self.up = False
                self._lost("the store is closed")
                raise
            except Exception:  # root of the task: a bug of whoever was told must not end the store
                log.exception("redis_link_bug")
                self._lost("the broker failed")
            finally:
                await connection.close()
            await asyncio.sleep(delay_s)

    async def _connect(self) -> Connection:
        connection = await connect(self._url)
        try:
            async with asyncio.timeout(self._stalled_s):
                info = _info(await connection.ask("INFO"))
                try:
                    config = _pairs(await connection.ask("CONFIG", "GET", "appendfsync"))
                except StoreUnavailable:
                    raise
                except StoreFault:  # hosted servers hide CONFIG
                    config = {}
                self.server = judge(info, config)
                if self.server.unfit:
                    raise StoreUnavailable(self.server.unfit)
                for script in ALL:
                    await connection.ask("SCRIPT", "LOAD", script.source)
        except TimeoutError:
            await connection.close()
            raise StoreUnavailable(f"Redis: no answer for {self._stalled_s:g} s") from None
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _rounds(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not (self._waiting or self._late or self._soon or self._out):
                self._idle.set()
                self._wake.clear()
                await self._wake.wait()
            late, self._late, self._soon = self._late + self._soon, [], []
            for collect in late:
                collect()
            size, appends = 0, False
            out, waiting = self._out, self._waiting
            sent = len(out)  # by `_send_soon`
            while waiting and len(out) < ROUND_OPERATIONS_MAX and size < ROUND_BYTES_MAX:
                operation = waiting.popleft()
                size += len(operation.packed)
                appends |= operation.appends
                if not operation.repeat:
                    self._waiting_bytes -= len(operation.packed)
                out.append(operation)
            if not out:
                continue
            packed = [operation.packed for operation in islice(out, sent, None)]
            wait = self._wait if appends else b""
            async with asyncio.timeout_at(loop.time() + self._stalled_s):
                await connection.send((b"".join(packed), wait))
                await self._replies(connection, len(out), wait)

    def _send_soon(self) -> None:
        self._soon_timer = None
        if not self._soon or not self._out or self._connection is None:
            return  # the next round has it, or takes it
        soon, self._soon = self._soon, []
        waiting, self._waiting = self._waiting, deque()
        for collect in soon:
            collect()
        sent, self._waiting = self._waiting, waiting
        assert all(operation.repeat for operation in sent)
        self._out.extend(sent)
        self._connection.write(b"".join(operation.packed for operation in sent))

    async def _replies(self, connection: Connection, number: int, wait: bytes) -> None:
        """Of so many operations; of what was sent meanwhile they come with the next round's."""
        out = self._out
        held: deque[tuple[Operation, Reply]] = deque()  # appends that replicas have to confirm
        try:
            for _ in range(number):
                operation = out[0]
                reply = await connection.reply()
                for _more in range(operation.replies - 1):
                    following = await connection.reply()
                    reply = reply if isinstance(reply, RedisError) else following
                if isinstance(reply, RedisError):
                    code, fault = meaning(reply)
                    if code in CUT:
                        raise fault
                    out.popleft()
                    operation.then(None, fault)
                else:
                    out.popleft()
                    if wait and operation.appends:
                        held.append((operation, reply))
                    else:
                        operation.then(reply, None)
            if wait:
                confirmed = await connection.reply()
                short = None
                if not isinstance(confirmed, int) or confirmed < self._replicas:
                    short = StoreUnavailable(f"Redis: {confirmed!r} of {self._replicas} replicas confirmed in time")
                while held:
                    operation, reply = held.popleft()
                    operation.then(None if short else reply, short)
        finally:
            for operation, _ in held:
                operation.then(
                    None, StoreUnavailable("Redis: the connection was lost: nobody knows whether it happened")
                )

    def _lost(self, reason: str) -> None:
        """Whoever waits for an answer gets none."""
        was_up, self.up, self.reason = self.up, False, reason
        self._connection = None
        again: deque[Operation] = deque()
        failed: list[Operation] = []
        for operation in (*self._out, *self._waiting):
            (again if operation.repeat else failed).append(operation)
        self._out.clear()
        self._waiting, self._waiting_bytes = again, 0
        unknown = StoreUnavailable(f"{reason}: nobody knows whether it happened")
        for operation in failed:
            operation.then(None, unknown)
        if was_up:
            self._on_down(reason)


def _ignore(reply: Reply, fault: StoreFault | None) -> None:
    pass


def _info(reply: Reply) -> Mapping[str, str]:
    found = {}
    for line in reply.decode(errors="replace").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found[name] = value
    return found


def _pairs(reply: Reply) -> Mapping[str, str]:
    words = [word.decode(errors="replace") for word in reply if isinstance(word, bytes)]
    return dict(zip(words[::2], words[1::2], strict=False))
