"""What does an event cost our process on Redis, appended, fed to one trigger and settled? (ER)

`appending` records of 1 KiB are always waiting for their acknowledgement, so that is how large rounds become. The
server is Debian's, on loopback.

Then decision 0006: many triggers of which one matches, through the tail that they share, and as XREADGROUP and XACK of
every entry by every group.
"""

from functools import partial

from harness import Bench, Failed, Subject
from servers import start_redis
from settling import Settler, Spent, record, row, settle_all

EVENTS = 30_000
MANY_EVENTS = 6_400


def what_does_an_event_cost_on_redis(bench: Bench) -> None:
    """ER: µs of CPU per event at 64 and 256 in one round, `appendfsync always` and `everysec`."""
    for fsync in ("always", "everysec"):
        redis = _started(bench, fsync)
        for appending in (64, 256):
            drive = partial(_drive, _url(redis), EVENTS, appending, 1)
            row(bench, "ER", redis, f"redis {fsync}, {appending} appending", drive)
        bench.stop(redis)
    redis = _started(bench, "everysec")
    for triggers in (1, 100, 1000):
        drive = partial(_drive, _url(redis), MANY_EVENTS, 64, triggers)
        row(bench, "ER", redis, f"{triggers} triggers, shared tail", drive)
    for triggers in (1, 100):
        row(bench, "ER", redis, f"{triggers} triggers, XREADGROUP each", partial(_each_reads, _url(redis), triggers))
    bench.stop(redis)


def _started(bench: Bench, appendfsync: str) -> Subject:
    redis = start_redis(bench, appendfsync)
    if redis is None:
        raise Failed("no Redis")
    return redis


def _url(redis: Subject) -> str:
    return f"redis://127.0.0.1:{redis.port}/0"


async def _drive(url: str, events: int, appending: int, triggers: int) -> dict[str, float]:
    from broker.store.contract import LogSettings, Start
    from broker.store.redis.store import RedisStore
    from dataplane.clock import SYSTEM
    from dataplane.telemetry.metrics import Registry

    store = RedisStore(url=url, clock=SYSTEM, registry=Registry())
    await store.start()
    await store.delete("bench/bench")
    log = await store.open("bench/bench", LogSettings())
    consumers = [Settler(f"bench-{number}", number, events) for number in range(triggers)]
    for each in consumers:
        each.subscription = await log.subscribe(each, Start())
    figures = await settle_all(log, consumers, events, appending)
    await store.tasks.close()
    return figures


async def _each_reads(url: str, triggers: int) -> dict[str, float]:
    """The reading and acknowledging alone: no append, no matching, no delivery."""
    from broker.store.redis.connect import connect, pack
    from broker.store.redis.flat import flatten

    events = MANY_EVENTS // 10
    connection = await connect(url)
    await connection.ask("DEL", "bench")
    entry = flatten(record(1))
    for number in range(triggers):
        await connection.ask("XGROUP", "CREATE", "bench", f"g{number}", "0", "MKSTREAM")
    for _ in range(events):
        await connection.ask("XADD", "bench", "*", *entry)
    spent = Spent()
    for _ in range(0, events, 64):
        reads = [
            pack("XREADGROUP", "GROUP", f"g{number}", "me", "COUNT", 64, "STREAMS", "bench", ">")
            for number in range(triggers)
        ]
        await connection.send(reads)
        ids = [[entry[0] for entry in (await connection.reply())[0][1]] for _ in reads]
        await connection.send([pack("XACK", "bench", f"g{number}", *some) for number, some in enumerate(ids)])
        for _ in ids:
            await connection.reply()
    figures = spent.on(events)
    await connection.close()
    return figures
