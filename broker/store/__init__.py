"""Kept: one contract, four stores (memory, sqlite, redis, kafka)."""
