"""Composition roots and the `dataplane` command: the only place that knows two parts at once."""
