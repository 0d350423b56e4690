"""Events in Apache Kafka: a topic per broker, a consumer group per trigger, what was given up in a second topic.

Path: launch picks it → [kafka] → dispatcher.py.

Import `broker.store.kafka.store`. Only this package imports aiokafka, and nothing imports it before a broker is kept in
Kafka. docs/stores.md says what people see in Kafka; docs/decisions/0007 why it is done this way.

Source: spec/eventing.md §4.1, §11, §28.
"""
