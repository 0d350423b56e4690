"""CESQL 1.0: an expression over an event's attributes, compiled once to closures."""
