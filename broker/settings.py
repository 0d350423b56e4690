"""What an operator may set on the broker: unit, default, bounds, why."""

from typing import Annotated, Literal

import msgspec

from dataplane.runtime.config import Setting


class BrokerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Section `broker`."""

    # ---- store ----
    store: Annotated[
        Literal["memory", "sqlite", "redis", "kafka"],
        Setting(help="where events are kept when a Broker's class does not say", why="sqlite needs nothing else"),
    ] = "sqlite"
    durability: Annotated[
        Literal["fsync", "os"],
        Setting(
            help="what a 202 waits for with sqlite: the disk, or the operating system", why="os loses on power cut"
        ),
    ] = "fsync"
    redis_url: Annotated[str, Setting(help="redis://HOST:PORT/DB, rediss:// or unix://", secret=True)] = (
        "redis://127.0.0.1:6379/0"
    )
    redis_lease_s: Annotated[
        float,
        Setting(
            help="what a broker process holds is another's after so long without a sign of life",
            unit="s",
            min=1,
            why="longer than any pause of a process, shorter than anybody wants to wait for an event",
        ),
    ] = 30.0
    redis_replicas: Annotated[
        int, Setting(help="replicas that must confirm an append (WAIT) within 1 s; 0 = the master alone", min=0)
    ] = 0
    kafka_bootstrap: Annotated[str, Setting(help="bootstrap servers, comma-separated HOST:PORT")] = "127.0.0.1:9092"
    kafka_session_s: Annotated[
        float,
        Setting(help="without a sign of life for so long, a process's triggers move to another", unit="s", min=1),
    ] = 10.0
    retention_s: Annotated[
        float, Setting(help="how long settled events are kept for replay; 0 = no limit", unit="s", min=0)
    ] = 7 * 86400.0
    retention_bytes: Annotated[
        int, Setting(help="settled events beyond this go, the oldest first; 0 = no limit", unit="bytes", min=0)
    ] = 4 * 1024**3
    quota_bytes: Annotated[
        int,
        Setting(
            help="a broker with more than this answers 503; 0 = no limit", unit="bytes", min=0, why="a dead subscriber"
        ),
    ] = 16 * 1024**3
    dedup_window_s: Annotated[
        float,
        Setting(help="a second event of the same id and source within it is confirmed, not kept; 0 = off", unit="s"),
    ] = 0.0
    parked_max: Annotated[int, Setting(help="parked events per trigger; beyond it the oldest go, counted", min=1)] = (
        1_000_000
    )
    dead_lettered_max: Annotated[
        int, Setting(help="dead-lettered events kept per trigger for redrive; the oldest go", min=0)
    ] = 10_000

    # ---- ingress ----
    event_bytes_max: Annotated[
        int,
        Setting(
            help="largest event or batch body",
            unit="bytes",
            min=65536,
            why="every receiver must take 64 KiB (spec §1.6)",
        ),
    ] = 1024 * 1024
    batch_events_max: Annotated[int, Setting(help="events in one batch", min=1)] = 1000
    appending_bytes_max: Annotated[
        int,
        Setting(
            help="events received and not yet durable; beyond it 503",
            unit="bytes",
            min=65536,
            why="a store that stalls",
        ),
    ] = 64 * 1024 * 1024
    append_timeout_s: Annotated[
        float, Setting(help="how long a producer waits for durability before 503", unit="s", min=0.1)
    ] = 10.0
    rate_per_s: Annotated[
        float, Setting(help="events per second per broker; beyond it 429; 0 = no limit", min=0, why="a noisy tenant")
    ] = 0.0
    connections_max: Annotated[int, Setting(help="open producer connections", min=1)] = 16_000

    # ---- delivery ----
    max_in_flight: Annotated[
        int, Setting(help="requests at once per trigger, when its annotation does not say", min=1)
    ] = 100
    timeout_s: Annotated[
        float, Setting(help="one attempt, when the delivery spec does not say", unit="s", min=0.1, max=600)
    ] = 30.0
    max_backoff_s: Annotated[
        float, Setting(help="longest wait between two attempts", unit="s", min=0, why="exponential growth has no end")
    ] = 300.0
    retry_waiting_max: Annotated[
        int,
        Setting(
            help="scheduled redeliveries per trigger; beyond it no new event is read",
            min=1,
            why="memory; the rest stays on the log",
        ),
    ] = 10_000
    lanes: Annotated[int, Setting(help="lanes of an ordered trigger (spec §11.7)", min=1, max=4096)] = 16
    ordered_waiting_max: Annotated[
        int, Setting(help="events of an ordered trigger that wait in memory for their lane", min=1)
    ] = 1000
    reply_bytes_max: Annotated[int, Setting(help="largest reply of a subscriber", unit="bytes", min=65536)] = (
        1024 * 1024
    )
    reply_on_202: Annotated[
        bool,
        Setting(help="take the body of a 202 as a reply", why="Knative's brokers do, its specification forbids (§9.2)"),
    ] = False
    bad_reply: Annotated[
        Literal["fail", "ignore"],
        Setting(
            help="what a reply that is no CloudEvent makes of its delivery: a failure that is not retried, or nothing",
            why="a handler that answers plain text is a mistake that should show (spec §9.3)",
        ),
    ] = "fail"
    in_flight_bytes_max: Annotated[
        int,
        Setting(
            help="payloads of one trigger in memory: on their way, or waiting for their lane",
            unit="bytes",
            min=65536,
            why="a slow subscriber of large events; the rest stays on the log",
        ),
    ] = 16 * 1024 * 1024
    hops_max: Annotated[
        int, Setting(help="how often a reply may re-enter a broker", min=1, max=255, why="ends loops (spec §7.7)")
    ] = 255
    cluster_local_gateway: Annotated[
        str,
        Setting(
            help="HOST:PORT that serves *.svc.cluster.local; empty = what the control plane says, else by DNS",
            why="on one machine no DNS knows cluster-local names: our own gateway does",
        ),
    ] = ""

    # ---- people ----
    journal_facts_max: Annotated[
        int, Setting(help="facts about recent events kept in memory for tail and trace", min=0)
    ] = 20_000
    drain_timeout_s: Annotated[float, Setting(help="SIGTERM to the end of the last delivery", unit="s", min=0)] = 30.0
