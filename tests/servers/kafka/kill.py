"""A process that dies, within one: a Kafka store ends without a last commit, a goodbye to its groups, or an ack."""

from broker.store.kafka.store import KafkaStore
from dataplane.errors import StoreUnavailable


async def kill(store: KafkaStore) -> None:
    async def nothing(*_: object, **__: object) -> None:
        pass

    async def refused(*_: object) -> None:
        raise StoreUnavailable("killed")

    for subscription in list(store._house.subscriptions):
        subscription.membership.commit = nothing
        kafka = subscription.membership.kafka
        if kafka is not None:
            kafka._coordinator._maybe_leave_group = nothing  # so the group waits for its session to end
            kafka._coordinator.commit_offsets = refused
            await kafka._client.close()
    for _, appender in store._clusters.values():
        if appender._producer is not None:
            await appender._producer.client.close()
        await appender.tasks.close()
    await store.close()
