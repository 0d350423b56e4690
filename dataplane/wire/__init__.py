"""Bytes ↔ messages, sans-I/O."""
