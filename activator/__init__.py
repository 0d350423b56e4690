"""Hop 2, only when there is no capacity: hold, ask, probe, release."""
