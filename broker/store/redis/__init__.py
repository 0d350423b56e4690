"""Events in Redis Streams: one stream per shard of a broker, one consumer group per trigger. Redis 7.0 and later.

The only package that imports redis; nothing here is imported before a Redis store is made.

keys.py names things, flat.py lays a record out as fields, scripts.py is what must happen at once on the server, link.py
sends everything in rounds, tail.py reads new entries once for all triggers, cursor.py is one trigger on one stream,
subscription.py a trigger, log.py a broker, store.py the server.

Source: spec/eventing.md §27; docs/stores.md shows how to look at it with redis-cli.
"""
