"""A process: settings, start, be healthy, follow the snapshot, drain, stop."""
