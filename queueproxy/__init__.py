"""Hop 3, beside a pod: the last concurrency gate, timeouts, probes, drain."""
