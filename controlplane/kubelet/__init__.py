"""Pod objects → processes: environment, volumes, probes, readiness, logs, status."""
